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

// Budget bounds the bytes that all uploads together hold at once. Waiters are served first come, first served, except
// that an upload already holding bytes goes ahead of one holding none: it finishes sooner, so its bytes come back
// sooner.
type Budget struct {
	limit   int64
	maxWait time.Duration
	buffer  func(size int) []byte

	mu       sync.Mutex
	uploads  int
	reserved int64
	waiting  []*waiter // in order; the bytes of the first one are not free
}

// waiter is an upload that waits for bytes.
type waiter struct {
	upload  *Upload
	pending int64
	ready   chan struct{} // closed when the upload holds the pending bytes
}

// BudgetOptions describe a Budget. Buffer is required.
type BudgetOptions struct {
	Bytes      int64                 // limit of all uploads together; 0: none
	MaxWait    time.Duration         // how long one image waits at most for bytes that others hold; 0 means 2 s
	Buffer     func(size int) []byte // returns the memory for an image: Buffer of the queue
	Registerer prometheus.Registerer // of the metrics; nil: none
}

// NewBudget returns a Budget without uploads.
func NewBudget(o BudgetOptions) *Budget {
	b := &Budget{
		limit:   cmp.Or(o.Bytes, math.MaxInt64),
		maxWait: cmp.Or(o.MaxWait, 2*time.Second),
		buffer:  o.Buffer,
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
	return Usage{Uploads: b.uploads, Waiting: len(b.waiting), Bytes: b.reserved}
}

// Begin begins an upload whose body has to come at a rate. A wait for bytes ends with ctx at the latest. The upload's
// End has to be called.
func (b *Budget) Begin(ctx context.Context, rate DataRate) *Upload {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.uploads++
	return &Upload{budget: b, rate: rate, request: ctx}
}

// reserve lends n bytes more to an upload. If the bytes are not free, or other uploads come first, it returns the
// waiter that the upload becomes.
func (b *Budget) reserve(u *Upload, n int64) *waiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	position := b.position(u)
	if position == 0 && b.isFree(n) {
		b.lend(u, n)
		return nil
	}
	w := &waiter{upload: u, pending: n, ready: make(chan struct{})}
	b.waiting = slices.Insert(b.waiting, position, w)
	return w
}

// position returns the place of an upload among the waiters.
func (b *Budget) position(u *Upload) int {
	holdsNone := func(w *waiter) bool { return w.upload.reserved == 0 }
	if first := slices.IndexFunc(b.waiting, holdsNone); first >= 0 && u.reserved > 0 {
		return first
	}
	return len(b.waiting)
}

func (b *Budget) isFree(n int64) bool { return b.reserved+n <= b.limit }

// lend gives n free bytes to an upload.
func (b *Budget) lend(u *Upload, n int64) {
	if u.reserved == 0 {
		u.since = time.Now()
	}
	b.reserved += n
	u.reserved += n
}

// release takes back all bytes of an upload, and lends them to the waiters in order, as far as they go.
func (b *Budget) release(u *Upload) {
	b.reserved -= u.reserved
	u.reserved, u.since, u.waited = 0, time.Time{}, 0
	for len(b.waiting) > 0 && b.isFree(b.waiting[0].pending) {
		next := b.waiting[0]
		b.waiting = slices.Delete(b.waiting, 0, 1)
		b.lend(next.upload, next.pending)
		close(next.ready)
	}
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
