package ingest

import (
	"io"
	"time"
)

// Upload is one request that brings images, with the bytes that it holds of a Budget. It reserves bytes before it takes
// the memory that they stand for. Only one goroutine may use it.
type Upload struct {
	budget   *Budget
	rate     DataRate
	request  interface{ Done() <-chan struct{} } // asked only by a wait: the first call of Done allocates
	declared int64                               // size of the image as its sender has announced it; 0: unknown

	pool     *pool // that the reserved bytes belong to; nil: none are reserved
	reserved int64
	since    time.Time     // when the first bytes were reserved: its sender owes bytes from then on
	received int64         // bytes of the body, since then
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

// Reserve grows the upload's bytes to n. A request for more than there are in common is satisfied by all of them, so
// that one image of the maximum size can always get through.
func (u *Upload) Reserve(n int64) error {
	n = min(n, u.budget.common.size)
	if n <= u.reserved {
		return nil
	}
	w := u.budget.reserve(u, n)
	if w == nil {
		return nil
	}
	return u.await(w)
}

// await waits until the upload holds the bytes that it waits for. An upload that waits too long gives up. Its sender
// does not owe the time of the wait, in which nothing is read.
func (u *Upload) await(w *waiter) error {
	begun := time.Now()
	timer := time.NewTimer(u.budget.maxWait - u.waited)
	defer timer.Stop()
	select {
	case <-w.ready:
	case <-timer.C:
	case <-u.request.Done():
	}
	took := time.Since(begun)
	u.waited += took
	if !u.budget.giveUp(w) {
		return overBudget(u.budget.limit)
	}
	if w.holds {
		u.since = u.since.Add(took)
	} else {
		u.since = time.Now() // not before: on a busy machine it may have been served a while ago
	}
	return nil
}

// hold makes the upload hold a total of bytes, all of one pool.
func (u *Upload) hold(p *pool, total int64) {
	if u.pool == nil {
		u.since, u.received = time.Now(), 0
	}
	if u.pool != p {
		u.drop()
	}
	p.used += total - u.reserved
	u.pool, u.reserved = p, total
}

// drop gives the bytes back to their pool.
func (u *Upload) drop() {
	if u.pool != nil {
		u.pool.used -= u.reserved
	}
	u.pool, u.reserved = nil, 0
}

// quickRate is how many bytes a second come quickly.
const quickRate = 64 << 10

// isQuick reports whether the bytes of an image, of which so many have come, come so quickly that the memory for all of
// it would not stand empty for long.
func (u *Upload) isQuick(received int) bool {
	return received >= chunkSize && float64(received) >= quickRate*time.Since(u.since).Seconds()
}

// readFull reads an image of known size. The memory of a large one is taken as its bytes come, until they come quickly.
// If the source fails, readFull returns what came before.
func (u *Upload) readFull(source io.Reader, size int) ([]byte, error) {
	u.declared = int64(size)
	var head chunkBuffer
	defer head.reset()
	for size > smallImage && head.size < size && !u.isQuick(head.size) {
		if err := u.Reserve(head.footprint(1)); err != nil {
			return nil, err
		}
		if err := head.readFrom(source, size-head.size); err != nil {
			part := make([]byte, head.size)
			head.copyTo(part)
			return part, err
		}
	}
	if err := u.Reserve(head.memory() + int64(size)); err != nil {
		return nil, err
	}
	image := u.budget.buffer(size)
	held := head.copyTo(image)
	n, err := io.ReadFull(source, image[held:])
	return image[:held+n], err
}
