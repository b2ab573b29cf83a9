package memqueue

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/queuetest"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	queuetest.Run(t, newHarness)
}

// What was popped counts against the limit until its delivery ends, and a delivery ends once.
func TestMemoryCountsWhatIsInFlight(t *testing.T) {
	t.Parallel()
	const size = 1 << 10
	_, h := newQueue(t, 4*size, queue.Limits{})
	id := session.New()
	push := func(what string, want error) {
		t.Helper()
		if _, err := h.Push(t.Context(), id, make([]byte, size)); !errors.Is(err, want) {
			t.Errorf("push, %s: got error %v, want %v", what, err, want)
		}
	}
	for range 4 {
		push("with room", nil)
	}
	var inFlight []*queue.Delivery
	for range 4 {
		inFlight = append(inFlight, h.PopImage(t, id))
	}
	push("all in flight", queue.ErrFull)
	inFlight[0].Ack()
	inFlight[0].Ack()
	inFlight[0].Requeue()
	push("one delivered", nil)
	push("full again", queue.ErrFull)
	for range 2 {
		for _, d := range inFlight[1:] {
			d.Requeue()
		}
	}
	push("three requeued", queue.ErrFull)
	for i := range 4 {
		if got := h.Take(t, id); got.Sequence != int64(i+2) || got.Behind != 3-i {
			t.Errorf("pop %d: got sequence %d, %d behind, want %d, %d", i, got.Sequence, got.Behind, i+2, 3-i)
		}
	}
	h.WantEmpty(t, id)
	for range 4 {
		push("all delivered", nil)
	}
}

// What was loaded counts against the limit until it is released, however the image has left the queue, and counts once
// however many have loaded it.
func TestMemoryCountsWhatIsLoaded(t *testing.T) {
	t.Parallel()
	const size = 1 << 10
	for how, leave := range map[string]func(*queuetest.Harness, string){
		"taken":   func(h *queuetest.Harness, id string) { h.Take(t, id) },
		"dropped": func(h *queuetest.Harness, id string) { h.PushImage(t, id, "x") },
		"expired": func(h *queuetest.Harness, _ string) { h.Elapse(h.TTL) },
	} {
		h := newHarness(t, queuetest.Options{Limits: queue.Limits{Images: 1}})
		q, id := h.Queue.(*Queue), session.New()
		h.PushImage(t, id, strings.Repeat("x", size))
		ref := testkit.Must(h.Find(t.Context(), id, queue.Newest))(t)
		first, second := testkit.Must(h.Load(t.Context(), ref))(t), testkit.Must(h.Load(t.Context(), ref))(t)
		wantHeld(t, q, "queued", size)
		leave(h, id)
		h.PushImage(t, id, "x") // instead of the newest image that was taken
		h.Take(t, id)
		wantHeld(t, q, how, size+minCharge)
		h.Release(first)
		wantHeld(t, q, how+", released once", size+minCharge)
		h.Release(second)
		wantHeld(t, q, how+", released", minCharge)
	}
}

// A delivery that is ended twice, past the guard of queue.Delivery, ends once.
func TestEndsDeliveryOnce(t *testing.T) {
	t.Parallel()
	q, h := newQueue(t, 64<<10, queue.Limits{})
	id := session.New()
	h.PushImage(t, id, "image")
	image := h.PopImage(t, id).Image
	q.Requeue(image)
	q.Requeue(image)
	q.Ack(image)
	if n := h.Len(t, id); n != 1 {
		t.Errorf("requeued: got length %d, want 1", n)
	}
	wantHeld(t, q, "requeued", minCharge)
	h.Take(t, id)
	q.Ack(image)
	q.Requeue(image)
	wantHeld(t, q, "delivered, there for readers", minCharge)
	h.WantEmpty(t, id)
	h.PushImage(t, id, "next")
	wantHeld(t, q, "the next image", minCharge)
}

// The newest image of a session is there for readers until it expires, and then counts no longer, though nobody calls.
func TestFreesExpired(t *testing.T) {
	t.Parallel()
	q := New(Options{TTL: 50 * time.Millisecond, MemoryLimit: 64 << 10})
	t.Cleanup(q.Close)
	h := &queuetest.Harness{Queue: q}
	h.PushImage(t, "left alone", "image")
	h.PushImage(t, "taken", "image")
	if d, err := q.Pop(t.Context(), "taken"); err == nil { // the machine may be too slow for its life
		d.Ack()
	}
	testkit.Eventually(t, func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.held == 0
	})
}

// A sequence starts again when its session was silent for long, and a delivery from before then ends without effect.
func TestForgetsSequence(t *testing.T) {
	t.Parallel()
	h := newHarness(t, queuetest.Options{TTL: time.Minute})
	q, id := h.Queue.(*Queue), session.New()
	h.PushImage(t, id, "first")
	late := h.PopImage(t, id)
	h.Elapse(h.TTL + queue.SequenceRetention - time.Second)
	if r := h.PushImage(t, id, "second"); r.Sequence != 2 {
		t.Errorf("got sequence %d, want 2", r.Sequence)
	}
	h.Elapse(h.TTL + queue.SequenceRetention)
	if r := h.PushImage(t, id, "third"); r.Sequence != 1 || r.Queued != 1 {
		t.Errorf("got %+v, want sequence 1, 1 queued", r)
	}
	late.Requeue()
	wantHeld(t, q, "one image", minCharge)
	if got := h.Take(t, id); string(got.Data) != "third" || got.Behind != 0 {
		t.Errorf("got %q, %d behind, want the only image", got.Data, got.Behind)
	}
}

