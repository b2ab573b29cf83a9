package main

import (
	"container/list"
	"context"
	"time"
)

// memorySession is one session's queue. Its images are a subsequence of the
// engine's, so the oldest image of all is always the head of its session.
type memorySession struct {
	id       string
	sequence int64
	pushed   time.Time     // when the newest image came
	open     bool          // within a life
	place    *list.Element // in the engine's list of open sessions, or of idle ones
	queue    list.List     // of elements of the engine's images, oldest first
	flying   int           // images popped and not settled
	kept     *list.Element // in the engine's kept, for those who look without taking; or nil

	bytes   int64 // of the queue
	taken   int64
	dropped int64 // by a limit
}

// pushTo returns a session to which an image comes, with its number counted.
func (q *memoryQueue) pushTo(id string, now time.Time) *memorySession {
	s := q.sessions[id]
	if s == nil {
		q.forget()
		s = &memorySession{id: id}
		q.sessions[id] = s
	} else {
		q.listOf(s).Remove(s.place)
	}
	q.dropKept(s)
	s.sequence++
	s.pushed, s.open = now, true
	s.place = q.open.PushBack(s)
	return s
}

func (q *memoryQueue) listOf(s *memorySession) *list.List {
	if s.open {
		return q.open
	}
	return q.idle
}

// trim drops the oldest images of a session that passes a limit, never the newest,
// and returns how many.
func (q *memoryQueue) trim(s *memorySession) (dropped int) {
	for s.queue.Len() > 1 && (q.limits.images > 0 && s.queue.Len() > q.limits.images ||
		q.limits.bytes > 0 && s.bytes > q.limits.bytes) {
		q.removeHead(s)
		dropped++
	}
	s.dropped += int64(dropped)
	return dropped
}

func (q *memoryQueue) Stats(context.Context) ([]sessionStats, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sweep()
	var stats []sessionStats
	for e := q.open.Front(); e != nil; e = e.Next() {
		if s := e.Value.(*memorySession); s.queue.Len() > 0 {
			stats = append(stats, sessionStats{ID: s.id, Len: s.queue.Len()})
		}
	}
	return stats, nil
}

func (q *memoryQueue) Detail(_ context.Context, some []sessionStats) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.sweep()
	for i := range some {
		s := q.sessions[some[i].ID]
		if s == nil {
			continue
		}
		told := &some[i]
		told.Bytes, told.Age = s.bytes, now.Sub(s.pushed).Seconds()
		told.Sent, told.Taken, told.Dropped = s.sequence, s.taken, s.dropped
		told.Expired = s.sequence - s.taken - s.dropped - int64(s.queue.Len())
	}
	return nil
}

// sweep drops what has expired and returns the time it went by.
func (q *memoryQueue) sweep() time.Time {
	now := q.now()
	for e := q.images.Front(); e != nil && q.over(e.Value.(*frame), now); e = q.images.Front() {
		q.removeHead(q.sessions[e.Value.(*frame).session])
		q.expired++
	}
	for s := front(q.open); s != nil && now.Sub(s.pushed) >= q.ttl; s = front(q.open) {
		q.open.Remove(s.place)
		s.open = false
		s.place = q.idle.PushBack(s)
	}
	for s := front(q.idle); s != nil && now.Sub(s.pushed) >= q.ttl+sequenceMemory; s = front(q.idle) {
		q.remove(s)
	}
	return now
}

// front returns the session that is first in a list, or nil.
func front(l *list.List) *memorySession {
	if e := l.Front(); e != nil {
		return e.Value.(*memorySession)
	}
	return nil
}

// forget drops the sequences that were silent longest, where sessions without
// images would take more than a quarter of the limit.
func (q *memoryQueue) forget() {
	for _, l := range []*list.List{q.idle, q.open} {
		for e := l.Front(); e != nil && int64(len(q.sessions))*leastCharge > max(q.limit/4, q.held); {
			s := e.Value.(*memorySession)
			e = e.Next()
			if s.queue.Len() == 0 && s.flying == 0 {
				q.remove(s)
			}
		}
	}
}

// remove forgets a session without images.
func (q *memoryQueue) remove(s *memorySession) {
	q.listOf(s).Remove(s.place)
	q.dropKept(s)
	delete(q.sessions, s.id)
}

// sweepEvery frees expired images also when nobody calls.
func (q *memoryQueue) sweepEvery(interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			q.mu.Lock()
			q.sweepKept(q.sweep())
			q.mu.Unlock()
		case <-q.stop:
			return
		}
	}
}
