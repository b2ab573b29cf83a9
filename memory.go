package main

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
)

// leastCharge is what the smallest image counts against the memory limit: its
// bookkeeping costs memory too.
const leastCharge = 512

// memoryQueue is the embedded engine: every queue in this process, lost with it.
type memoryQueue struct {
	ttl   time.Duration
	limit int64
	now   func() time.Time // monotonic, so that no clock step ages an image
	stop  chan struct{}

	mu       sync.Mutex
	held     int64             // bytes charged for the images that anything here holds
	flying   map[flight]*frame // popped and not settled
	sessions map[string]*memorySession
	idle     *list.List // of *memorySession, least recently pushed first
	images   *list.List // of *frame, oldest first, over all sessions
	kept     *list.List // of *frame: the newest image of a session, when it was popped

	watchers *watchers
}

// flight names an image on its way to a consumer.
type flight struct {
	session  string
	sequence int64
}

// memorySession is one session's queue. Its images are a subsequence of the
// engine's, so the oldest image of all is always the head of its session.
type memorySession struct {
	id       string
	sequence int64
	pushed   time.Time
	place    *list.Element // in idle
	queue    list.List     // of elements of images, oldest first
	kept     *list.Element // in kept, for those who look without taking; or nil
}

func newMemoryQueue(ttl time.Duration, limit int64, now func() time.Time) *memoryQueue {
	q := &memoryQueue{
		ttl: ttl, limit: limit, now: now,
		stop:     make(chan struct{}),
		sessions: map[string]*memorySession{},
		idle:     list.New(),
		images:   list.New(),
		kept:     list.New(),
		flying:   map[flight]*frame{},
		watchers: newWatchers(),
	}
	go q.sweepEvery(min(time.Second, ttl))
	return q
}

// Close drops everything.
func (q *memoryQueue) Close() { close(q.stop) }

func (q *memoryQueue) Describe() string {
	return fmt.Sprintf("embedded, %s at most, lost at exit", humanize.IBytes(uint64(q.limit)))
}

func (q *memoryQueue) Ping(context.Context) error { return nil }

// Buffer returns exactly the room that the image will be kept in.
func (q *memoryQueue) Buffer(size int) []byte { return make([]byte, size) }

func (q *memoryQueue) Push(_ context.Context, session string, image []byte) (receipt, error) {
	f, queued, err := q.push(session, image)
	if err != nil {
		return receipt{}, err
	}
	q.watchers.tell(f)
	return receipt{sequence: f.sequence, queued: queued}, nil
}

func (q *memoryQueue) push(session string, image []byte) (pushed frame, queued int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.sweep()
	for q.held+charge(len(image)) > q.limit && q.kept.Len() > 0 {
		q.dropKept(q.sessions[q.kept.Front().Value.(*frame).session])
	}
	if q.held+charge(len(image)) > q.limit {
		return frame{}, 0, errFull
	}
	s := q.sessions[session]
	if s == nil {
		q.forget()
		s = &memorySession{id: session}
		s.place = q.idle.PushBack(s)
		q.sessions[session] = s
	}
	s.sequence++
	s.pushed = now
	q.idle.MoveToBack(s.place)
	q.dropKept(s)
	f := &frame{session: session, sequence: s.sequence, arrival: now, size: len(image), data: image}
	s.queue.PushBack(q.images.PushBack(f))
	q.hold(f)
	return *f, s.queue.Len(), nil
}

func (q *memoryQueue) Pop(_ context.Context, session string) (frame, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sweep()
	s := q.sessions[session]
	if s == nil || s.queue.Len() == 0 {
		return frame{}, errEmpty
	}
	f := queued(s.queue.Front())
	q.hold(f)
	q.flying[flight{session, f.sequence}] = f
	q.removeHead(s)
	if f.sequence == s.sequence {
		q.keep(s, f)
	}
	popped := *f
	popped.left = s.queue.Len()
	return popped, nil
}

