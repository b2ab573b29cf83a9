// Package queuetest tests queues. Run is the conformance suite: what the contract in package queue promises, checked on
// one engine. An Audit pushes and pops under load and finds every image that was lost, doubled, damaged or misplaced.
//
// Each engine calls Run with a function that makes a Harness: a new engine with what the suite needs to steer it. Only
// tests import this package.
package queuetest

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// Options say which engine a test needs.
type Options struct {
	// TTL is the life of an image. 0 leaves the choice to the harness: the test will let about two lives pass with
	// Elapse, and needs far less than half a life for what it does in between.
	TTL time.Duration
	// Limits bound the queue. With a limit of sessions no other test may use the same engine.
	Limits queue.Limits
}

// Harness is an engine under test.
type Harness struct {
	queue.Queue
	// TTL is the life of an image.
	TTL time.Duration
	// Elapse lets time pass for the engine.
	Elapse func(d time.Duration)
	// StepBack sets the engine's clock back under the images of a session.
	StepBack func(session string, d time.Duration)
	// Remote says that the engine is another process. Its clock can step, and Subscribe calls Missed once as soon as
	// notifications arrive.
	Remote bool
}

// PushImage pushes an image, which has to succeed.
func (h *Harness) PushImage(t testing.TB, session, image string) queue.Receipt {
	t.Helper()
	return testkit.Must(h.Push(t.Context(), session, []byte(image)))(t)
}

// PopImage pops an image, which has to succeed. The caller ends the delivery.
func (h *Harness) PopImage(t testing.TB, session string) *queue.Delivery {
	t.Helper()
	d := testkit.Must(h.Pop(t.Context(), session))(t)
	return &d
}

// Take pops an image, which has to succeed, and acknowledges it.
func (h *Harness) Take(t testing.TB, session string) queue.Image {
	t.Helper()
	d := h.PopImage(t, session)
	d.Ack()
	return d.Image
}

// WantEmpty checks that there is nothing to pop.
func (h *Harness) WantEmpty(t testing.TB, session string) {
	t.Helper()
	if d, err := h.Pop(t.Context(), session); !errors.Is(err, queue.ErrEmpty) {
		t.Fatalf("pop: got %q, error %v, want an empty queue", d.Data, err)
	}
}

// Session returns what a session is listed with, nothing if it is not listed.
func (h *Harness) Session(t testing.TB, session string) queue.Session {
	t.Helper()
	for _, s := range testkit.Must(h.Sessions(t.Context()))(t) {
		if s.ID == session {
			return s
		}
	}
	return queue.Session{}
}

// Len returns how many live images a session is listed with, 0 if it is not listed.
func (h *Harness) Len(t testing.TB, session string) int {
	t.Helper()
	return h.Session(t, session).Len
}

// WantFull pushes copies of an image to a new session until the engine is full, drains the session, and checks that the
// refused push has left nothing and that there is room again.
func (h *Harness) WantFull(t *testing.T, session string, image []byte) {
	t.Helper()
	push := func() error {
		_, err := h.Push(t.Context(), session, append([]byte(nil), image...))
		return err
	}
	stored := 0
	err := push()
	for ; err == nil && stored < 100; err = push() {
		stored++
	}
	if !errors.Is(err, queue.ErrFull) || stored == 0 {
		t.Fatalf("after %d images: got error %v, want ErrFull", stored, err)
	}
	if n := h.Len(t, session); n != stored {
		t.Errorf("the refused push left %d in the queue, want %d", n, stored)
	}
	for i := range stored {
		if got := h.Take(t, session); got.Sequence != int64(i+1) || len(got.Data) != len(image) {
			t.Errorf("pop %d of a full engine: got sequence %d, %d bytes", i, got.Sequence, len(got.Data))
		}
	}
	h.WantEmpty(t, session)
	testkit.Eventually(t, func() bool { return push() == nil })
	h.Take(t, session)
}

// Clock stands still until a test moves it. Its zero value shows the year 1970.
type Clock struct{ nanoseconds atomic.Int64 }

// NewClock returns a Clock that shows the current time.
func NewClock() *Clock {
	c := new(Clock)
	c.nanoseconds.Store(time.Now().UnixNano())
	return c
}

// Now returns the time that the clock shows.
func (c *Clock) Now() time.Time { return time.Unix(0, c.nanoseconds.Load()) }

// Move sets the clock ahead, or back where d is negative.
func (c *Clock) Move(d time.Duration) { c.nanoseconds.Add(int64(d)) }
