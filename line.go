package main

import (
	"context"
	"slices"
	"sync"
	"time"
)

// lines holds the consumers that wait for an image, in one line for each session.
type lines struct {
	queue engine

	mu  sync.Mutex
	all map[string]*line
}

// line calls its consumers one at a time, one for each image that comes: however
// many wait, an image costs one pop.
type line struct {
	end func()

	mu      sync.Mutex
	waiting []chan struct{} // in order; a token in it: called
}

func newLines(queue engine) *lines { return &lines{queue: queue, all: map[string]*line{}} }

// pop takes the oldest image of a session, and waits for one until ctx ends.
func (ls *lines) pop(ctx context.Context, session string) (frame, error) {
	l, turn, leave := ls.join(session)
	defer leave()
	for ctx.Err() == nil {
		f, err := ls.queue.Pop(ctx, session)
		if err == nil && f.left > 0 {
			l.call()
		}
		if err != errEmpty {
			return f, err
		}
		select {
		case <-turn:
		case <-ctx.Done():
		}
	}
	return frame{}, errEmpty
}

// join takes the last place in the line of a session; leave must be called.
func (ls *lines) join(session string) (l *line, turn chan struct{}, leave func()) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l = ls.all[session]
	if l == nil {
		l = new(line)
		ls.all[session] = l
		l.end = ls.listen(session, l)
	}
	turn = make(chan struct{}, 1)
	l.mu.Lock()
	l.waiting = append(l.waiting, turn)
	l.mu.Unlock()
	return l, turn, func() { ls.leave(session, l, turn) }
}

// leave gives up a place. Who was called and leaves passes the call on.
func (ls *lines) leave(session string, l *line, turn chan struct{}) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l.mu.Lock()
	place := slices.Index(l.waiting, turn)
	l.waiting = slices.Delete(l.waiting, place, place+1)
	empty := len(l.waiting) == 0
	l.mu.Unlock()
	if empty {
		delete(ls.all, session)
		l.end()
		return
	}
	select {
	case <-turn:
		l.call()
	default:
	}
}

// listen calls a line when an image comes, and once in a while, since a wake-up
// can get lost.
func (ls *lines) listen(session string, l *line) (end func()) {
	stop := ls.queue.Watch(session, func(frame) { l.call() })
	ticker, done := time.NewTicker(repeatAfter), make(chan struct{})
	go func() {
		for {
			select {
			case <-ticker.C:
				l.call()
			case <-done:
				return
			}
		}
	}()
	return func() { stop(); ticker.Stop(); close(done) }
}

// call calls the first who is not called yet.
func (l *line) call() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, turn := range l.waiting {
		select {
		case turn <- struct{}{}:
			return
		default: // called already
		}
	}
}
