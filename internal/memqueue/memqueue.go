// Package memqueue is the queue in this process: the engine for one server without Redis. It gives the promises of
// package queue, and loses everything at exit.
//
// A memory limit bounds what the queue holds. An image counts while it is queued, while a delivery of it has not ended,
// and while somebody who loaded it has not released it. The newest image of a session stays readable after it was
// taken; it counts as well, but gives way to new images when the memory is full. Queued images do not give way: the
// push fails with queue.ErrFull.
package memqueue

import (
	"container/list"
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/image-streamer/image-streamer/internal/queue"
)

// minCharge is what the smallest image counts against the memory limit: its bookkeeping costs memory too.
const minCharge = 512

// Options say how a Queue works. TTL and MemoryLimit are required.
type Options struct {
	TTL         time.Duration // life of an image
	MemoryLimit int64         // in bytes
	Limits      queue.Limits
	Now         func() time.Time      // monotonic, so that no clock step ages an image; nil: time.Now
	Registerer  prometheus.Registerer // nil: no metrics
}

// Queue keeps the images of all sessions.
type Queue struct {
	ttl         time.Duration
	memoryLimit int64
	limits      queue.Limits
	now         func() time.Time
	stop        chan struct{}
	subscribers *queue.Subscribers

	mu          sync.Mutex
	held        int64      // bytes charged for the items that have references
	images      *list.List // of *item: all that are queued, oldest first
	newestTaken *list.List // of *item: the newest image of each session in which it was taken
	expired     int        // images, since the last push
	sessions    map[string]*sessionQueue
	open        *list.List // of *sessionQueue, least recently pushed first: images came within a TTL
	idle        *list.List // of *sessionQueue, least recently pushed first: no image came within a TTL
	forgotten   forgotten
}

// item is a stored image.
type item struct {
	session  *sessionQueue
	sequence int64
	arrived  time.Time
	data     []byte

	place      *list.Element // in the images of the Queue, if it is queued
	inFlight   bool          // a delivery of it has not ended
	references int           // see retain
}

// New returns an empty Queue.
func New(o Options) *Queue {
	if o.Now == nil {
		o.Now = time.Now
	}
	q := &Queue{
		ttl: o.TTL, memoryLimit: o.MemoryLimit, limits: o.Limits, now: o.Now,
		stop:        make(chan struct{}),
		subscribers: queue.NewSubscribers(func(string) {}, func(string) {}),
		images:      list.New(),
		newestTaken: list.New(),
		sessions:    map[string]*sessionQueue{},
		open:        list.New(),
		idle:        list.New(),
	}
	q.register(promauto.With(o.Registerer))
	go q.sweepEvery(min(time.Second, o.TTL))
	return q
}

// register adds gauges of how full the queue is.
func (q *Queue) register(metrics promauto.Factory) {
	metrics.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "imagestreamer", Name: "memory_held_bytes",
		Help: "Embedded queue: images held, as MEMORY_LIMIT counts them.",
	}, func() float64 {
		q.mu.Lock()
		defer q.mu.Unlock()
		return float64(q.held)
	})
	metrics.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "imagestreamer", Name: "memory_limit_bytes", Help: "Embedded queue: MEMORY_LIMIT.",
	}, func() float64 { return float64(q.memoryLimit) })
}

// Close stops the sweeping. The images go with the Queue.
func (q *Queue) Close() { close(q.stop) }

// Describe names the engine and its memory limit.
func (q *Queue) Describe() string {
	return fmt.Sprintf("embedded, %s at most, lost at exit", humanize.IBytes(uint64(q.memoryLimit)))
}

// Ready returns nil.
func (q *Queue) Ready(context.Context) error { return nil }

// Buffer returns a buffer with no spare capacity: the image will be stored in it.
func (q *Queue) Buffer(size int) []byte { return make([]byte, size) }

// Push appends an image to a session.
func (q *Queue) Push(_ context.Context, session string, image []byte) (queue.Receipt, error) {
	ref, receipt, err := q.push(session, image)
	if err == nil {
		q.subscribers.Pushed(ref)
	}
	return receipt, err
}

func (q *Queue) push(session string, image []byte) (queue.Ref, queue.Receipt, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.sweep()
	s := q.sessions[session]
	opens := s == nil || !s.open
	switch {
	case opens && q.limits.Sessions > 0 && q.open.Len() >= q.limits.Sessions:
		return queue.Ref{}, queue.Receipt{}, queue.ErrTooManySessions
	case !q.makeRoom(charge(len(image))):
		return queue.Ref{}, queue.Receipt{}, queue.ErrFull
	}
	s = q.countPush(session, now)
	it := &item{session: s, sequence: s.sequence, arrived: now, data: image}
	q.enqueue(it, nil, nil)
	receipt := queue.Receipt{Sequence: s.sequence, Dropped: q.trim(s), Expired: q.expired}
	receipt.Queued, q.expired = s.queue.Len(), 0
	return it.ref(0), receipt, nil
}

