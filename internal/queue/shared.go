package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// errCallPanicked is what those get who wait for a call that panicked.
var errCallPanicked = errors.New("the call for all who ask panicked")

// Shared makes a call for all who ask for its result, however many: one at a time, and then none for maxAge.
type Shared[T any] struct {
	call   func(context.Context) (T, error)
	maxAge time.Duration

	mu   sync.Mutex
	last *sharedCall[T] // nil: none yet
}

// sharedCall is one call. done is closed when it has ended; before that nothing else may be read.
type sharedCall[T any] struct {
	done  chan struct{}
	ended time.Time
	value T
	err   error
}

// NewShared returns a Shared that gives the result of a call, also an error, to those who ask while it is made, or
// within maxAge after that.
func NewShared[T any](maxAge time.Duration, call func(context.Context) (T, error)) *Shared[T] {
	return &Shared[T]{call: call, maxAge: maxAge}
}

// Listing lists the sessions of a queue for all who ask, sorted by id. Nobody may change the list.
type Listing = Shared[[]Session]

// NewListing returns a Listing that shares a list for maxAge.
func NewListing(lister Lister, maxAge time.Duration) *Listing {
	return NewShared(maxAge, func(ctx context.Context) ([]Session, error) {
		sessions, err := lister.Sessions(ctx)
		slices.SortFunc(sessions, func(a, b Session) int { return strings.Compare(a.ID, b.ID) })
		return sessions, err
	})
}

// Get returns the result of a call. Who is first makes it, also when its ctx ends meanwhile: others wait for it. For
// them the end of ctx ends the wait, with an error that wraps ErrUnavailable.
func (s *Shared[T]) Get(ctx context.Context) (T, error) {
	c, isNew := s.join()
	if isNew {
		defer func() { c.ended = time.Now(); close(c.done) }()
		c.value, c.err = s.call(context.WithoutCancel(ctx))
		return c.value, c.err
	}
	select {
	case <-c.done:
		return c.value, c.err
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
}

// join returns the last call if it is young or being made, and else a new one, which the caller has to make.
func (s *Shared[T]) join() (c *sharedCall[T], isNew bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil || s.last.isOld(s.maxAge) {
		s.last, isNew = &sharedCall[T]{done: make(chan struct{}), err: errCallPanicked}, true
	}
	return s.last, isNew
}

// isOld reports whether a call has ended, at least maxAge ago.
func (c *sharedCall[T]) isOld(maxAge time.Duration) bool {
	select {
	case <-c.done:
		return time.Since(c.ended) >= maxAge
	default:
		return false
	}
}
