package queue

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// Waiters lets consumers wait for images, those of one session in the order in which they came. However many wait,
// an image costs one pop.
type Waiters struct {
	queue Popper
	lists *PerSession[*waitList] // of the sessions for which consumers wait
}

// waitList has the consumers that wait for one session. Only the first of them is ever woken, and pops: it has to be
// served before the second may look. Who leaves hands a wake that it did not use to the next one.
type waitList struct {
	mu      sync.Mutex
	waiting []*waiter // in order
	came    int       // consumers so far
}

// waiter is a consumer in a waitList.
type waiter struct {
	number int           // 1, 2, 3 ... in the order of the list
	ready  chan struct{} // holds a value: woken
	over   chan error    // holds a value: a pop has told that there is nothing for this consumer; nil if it waits
}

// NewWaiters returns Waiters without consumers.
func NewWaiters(q interface {
	Popper
	Reader
}, poll *Poll,
) *Waiters {
	return &Waiters{queue: q, lists: NewPerSession(func(session string) (l *waitList, stop func()) {
		l = new(waitList)
		cancel, turn := q.Subscribe(session, l), poll.Every(l.wakeFirst)
		return l, func() { cancel(); turn.Stop() }
	})}
}

// Pop takes the oldest image of a session. It waits for one until ctx ends, then it returns ErrEmpty.
func (ws *Waiters) Pop(ctx context.Context, session string) (Delivery, error) {
	l, leave := ws.lists.Join(session)
	defer leave()
	return ws.serve(ctx, session, l, l.add(true))
}

// TryPop takes the oldest image of a session, or returns ErrEmpty. It overtakes nobody: where consumers wait, it takes
// its turn behind them. The turn is over as soon as one of them finds that the queue is empty, or does not answer.
func (ws *Waiters) TryPop(ctx context.Context, session string) (Delivery, error) {
	if l, ok := ws.lists.Find(session); ok {
		return ws.serve(ctx, session, l, l.add(false))
	}
	return ws.queue.Pop(ctx, session)
}

// serve pops whenever a consumer of a list is woken, until it has got an image or may not wait longer.
func (ws *Waiters) serve(ctx context.Context, session string, l *waitList, w *waiter) (Delivery, error) {
	defer l.remove(w)
	for {
		select {
		case <-w.ready:
		case err := <-w.over:
			return Delivery{}, err
		case <-ctx.Done():
			return Delivery{}, ErrEmpty
		}
		if ctx.Err() != nil { // this consumer will not look again
			l.wakeFirst()
			return Delivery{}, ErrEmpty
		}
		before := l.last()
		d, err := ws.queue.Pop(ctx, session)
		switch {
		case err == ErrEmpty || err == nil && d.Behind == 0:
			l.dismiss(before, ErrEmpty)
		case errors.Is(err, ErrUnavailable): // nor does it answer those who came meanwhile
			l.dismiss(l.last(), err)
			l.wakeFirst()
		default: // there are more images, or the one that this pop did not get
			l.wakeFirst()
		}
		if err != ErrEmpty || w.over != nil {
			return d, err
		}
	}
}

// Len returns how many consumers wait for an image of a session. Those who only take their turn do not count.
func (ws *Waiters) Len(session string) int {
	l, ok := ws.lists.Find(session)
	if !ok {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, w := range l.waiting {
		if w.over == nil {
			n++
		}
	}
	return n
}

// add appends a consumer that waits for an image, or one that only takes its turn. The first one is woken at once,
// because an image may have come before it was there to be woken. A later one is not: such an image is for a consumer
// before it, which it would overtake. One that only takes its turn wakes the first of the list, and so learns whether
// there is anything left for it.
func (l *waitList) add(waits bool) *waiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.came++
	w := &waiter{number: l.came, ready: make(chan struct{}, 1)}
	if !waits {
		w.over = make(chan error, 1)
	}
	l.waiting = append(l.waiting, w)
	if first := l.waiting[0]; first == w || !waits {
		wake(first.ready)
	}
	return w
}

// remove removes a consumer, unless it was dismissed. If it was woken and did not use that, the next one is woken in
// its place. So is one that only takes its turn and is the first now, because nobody else would end its wait.
func (l *waitList) remove(w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = slices.DeleteFunc(l.waiting, func(other *waiter) bool { return other == w })
	if len(l.waiting) > 0 && (len(w.ready) > 0 || l.waiting[0].over != nil) {
		wake(l.waiting[0].ready)
	}
}

// last returns the number of the consumer that came last.
func (l *waitList) last() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.came
}

// dismiss ends the turns of consumers up to a number with an error. Those who wait for an image stay.
func (l *waitList) dismiss(number int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = slices.DeleteFunc(l.waiting, func(w *waiter) bool {
		dismissed := w.over != nil && w.number <= number
		if dismissed {
			w.over <- err
		}
		return dismissed
	})
}

// Pushed wakes a consumer for an image.
func (l *waitList) Pushed(Ref) { l.wakeFirst() }

// Missed wakes a consumer for an image that may have come.
func (l *waitList) Missed() { l.wakeFirst() }

// wakeFirst wakes the first consumer. One wake is enough for many images, because a consumer that leaves images behind,
// or cannot tell, wakes the next one.
func (l *waitList) wakeFirst() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) > 0 {
		wake(l.waiting[0].ready)
	}
}

// wake puts a value into a channel that has room for one.
func wake(signal chan<- struct{}) {
	select {
	case signal <- struct{}{}:
	default: // woken already
	}
}
