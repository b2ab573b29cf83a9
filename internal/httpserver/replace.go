package httpserver

// TryReplace is TryReserve for bytes that may take the place of a reservation. Where there is no room beside it, but
// would be without it, giveUp is asked to give it up, and returns whether it did. It must not use the budget.
func (b *SendBudget) TryReplace(size, held int, giveUp func() bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	bytes, free := b.charge(size), b.limit-b.reserved
	if bytes > free {
		released := b.charge(held)
		if bytes > free+released || !giveUp() {
			return b.refuse()
		}
		b.reserved -= released
		b.garbage += released
		defer b.wake() // what gave way may have been larger
	}
	b.lend(bytes)
	return nil
}

// wake lets all who wait for bytes look again.
func (b *SendBudget) wake() {
	if b.freed != nil {
		close(b.freed)
		b.freed = nil
	}
}