// Sessions without images are remembered only as far as the limit goes, the latest longest.
func TestMemoryForgetsIdleSessions(t *testing.T) {
	t.Parallel()
	const limit = 64 << 10
	q, h := newQueue(t, limit, queue.Limits{})
	waiting, latest, first := session.New(), "", int64(0)
	h.PushImage(t, waiting, "image")
	for range 1000 {
		latest = session.New()
		first = h.PushImage(t, latest, "x").Sequence
		h.Take(t, latest)
	}
	q.mu.Lock()
	if n := len(q.sessions); n > limit/minCharge+1 {
		t.Errorf("remembers %d sessions, want at most %d", n, limit/minCharge+1)
	}
	q.mu.Unlock()
	if r := h.PushImage(t, latest, "x"); r.Sequence != first+1 {
		t.Errorf("the latest session: got sequence %d, want %d", r.Sequence, first+1)
	}
	if got := h.Take(t, waiting); string(got.Data) != "image" {
		t.Errorf("the session with an image: got %q", got.Data)
	}
}

// A session that could not be remembered goes on above its old sequence, so that a reader with a place there misses
// nothing. After the retention it starts again at 1.
func TestForgottenSequenceGoesOn(t *testing.T) {
	t.Parallel()
	clock, ttl := queuetest.NewClock(), time.Minute
	q := New(Options{TTL: ttl, MemoryLimit: 64 << 10, Now: clock.Now})
	t.Cleanup(q.Close)
	h := &queuetest.Harness{Queue: q, TTL: ttl, Elapse: clock.Move}
	id := session.New()
	overflow := func() {
		t.Helper()
		for range 1000 {
			other := session.New()
			h.PushImage(t, other, "x")
			h.Take(t, other)
		}
		if q.sessions[id] != nil {
			t.Fatal("the session is remembered: too few others came")
		}
	}
	send := func(image string) (sequence int64) {
		t.Helper()
		sequence = h.PushImage(t, id, image).Sequence
		h.Take(t, id)
		return sequence
	}
	send("first")
	place := send("second")
	for _, image := range []string{"third", "fourth"} {
		overflow()
		sequence := send(image)
		ref, err := h.Find(t.Context(), id, queue.Query{After: place, Taken: true})
		if err != nil || sequence <= place || ref.Sequence != sequence {
			t.Errorf("%s: got sequence %d, and image %d, error %v behind the place %d of a reader", image, sequence,
				ref.Sequence, err, place)
		}
		place = sequence
	}
	q.mu.Lock()
	details := q.sessions[id].describe(q.now())
	q.mu.Unlock()
	if details.Sent != 1 || details.Expired != 0 {
		t.Errorf("got details %+v, want one image sent, none expired", details)
	}
	overflow()
	h.Elapse(ttl + queue.SequenceRetention)
	if sequence := send("fifth"); sequence != 1 {
		t.Errorf("after the retention: got sequence %d, want 1", sequence)
	}
}

// A session whose only image is in flight is not forgotten.
func TestForgetsNoSessionInFlight(t *testing.T) {
	t.Parallel()
	for _, again := range []bool{false, true} {
		t.Run(fmt.Sprint("pushed again ", again), func(t *testing.T) {
			q, h := newQueue(t, 64<<10, queue.Limits{})
			id := session.New()
			h.PushImage(t, id, strings.Repeat("x", 5000))
			image := h.PopImage(t, id)
			for range 1000 {
				other := session.New()
				h.PushImage(t, other, "x")
				h.Take(t, other)
			}
			if !again {
				image.Requeue()
				if n := h.Len(t, id); n != 1 {
					t.Errorf("requeued: got length %d, want 1: it is lost", n)
				}
				return
			}
			if r := h.PushImage(t, id, "next"); r.Sequence != 2 {
				t.Errorf("got sequence %d, want 2: two images in flight have one name", r.Sequence)
			}
			next := h.PopImage(t, id)
			image.Requeue()
			if got, err := h.Pop(t.Context(), id); err == nil && string(got.Data) == "next" {
				t.Error("next was delivered twice: the requeue of the first image put it back")
			} else if err == nil {
				got.Ack()
			}
			image.Ack()
			next.Ack()
			var taken int64
			for e := q.newestTaken.Front(); e != nil; e = e.Next() {
				taken += charge(len(e.Value.(*item).data))
			}
			wantHeld(t, q, "all deliveries ended: more would stay forever", taken)
		})
	}
}

func TestMemoryFull(t *testing.T) {
	t.Parallel()
	h := newHarness(t, queuetest.Options{TTL: time.Minute})
	h.WantFull(t, session.New(), make([]byte, 10<<20))
	id := session.New()
	pushes := 0
	for ; pushes < 1_000_000; pushes++ {
		if _, err := h.Push(t.Context(), id, []byte("x")); err != nil {
			break
		}
	}
	if want := (64 << 20) / minCharge; pushes != want {
		t.Errorf("images of one byte: %d were stored, want %d", pushes, want)
	}
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, 512<<20, queue.Limits{})
	if got, want := q.Describe(), "embedded, 512 MiB at most, lost at exit"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMetricsOfMemory(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	q := New(Options{TTL: time.Minute, MemoryLimit: 1 << 20, Registerer: registry})
	t.Cleanup(q.Close)
	h := &queuetest.Harness{Queue: q}
	h.PushImage(t, "x", strings.Repeat("x", 1000))
	h.PushImage(t, "x", "small")
	got := map[string]float64{}
	for _, family := range testkit.Must(registry.Gather())(t) {
		got[family.GetName()] = family.Metric[0].GetGauge().GetValue()
	}
	for name, want := range map[string]float64{
		"imagestreamer_memory_held_bytes": 1000 + minCharge, "imagestreamer_memory_limit_bytes": 1 << 20,
	} {
		if value, ok := got[name]; !ok || value != want {
			t.Errorf("%s: got %g, present %v, want %g", name, value, ok, want)
		}
	}
}
