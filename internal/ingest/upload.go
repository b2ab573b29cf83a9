package ingest

import "time"

// Upload is one request that brings images, with the bytes that it holds of a Budget. It reserves bytes before it takes
// the memory that they stand for. Only one goroutine may use it.
type Upload struct {
	budget  *Budget
	rate    DataRate
	request interface{ Done() <-chan struct{} } // asked only by a wait: the first call of Done allocates

	reserved int64
	since    time.Time     // when the first bytes were reserved: its sender owes bytes from then on; zero: none are
	waited   time.Duration // for bytes, since the last release
}

// End ends the upload and gives all reserved bytes back.
func (u *Upload) End() {
	u.budget.mu.Lock()
	defer u.budget.mu.Unlock()
	u.budget.release(u)
	u.budget.uploads--
}

// Release gives all reserved bytes back.
func (u *Upload) Release() {
	u.budget.mu.Lock()
	defer u.budget.mu.Unlock()
	u.budget.release(u)
}

// Buffer reserves the bytes of an image and returns the memory for it.
func (u *Upload) Buffer(size int) ([]byte, error) {
	if err := u.Reserve(int64(size)); err != nil {
		return nil, err
	}
	return u.budget.buffer(size), nil
}

// Reserve grows the upload's share to n bytes. A request larger than the whole budget is satisfied by the whole budget,
// so that one image of the maximum size can always get through.
func (u *Upload) Reserve(n int64) error {
	missing := min(n, u.budget.limit) - u.reserved
	if missing <= 0 {
		return nil
	}
	w := u.budget.reserve(u, missing)
	if w == nil {
		return nil
	}
	return u.await(w)
}

// await waits until the upload holds the pending bytes. An upload that waits too long gives up.
func (u *Upload) await(w *waiter) error {
	begun := time.Now()
	timer := time.NewTimer(u.budget.maxWait - u.waited)
	defer timer.Stop()
	select {
	case <-w.ready:
	case <-timer.C:
	case <-u.request.Done():
	}
	u.waited += time.Since(begun)
	if u.budget.giveUp(w) {
		return nil
	}
	return overBudget(u.budget.limit)
}
