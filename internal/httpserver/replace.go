package httpserver

// TryReplace is TryReserve for bytes that may take the place of a reservation that is held. If there is room in its
// place, and not beside it, giveWay is called. Where that returns true the reservation has ended, and must not be
// released. giveWay must not use the budget.
func (b *SendBudget) TryReplace(size, held int, giveWay func() bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	bytes, free := b.charge(size), b.limit-b.reserved
	if bytes > free {
		released := b.charge(held)
		if bytes > free+released || !giveWay() {
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
