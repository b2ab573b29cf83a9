package queue

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
)

// fakeQueue is an engine with as much as Waiters need. It holds images of one session and counts calls.
type fakeQueue struct {
	Reader // no Find and no Load

	mu          sync.Mutex
	images      []string
	pops        int
	err         error         // of each pop, if any
	hold        chan struct{} // unless nil, the replies of pops are held back until it is closed
	subscribers *Subscribers
	first, last int // how often a session got its first subscriber, and lost its last
}

func newFakeQueue() *fakeQueue {
	q := new(fakeQueue)
	q.subscribers = NewSubscribers(
		func(string) { q.mu.Lock(); defer q.mu.Unlock(); q.first++ },
		func(string) { q.mu.Lock(); defer q.mu.Unlock(); q.last++ },
	)
	return q
}

func (q *fakeQueue) Pop(_ context.Context, session string) (Delivery, error) {
	d, err := q.pop(session)
	if q.hold != nil {
		<-q.hold
	}
	return d, err
}

func (q *fakeQueue) pop(session string) (Delivery, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pops++
	if q.err != nil {
		return Delivery{}, q.err
	}
	if len(q.images) == 0 {
		return Delivery{}, ErrEmpty
	}
	image := q.images[0]
	q.images = q.images[1:]
	return NewDelivery(Image{Ref: Ref{Session: session, Behind: len(q.images)}, Data: []byte(image)}, nil), nil
}

func (q *fakeQueue) Subscribe(session string, s Subscriber) (cancel func()) {
	return q.subscribers.Add(session, s)
}

// store adds images and notifies nobody.
func (q *fakeQueue) store(images ...string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.images = append(q.images, images...)
}

// push adds an image and notifies the subscribers of its session.
func (q *fakeQueue) push(session, image string) {
	q.store(image)
	q.subscribers.Pushed(Ref{Session: session})
}

// fail makes each pop from now on return an error.
func (q *fakeQueue) fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.err = err
}

// wantPops checks how many pops there were so far.
func (q *fakeQueue) wantPops(t *testing.T, want int) {
	t.Helper()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.pops != want {
		t.Errorf("got %d pops, want %d", q.pops, want)
	}
}

// recorder is an Acknowledger and a Subscriber that records its calls.
type recorder struct {
	mu    sync.Mutex
	calls []string
}

func (r *recorder) add(call string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, call)
}

func (r *recorder) Ack(image Image)     { r.add("ack " + string(image.Data)) }
func (r *recorder) Requeue(image Image) { r.add("requeue " + string(image.Data)) }
func (r *recorder) Pushed(ref Ref)      { r.add(fmt.Sprintf("pushed %s/%d", ref.Session, ref.Sequence)) }
func (r *recorder) Missed()             { r.add("missed") }

// take returns the calls since the last take.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls := r.calls
	r.calls = nil
	return calls
}

// want checks the calls since the last want.
func (r *recorder) want(t *testing.T, what string, calls ...string) {
	t.Helper()
	if got := r.take(); !slices.Equal(got, calls) {
		t.Errorf("%s: got calls %q, want %q", what, got, calls)
	}
}
