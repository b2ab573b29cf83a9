package main

import (
	"container/list"
	"context"
	"time"
)

// Look describes an image together with its bytes, which nobody changes.
func (q *memoryQueue) Look(_ context.Context, session string, which pick) (frame, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.sweep()
	s := q.sessions[session]
	if s == nil {
		return frame{}, errEmpty
	}
	if which.after > s.sequence {
		which.after = 0
	}
	var f *frame
	e, left := s.queue.Back(), 0
	if !which.newest {
		e, left = s.beyond(which.after)
	}
	kept := which.popped && s.kept != nil && s.sequence > which.after
	switch {
	case kept && (which.newest || e == nil):
		f, left = s.kept.Value.(*frame), 0
	case e != nil:
		f = queued(e)
	default:
		return frame{}, errEmpty
	}
	if q.over(f, now) || which.within > 0 && now.Sub(f.arrival) >= which.within {
		return frame{}, errEmpty
	}
	return q.described(*f, left, now), nil
}

// beyond returns the oldest queued image with a higher sequence, or nil, and how
// many are behind it.
func (s *memorySession) beyond(sequence int64) (found *list.Element, left int) {
	front := s.queue.Front()
	if front == nil || queued(front).sequence > sequence {
		return front, s.queue.Len() - 1
	}
	left = -1
	for e := s.queue.Back(); queued(e).sequence > sequence; e = e.Prev() {
		found = e
		left++
	}
	return found, left
}

// described completes what is told of an image.
func (q *memoryQueue) described(f frame, left int, now time.Time) frame {
	f.left = left
	f.expiry = time.Now().Add(q.ttl - now.Sub(f.arrival))
	return f
}

// Read has nothing to add but the expiry of an image that was pushed just now.
func (q *memoryQueue) Read(_ context.Context, f frame) (frame, error) {
	if f.data == nil {
		return frame{}, errEmpty
	}
	if f.expiry.IsZero() {
		f = q.described(f, f.left, q.now())
	}
	return f, nil
}

func (q *memoryQueue) Watch(session string, tell func(frame)) (stop func()) {
	_, remove := q.watchers.add(session, tell)
	return func() { remove() }
}

// keep holds on to the newest image of a session after it was popped.
func (q *memoryQueue) keep(s *memorySession, f *frame) {
	s.kept = q.kept.PushBack(f)
	q.hold(f)
}

// sweepKept drops the kept images that have expired: they are in no order.
func (q *memoryQueue) sweepKept(now time.Time) {
	for e := q.kept.Front(); e != nil; {
		f := e.Value.(*frame)
		e = e.Next()
		if q.over(f, now) {
			q.dropKept(q.sessions[f.session])
		}
	}
}

// dropKept forgets the image that a session keeps, if any.
func (q *memoryQueue) dropKept(s *memorySession) {
	if s.kept != nil {
		q.release(q.kept.Remove(s.kept).(*frame))
		s.kept = nil
	}
}
