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
	ttl      time.Duration
	limit    int64
	limits   limits
	now      func() time.Time // monotonic, so that no clock step ages an image
	stop     chan struct{}
	watchers *watchers

	mu       sync.Mutex
	held     int64 // bytes charged for the images that anything here holds
	flights  int64
	flying   map[int64]*frame // popped and not settled, by flight
	images   *list.List       // of *frame, oldest first, over all sessions
	kept     *list.List       // of *frame: the newest image of a session, when it was popped
	expired  int              // images, since the last push
	sessions map[string]*memorySession
	open     *list.List // of *memorySession, least recently pushed first
	idle     *list.List // the same: to these no image has come within a life
}

func newMemoryQueue(ttl time.Duration, limit int64, now func() time.Time) *memoryQueue {
	q := &memoryQueue{
		ttl: ttl, limit: limit, now: now,
		stop:     make(chan struct{}),
		watchers: newWatchers(),
		flying:   map[int64]*frame{},
		images:   list.New(),
		kept:     list.New(),
		sessions: map[string]*memorySession{},
		open:     list.New(),
		idle:     list.New(),
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
	f, r, err := q.push(session, image)
	if err == nil {
		q.watchers.tell(f)
	}
	return r, err
}

func (q *memoryQueue) push(session string, image []byte) (pushed frame, r receipt, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.sweep()
	s := q.sessions[session]
	opens := s == nil || !s.open
	switch {
	case opens && q.limits.sessions > 0 && q.open.Len() >= q.limits.sessions:
		return frame{}, receipt{}, errManySessions
	case !q.makeRoom(charge(len(image))):
		return frame{}, receipt{}, errFull
	}
	s = q.pushTo(session, now)
	f := &frame{session: session, sequence: s.sequence, arrival: now, size: len(image), data: image}
	q.enqueue(s, f, nil, nil)
	r = receipt{sequence: s.sequence, dropped: q.trim(s), expired: q.expired, opened: opens}
	r.queued, q.expired = s.queue.Len(), 0
	return *f, r, nil
}

// makeRoom tells whether an image may be held. What was popped and is kept gives
// way to it.
func (q *memoryQueue) makeRoom(bytes int64) bool {
	for q.held+bytes > q.limit && q.kept.Len() > 0 {
		q.dropKept(q.sessions[q.kept.Front().Value.(*frame).session])
	}
	return q.held+bytes <= q.limit
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
	q.flights++
	q.flying[q.flights] = f
	q.removeHead(s)
	s.taken++
	s.flying++
	if f.sequence == s.sequence {
		q.keep(s, f)
	}
	popped := *f
	popped.left, popped.flight = s.queue.Len(), q.flights
	return popped, nil
}

// Settle puts an undelivered image back before every image that came after it.
func (q *memoryQueue) Settle(f frame, delivered bool) {
	if q.land(f.flight, delivered) {
		q.watchers.tell(frame{session: f.session})
	}
}

// land ends an image's flight and returns whether it is back in its queue.
func (q *memoryQueue) land(flight int64, delivered bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.sweep()
	f := q.flying[flight]
	if f == nil {
		return false // it has landed already
	}
	delete(q.flying, flight)
	defer q.release(f)
	s := q.sessions[f.session]
	if s == nil {
		return false
	}
	s.flying = max(0, s.flying-1) // it may be a new one of the same name
	if delivered || q.over(f, now) {
		return false
	}
	if f.sequence == s.sequence {
		q.dropKept(s)
	}
	s.taken--
	q.enqueue(s, f,
		first(q.images, func(e *list.Element) bool { return e.Value.(*frame).arrival.After(f.arrival) }),
		first(&s.queue, func(e *list.Element) bool { return queued(e).sequence > f.sequence }))
	return true
}

// enqueue puts an image before those that came later, or at the end for nil.
func (q *memoryQueue) enqueue(s *memorySession, f *frame, laterImage, laterInQueue *list.Element) {
	insertBefore(&s.queue, insertBefore(q.images, f, laterImage), laterInQueue)
	s.bytes += int64(f.size)
	q.hold(f)
}

// removeHead removes the oldest image of a session that has one.
func (q *memoryQueue) removeHead(s *memorySession) {
	f := q.images.Remove(s.queue.Remove(s.queue.Front()).(*list.Element)).(*frame)
	s.bytes -= int64(f.size)
	q.release(f)
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

func (q *memoryQueue) over(f *frame, now time.Time) bool { return now.Sub(f.arrival) >= q.ttl }

func charge(size int) int64 { return int64(max(size, leastCharge)) }

// queued returns the frame of an element of a session's queue.
func queued(e *list.Element) *frame { return e.Value.(*list.Element).Value.(*frame) }

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
func insertBefore(l *list.List, value any, later *list.Element) *list.Element {
	if later == nil {
		return l.PushBack(value)
	}
	return l.InsertBefore(value, later)
}
