package queue

import (
	"context"
	"slices"
	"sync"
)

// Waiters lets consumers wait for images, those of one session in the order in which they came. However many wait,
// an image costs one pop.
type Waiters struct {
	queue Popper
	lists *PerSession[*waitList]
}

// waitList has the consumers that wait for one session. Each image wakes one of them.
type waitList struct {
	mu      sync.Mutex
	waiting []chan struct{} // in order; a channel that holds a value: woken
}

// NewWaiters returns Waiters without consumers.
func NewWaiters(q interface {
	Popper
	Reader
}, poll *Poll,
) *Waiters {
	return &Waiters{queue: q, lists: NewPerSession(func(session string) (l *waitList, stop func()) {
		l = new(waitList)
		cancel, turn := q.Subscribe(session, l), poll.Every(l.wakeNext)
		return l, func() { cancel(); turn.Stop() }
	})}
}

// Pop takes the oldest image of a session. It waits for one until ctx ends, then it returns ErrEmpty.
func (ws *Waiters) Pop(ctx context.Context, session string) (Delivery, error) {
	l, leave := ws.lists.Join(session)
	defer leave()
	ready := l.add()
	defer l.remove(ready)
	for {
		select {
		case <-ready:
		case <-ctx.Done():
			return Delivery{}, ErrEmpty
		}
		if ctx.Err() != nil { // this consumer will not look again
			l.wakeNext()
			return Delivery{}, ErrEmpty
		}
		d, err := ws.queue.Pop(ctx, session)
		if err == nil && d.Behind > 0 {
			l.wakeNext()
		}
		if err != ErrEmpty {
			return d, err
		}
	}
}

// Len returns how many consumers wait for a session.
func (ws *Waiters) Len(session string) int {
	l, ok := ws.lists.Find(session)
	if !ok {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}

// add appends a consumer, which is woken through ready. The first one is woken at once, because an image may have come
// before it was there to be woken. A later one is not: such an image is for a consumer before it, which it would
// overtake.
func (l *waitList) add() (ready chan struct{}) {
	ready = make(chan struct{}, 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		ready <- struct{}{}
	}
	l.waiting = append(l.waiting, ready)
	return ready
}

// remove removes a consumer. If it was woken and did not use that, the next one is woken in its place.
func (l *waitList) remove(ready chan struct{}) {
	l.mu.Lock()
	place := slices.Index(l.waiting, ready)
	l.waiting = slices.Delete(l.waiting, place, place+1)
	l.mu.Unlock()
	select {
	case <-ready:
		l.wakeNext()
	default:
	}
}

// Pushed wakes one consumer for an image.
func (l *waitList) Pushed(Ref) { l.wakeNext() }

// Missed wakes one consumer for an image that may have come.
func (l *waitList) Missed() { l.wakeNext() }

// wakeNext wakes the first consumer that is not woken yet.
func (l *waitList) wakeNext() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ready := range l.waiting {
		select {
		case ready <- struct{}{}:
			return
		default: // woken already
		}
	}
}
