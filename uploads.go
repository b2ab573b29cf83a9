package main

import (
	"cmp"
	"context"
	"math"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
)

// uploads is the budget of the bytes that are being uploaded at once. Who has to wait
// for some is served in turn, but who holds some goes before who holds none: the
// sooner it has all, the sooner all is free again.
type uploads struct {
	limit    int64
	patience time.Duration         // how long an image waits in all for bytes that others hold
	buffer   func(size int) []byte // the engine's room for an image

	mu      sync.Mutex
	open    int
	leased  int64
	waiting []*upload
}

// newUploads returns a budget of limit bytes, or for 0 one without end.
func newUploads(limit int64, buffer func(size int) []byte) *uploads {
	return &uploads{limit: cmp.Or(limit, math.MaxInt64), patience: 2 * time.Second, buffer: buffer}
}

// underWay returns how many uploads there are, and the bytes that they hold.
func (us *uploads) underWay() (requests int, bytes int64) {
	us.mu.Lock()
	defer us.mu.Unlock()
	return us.open, us.leased
}

// meter adds what is under way.
func (us *uploads) meter(m *metrics) {
	m.gauge("uploads", "Requests that bring images, under way.", nil, func() float64 {
		requests, _ := us.underWay()
		return float64(requests)
	})
	m.gauge("upload_bytes", "Bytes that uploads under way hold, as UPLOAD_LIMIT counts them.", nil, func() float64 {
		_, bytes := us.underWay()
		return float64(bytes)
	})
}

// upload is one request that brings images, and what it holds of the budget: that
// has to be there before the memory that it stands for.
type upload struct {
	*uploads
	ctx  context.Context
	pace pace

	held   int64
	since  time.Time // when it began to hold something: its sender owes bytes
	waited time.Duration
	wants  int64         // while it waits
	ready  chan struct{} // closed when it has that
}

// begin counts an upload; end must be called.
func (s *server) begin(r *http.Request, p pace) *upload {
	u := &upload{uploads: s.uploads, ctx: r.Context(), pace: p}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.open++
	return u
}

func (u *upload) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.give()
	u.open--
}

// release gives back all that is held.
func (u *upload) release() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.give()
}

// room makes room for an image.
func (u *upload) room(size int) ([]byte, error) {
	if err := u.hold(int64(size)); err != nil {
		return nil, err
	}
	return u.buffer(size), nil
}

// hold sees to it that the upload holds n bytes at least. All of the budget is
// enough for any upload, so that the largest image has its chance.
func (u *upload) hold(n int64) error {
	n = min(n, u.limit)
	if n <= u.held {
		return nil
	}
	u.mu.Lock()
	u.wants = n - u.held
	u.waiting = slices.Insert(u.waiting, u.place(), u)
	u.serve()
	if u.wants == 0 {
		u.mu.Unlock()
		return nil
	}
	ready := make(chan struct{})
	u.ready = ready
	u.mu.Unlock()
	return u.await(ready)
}

// place returns where an upload waits.
func (u *upload) place() int {
	isNew := func(other *upload) bool { return other.held == 0 }
	if first := slices.IndexFunc(u.waiting, isNew); first >= 0 && u.held > 0 {
		return first
	}
	return len(u.waiting)
}

// await waits until the upload has what it wants. One that waits too long gives back
// what it holds, so that the next one need not.
func (u *upload) await(ready chan struct{}) error {
	begun := time.Now()
	timer := time.NewTimer(u.patience - u.waited)
	defer timer.Stop()
	select {
	case <-ready:
	case <-timer.C:
	case <-u.ctx.Done():
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.waited += time.Since(begun)
	if u.wants == 0 {
		return nil
	}
	place := slices.Index(u.waiting, u)
	u.waiting = slices.Delete(u.waiting, place, place+1)
	u.give()
	return refuse(http.StatusServiceUnavailable, "too much is being uploaded at once: allowed are %d bytes (%s), of all senders together; try again",
		u.limit, humanize.IBytes(uint64(u.limit)))
}

// give gives back all that is held to those who wait.
func (u *upload) give() {
	u.leased -= u.held
	u.held, u.since, u.waited = 0, time.Time{}, 0
	u.serve()
}

// serve gives those who wait what they want, one after the other, as long as it is
// there.
func (us *uploads) serve() {
	for len(us.waiting) > 0 && us.leased+us.waiting[0].wants <= us.limit {
		next := us.waiting[0]
		us.waiting = slices.Delete(us.waiting, 0, 1)
		if next.held == 0 {
			next.since = time.Now()
		}
		us.leased += next.wants
		next.held, next.wants = next.held+next.wants, 0
		if next.ready != nil {
			close(next.ready)
			next.ready = nil
		}
	}
}