// makeRoom reports whether there is room for an image. Taken images give way to it.
func (q *Queue) makeRoom(bytes int64) bool {
	for q.held+bytes > q.memoryLimit && q.newestTaken.Len() > 0 {
		q.dropNewestTaken(q.newestTaken.Front().Value.(*item).session)
	}
	return q.held+bytes <= q.memoryLimit
}

// Pop takes the oldest live image of a session.
func (q *Queue) Pop(ctx context.Context, session string) (queue.Delivery, error) {
	return q.PopAtMost(ctx, session, math.MaxInt)
}

// PopAtMost takes the oldest live image of a session if it has at most size bytes.
func (q *Queue) PopAtMost(_ context.Context, session string, size int) (queue.Delivery, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	asked, now := time.Now(), q.sweep()
	s := q.sessions[session]
	if s == nil || s.queue.Len() == 0 {
		return queue.Delivery{}, queue.ErrEmpty
	}
	it := s.queue.Front().Value.(*item)
	if len(it.data) > size {
		return queue.Delivery{}, &queue.TooLargeError{Size: len(it.data)}
	}
	q.retain(it)
	it.inFlight = true
	s.inFlight++
	q.removeHead(s)
	s.taken++
	if it.sequence == s.sequence {
		q.keepNewestTaken(it)
	}
	return queue.NewDelivery(q.image(it.ref(s.queue.Len()), asked, now), q), nil
}

// Ack frees an image that has reached its consumer.
func (q *Queue) Ack(image queue.Image) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sweep()
	q.endDelivery(image.Handle.(*item))
}

// Requeue puts an image back before every image that came after it.
func (q *Queue) Requeue(image queue.Image) {
	if q.requeue(image.Handle.(*item)) {
		q.subscribers.Missed(image.Session)
	}
}

// requeue ends the delivery of an image, and reports whether the image is back in its queue.
func (q *Queue) requeue(it *item) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.sweep()
	if !q.endDelivery(it) || q.over(it, now) {
		return false
	}
	s := it.session
	if it.sequence == s.sequence {
		q.dropNewestTaken(s)
	}
	s.taken--
	q.enqueue(it,
		first(q.images, func(other *item) bool { return other.arrived.After(it.arrived) }),
		first(&s.queue, func(other *item) bool { return other.sequence > it.sequence }))
	return true
}

// endDelivery reports whether there was a delivery to end.
func (q *Queue) endDelivery(it *item) bool {
	if !it.inFlight {
		return false
	}
	it.inFlight = false
	it.session.inFlight--
	q.release(it)
	return true
}

// enqueue inserts an image before those that came later, or appends it for nil.
func (q *Queue) enqueue(it *item, laterImage, laterInQueue *list.Element) {
	it.place = insertBefore(q.images, it, laterImage)
	insertBefore(&it.session.queue, it, laterInQueue)
	it.session.bytes += int64(len(it.data))
	q.retain(it)
}

// removeHead removes the oldest image of a session that has one.
func (q *Queue) removeHead(s *sessionQueue) {
	it := s.queue.Remove(s.queue.Front()).(*item)
	q.images.Remove(it.place)
	it.place = nil
	s.bytes -= int64(len(it.data))
	q.release(it)
}

// retain adds a reference to an image. The first one charges the image against the memory limit. References come from
// a queue, from a delivery that has not ended, from newestTaken, and from each Load.
func (q *Queue) retain(it *item) {
	if it.references == 0 {
		q.held += charge(len(it.data))
	}
	it.references++
}

// release takes a reference away. Without references an image is free.
func (q *Queue) release(it *item) {
	it.references--
	if it.references == 0 {
		q.held -= charge(len(it.data))
	}
}

func (q *Queue) over(it *item, now time.Time) bool { return now.Sub(it.arrived) >= q.ttl }

func charge(size int) int64 { return int64(max(size, minCharge)) }

// first returns the element of the first item that fits, or nil.
func first(l *list.List, fits func(*item) bool) *list.Element {
	for e := l.Front(); e != nil; e = e.Next() {
		if fits(e.Value.(*item)) {
			return e
		}
	}
	return nil
}

// insertBefore inserts an item before an element, or appends it for nil.
func insertBefore(l *list.List, it *item, later *list.Element) *list.Element {
	if later == nil {
		return l.PushBack(it)
	}
	return l.InsertBefore(it, later)
}