// Settle puts an undelivered image back before every image that came after it.
func (q *memoryQueue) Settle(f frame, delivered bool) {
	if q.land(flight{f.session, f.sequence}, delivered) {
		q.watchers.tell(frame{session: f.session})
	}
}

// land ends an image's flight and returns whether it is back in its queue.
func (q *memoryQueue) land(name flight, delivered bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.sweep()
	f := q.flying[name]
	if f == nil {
		return false // it has landed already
	}
	delete(q.flying, name)
	defer q.release(f)
	s := q.sessions[f.session]
	if delivered || s == nil || q.expired(f, now) {
		return false
	}
	if f.sequence == s.sequence {
		q.dropKept(s)
	}
	image := insertBefore(q.images, f, first(q.images, func(e *list.Element) bool {
		return e.Value.(*frame).arrival.After(f.arrival)
	}))
	insertBefore(&s.queue, image, first(&s.queue, func(e *list.Element) bool {
		return queued(e).sequence > f.sequence
	}))
	q.hold(f)
	return true
}

func (q *memoryQueue) Stats(context.Context) ([]sessionStats, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sweep()
	var stats []sessionStats
	for id, s := range q.sessions {
		if s.queue.Len() > 0 {
			stats = append(stats, sessionStats{ID: id, Len: s.queue.Len()})
		}
	}
	return stats, nil
}

// sweep drops what has expired and returns the time it went by.
func (q *memoryQueue) sweep() time.Time {
	now := q.now()
	for e := q.images.Front(); e != nil && q.expired(e.Value.(*frame), now); e = q.images.Front() {
		q.removeHead(q.sessions[e.Value.(*frame).session])
	}
	for e := q.idle.Front(); e != nil; e = q.idle.Front() {
		s := e.Value.(*memorySession)
		if now.Sub(s.pushed) < q.ttl+sequenceMemory {
			break
		}
		q.remove(s)
	}
	return now
}

// forget drops the sequences that were silent longest, where sessions without
// images would take more than a quarter of the limit.
func (q *memoryQueue) forget() {
	for e := q.idle.Front(); e != nil && int64(len(q.sessions))*leastCharge > max(q.limit/4, q.held); {
		s := e.Value.(*memorySession)
		e = e.Next()
		if s.queue.Len() == 0 {
			q.remove(s)
		}
	}
}

// remove forgets a session.
func (q *memoryQueue) remove(s *memorySession) {
	q.idle.Remove(s.place)
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

func (q *memoryQueue) expired(f *frame, now time.Time) bool { return now.Sub(f.arrival) >= q.ttl }

// removeHead removes the oldest image of a session that has one.
func (q *memoryQueue) removeHead(s *memorySession) {
	q.release(q.images.Remove(s.queue.Remove(s.queue.Front()).(*list.Element)).(*frame))
}

// hold charges an image with the first that holds it: a queue, a flight, or those
// who look.
func (q *memoryQueue) hold(f *frame) {
	if f.holds == 0 {
		q.held += charge(f.size)
	}
	f.holds++
}

// release undoes a hold.
func (q *memoryQueue) release(f *frame) {
	f.holds--
	if f.holds == 0 {
		q.held -= charge(f.size)
	}
}

// queued returns the frame of an element of a session's queue.
func queued(e *list.Element) *frame { return e.Value.(*list.Element).Value.(*frame) }

func charge(size int) int64 { return int64(max(size, leastCharge)) }

// first returns the first element that fits, or nil.
func first(l *list.List, fits func(*list.Element) bool) *list.Element {
	for e := l.Front(); e != nil; e = e.Next() {
		if fits(e) {
			return e
		}
	}
	return nil
}

// insertBefore inserts a value before an element, or at the end for nil.
func insertBefore(l *list.List, value any, behind *list.Element) *list.Element {
	if behind == nil {
		return l.PushBack(value)
	}
	return l.InsertBefore(value, behind)
}
