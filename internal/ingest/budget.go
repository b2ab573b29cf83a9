package ingest

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Budget bounds the bytes that all uploads together hold at once. An upload takes bytes as they come: a slow one holds
// little more than what it has sent.
//
// Waiters are served first come, first served, except that an upload already holding bytes goes ahead of one holding
// none: it finishes sooner, so its bytes come back sooner. An upload that waits too long gives up and returns what it
// holds, so that those who remain can finish.
//
// Any number of slow uploads can hold all bytes for long. A share of the bytes is therefore lent to small images alone,
// and only for a moment: a small image that comes quickly gets through always.
type Budget struct {
	limit   int64
	maxWait time.Duration
	buffer  func(size int) []byte

	mu      sync.Mutex
	uploads int
	common  pool
	share   pool      // for small images that find too little in common, for shareTime
	waiting []*waiter // in order; the bytes of the first one are not free
}

// pool is a part of the bytes of a Budget.
type pool struct{ size, used int64 }

const (
	// smallImage is how many bytes a small image has at most. They are reserved at once if the image says how many it
	// has.
	smallImage = 256 << 10

	// shareTime is how long an upload may hold bytes, if some of them are of the share, until its body has come.
	shareTime = time.Second
)

// waiter is an upload that waits until it holds all in all a number of bytes.
type waiter struct {
	upload *Upload
	total  int64
	holds  bool          // some of them already
	ready  chan struct{} // closed when the upload holds them
	served bool
}

// BudgetOptions describe a Budget. Buffer is required.
type BudgetOptions struct {
	Bytes      int64                 // limit of all uploads together; 0: none
	Largest    int64                 // image; the share is an eighth of Bytes, but leaves room for this one
	MaxWait    time.Duration         // how long one image waits at most for bytes that others hold; 0 means 2 s
	Buffer     func(size int) []byte // returns the memory for an image: Buffer of the queue
	Registerer prometheus.Registerer // of the metrics; nil: none
}

// NewBudget returns a Budget without uploads.
func NewBudget(o BudgetOptions) *Budget {
	limit := cmp.Or(o.Bytes, math.MaxInt64)
	share := max(min(limit/8, limit-o.Largest), 0)
	b := &Budget{
		limit:   limit,
		maxWait: cmp.Or(o.MaxWait, 2*time.Second),
		buffer:  o.Buffer,
		common:  pool{size: limit - share},
		share:   pool{size: share},
	}
	gauge := func(name, help string, value func(Usage) float64) {
		promauto.With(o.Registerer).NewGaugeFunc(
			prometheus.GaugeOpts{Namespace: "imagestreamer", Name: name, Help: help},
			func() float64 { return value(b.Usage()) })
	}
	gauge("uploads", "Requests that bring images, under way.",
		func(u Usage) float64 { return float64(u.Uploads) })
	gauge("upload_bytes", "Bytes that uploads under way hold, as UPLOAD_LIMIT counts them.",
		func(u Usage) float64 { return float64(u.Bytes) })
	return b
}

// Usage is how much of a Budget is used at a moment.
type Usage struct {
	Uploads int   // requests under way
	Waiting int   // uploads that wait for bytes
	Bytes   int64 // what all uploads together hold
}

// Usage returns how much of the budget is used now.
func (b *Budget) Usage() Usage {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Usage{Uploads: b.uploads, Waiting: len(b.waiting), Bytes: b.common.used + b.share.used}
}

// Begin begins an upload whose body has to come at a rate. A wait for bytes ends with ctx at the latest. The upload's
// End has to be called.
func (b *Budget) Begin(ctx context.Context, rate DataRate) *Upload {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.uploads++
	return &Upload{budget: b, rate: rate, request: ctx}
}

// reserve lends an upload as many bytes as make up a total. If they are not free, or other uploads come first, it
// returns the waiter that the upload becomes.
func (b *Budget) reserve(u *Upload, total int64) *waiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	before, position := u.pool, b.position(u)
	if b.lend(u, total, position == 0) {
		if before != nil && before != u.pool {
			b.serve()
		}
		return nil
	}
	w := &waiter{upload: u, total: total, holds: u.pool != nil, ready: make(chan struct{})}
	b.waiting = slices.Insert(b.waiting, position, w)
	return w
}

// position returns the place of an upload among the waiters.
func (b *Budget) position(u *Upload) int {
	holdsNone := func(w *waiter) bool { return !w.holds }
	if first := slices.IndexFunc(b.waiting, holdsNone); first >= 0 && u.pool != nil {
		return first
	}
	return len(b.waiting)
}

// lend gives free bytes to an upload, until it holds a total, and reports whether there were as many. Those in common
// go to the upload whose turn it is. All bytes of an upload are of one pool.
func (b *Budget) lend(u *Upload, total int64, inTurn bool) bool {
	switch {
	case inTurn && b.common.covers(u, total):
		u.hold(&b.common, total)
	case u.isSmall(total) && b.share.covers(u, total):
		u.hold(&b.share, total)
	default:
		return false
	}
	return true
}

// isSmall reports whether the image of an upload is small, by what its sender has announced and by the total that it
// needs now, and does not come slowly.
func (u *Upload) isSmall(total int64) bool {
	isSlow := u.pool == &u.budget.common && time.Since(u.since) >= shareTime
	return max(total, u.declared) <= smallImage && !isSlow
}

// covers reports whether a pool has a total for an upload, with what the upload holds of it already.
func (p *pool) covers(u *Upload, total int64) bool {
	if u.pool == p {
		total -= u.reserved
	}
	return p.used+total <= p.size
}

// release takes back all bytes of an upload, and serves the waiters.
func (b *Budget) release(u *Upload) {
	u.drop()
	*u = Upload{budget: b, rate: u.rate, request: u.request}
	b.serve()
}

// serve lends to the waiters for as long as one of them gets its bytes: an upload that changes to the other pool leaves
// bytes in its own.
func (b *Budget) serve() {
	for before := -1; before != len(b.waiting) && len(b.waiting) > 0; {
		before = len(b.waiting)
		b.serveRound()
	}
}

// serveRound lends to the waiters: in common in order, since otherwise a large image would never get through. Of the
// share those who hold bytes come first again, but then the newest: however many slow uploads wait, they do not hold up
// an image that comes quickly.
func (b *Budget) serveRound() {
	for _, w := range b.waiting {
		if !b.serveOne(w, true) {
			break
		}
	}
	for _, w := range b.waiting {
		if !w.holds {
			break
		}
		b.serveOne(w, false)
	}
	for _, w := range slices.Backward(b.waiting) {
		b.serveOne(w, false)
	}
	b.waiting = slices.DeleteFunc(b.waiting, func(w *waiter) bool { return w.served })
}

// serveOne lends to a waiter, and reports whether it is served.
func (b *Budget) serveOne(w *waiter, inTurn bool) bool {
	if !w.served && b.lend(w.upload, w.total, inTurn) {
		w.served = true
		close(w.ready)
	}
	return w.served
}

// giveUp ends the wait of a waiter, and reports whether the upload got its bytes. If not, the upload gives back what it
// held before, so that others need not wait for that.
func (b *Budget) giveUp(w *waiter) (served bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	place := slices.Index(b.waiting, w)
	if place < 0 {
		return true
	}
	b.waiting = slices.Delete(b.waiting, place, place+1)
	b.release(w.upload)
	return false
}
