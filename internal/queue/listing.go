package queue

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

// errNoList is the error of a list whose making panicked.
var errNoList = errors.New("the sessions could not be listed")

// Listing lists the sessions of a queue for any number of readers at the cost of few lists: those who ask while one is
// being made wait for it, and a finished one is shared for a while.
type Listing struct {
	lister Lister
	shared time.Duration

	mu     sync.Mutex
	latest *sharedList
}

// sharedList is one list of the sessions. done is closed when it is made; before that nothing else may be read.
type sharedList struct {
	done     chan struct{}
	sessions []Session
	err      error
	made     time.Time
}

// NewListing returns a Listing that shares each list for so long after it was made.
func NewListing(lister Lister, shared time.Duration) *Listing {
	return &Listing{lister: lister, shared: shared}
}

// Sessions returns the sessions that have live images, by id. Nobody may change the list.
//
// The first reader makes it, also when its ctx ends meanwhile: others wait for it.
func (l *Listing) Sessions(ctx context.Context) ([]Session, error) {
	list, isNew := l.current()
	if isNew {
		list.make(context.WithoutCancel(ctx), l.lister)
	}
	select {
	case <-list.done:
		return list.sessions, list.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// current returns the list that is being made, or one that is fresh, or else a new one, which the caller has to make.
func (l *Listing) current() (list *sharedList, isNew bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.latest == nil || l.latest.isOver(l.shared) {
		l.latest, isNew = &sharedList{done: make(chan struct{}), err: errNoList}, true
	}
	return l.latest, isNew
}

// isOver reports whether a list is finished and has been shared for long enough. A failure is shared only with those
// who have waited for it.
func (s *sharedList) isOver(shared time.Duration) bool {
	select {
	case <-s.done:
		return s.err != nil || time.Since(s.made) >= shared
	default:
		return false
	}
}

func (s *sharedList) make(ctx context.Context, lister Lister) {
	defer close(s.done)
	sessions, err := lister.Sessions(ctx)
	slices.SortFunc(sessions, func(a, b Session) int { return strings.Compare(a.ID, b.ID) })
	s.sessions, s.err, s.made = sessions, err, time.Now()
}
