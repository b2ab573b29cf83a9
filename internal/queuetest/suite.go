package queuetest

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// factory makes the engine for one test. The engine ends with the test.
type factory = func(t *testing.T, o Options) *Harness

// Run runs the conformance suite, each test on an engine of its own. newHarness may skip a test that the engine cannot
// be made for.
func Run(t *testing.T, newHarness func(t *testing.T, o Options) *Harness) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, newHarness factory)
	}{
		{"Answers", answers},
		{"KeepsOrder", keepsOrder},
		{"KeepsSessionsApart", keepsSessionsApart},
		{"TakesEveryID", takesEveryID},
		{"Expires", expires},
		{"RequeuesInPlace", requeuesInPlace},
		{"RequeueAgainAfterAnother", requeueAgainAfterAnother},
		{"DeliversOnce", deliversOnce},
		{"PopsAtMost", popsAtMost},
		{"FindTakesNothing", findTakesNothing},
		{"FindByAge", findByAge},
		{"LoadsNothing", loadsNothing},
		{"LoadHolds", loadHolds},
		{"Subscribe", subscribe},
		{"ClockStepsBack", clockStepsBack},
		{"ClockStepKeepsExpiry", clockStepKeepsExpiry},
		{"Sessions", sessions},
		{"Details", details},
		{"LimitSlides", limitSlides},
		{"LimitCountsWhatIsThere", limitCountsWhatIsThere},
		{"LimitSessions", limitSessions},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, newHarness)
		})
	}
}

// background is longer than an engine takes to end deliveries in the background.
const background = 100 * time.Millisecond

// answers checks what needs no image.
func answers(t *testing.T, newHarness factory) {
	h := newHarness(t, Options{TTL: time.Minute})
	if err := h.Ready(t.Context()); err != nil {
		t.Errorf("ready: got error %v", err)
	}
	if h.Describe() == "" {
		t.Error("got no description")
	}
	for _, size := range []int{0, 1, 4095, 4097, 1 << 20} {
		if got := len(h.Buffer(size)); got != size {
			t.Errorf("a buffer for %d bytes has %d", size, got)
		}
	}
}

func keepsOrder(t *testing.T, newHarness factory) {
	h, id := newHarness(t, Options{TTL: time.Minute}), session.New()
	images := []string{"one", "\x00\xff\r\n*3\r\n", "3", string(bytes.Repeat([]byte{7}, 10<<20))}
	for i, image := range images {
		got, want := h.PushImage(t, id, image), queue.Receipt{Sequence: int64(i + 1), Queued: i + 1}
		if got != want {
			t.Errorf("push %d: got %+v, want %+v", i, got, want)
		}
	}
	var last time.Time
	for i, want := range images {
		got := h.Take(t, id)
		if string(got.Data) != want {
			t.Errorf("pop %d: got %d bytes, want the %d of image %d", i, len(got.Data), len(want), i)
		}
		if got.Session != id || got.Sequence != int64(i+1) || got.Behind != len(images)-i-1 || got.Size != len(want) {
			t.Errorf("pop %d: got session %q, sequence %d, %d behind, size %d",
				i, got.Session, got.Sequence, got.Behind, got.Size)
		}
		if got.Arrived.Before(last) || time.Since(got.Arrived).Abs() > time.Minute {
			t.Errorf("pop %d: arrived %v, the one before %v", i, got.Arrived, last)
		}
		last = got.Arrived
	}
	h.WantEmpty(t, id)
}

func keepsSessionsApart(t *testing.T, newHarness factory) {
	h := newHarness(t, Options{TTL: time.Minute})
	a, b := session.New(), session.New()
	h.PushImage(t, a, "of a")
	if r := h.PushImage(t, b, "of b"); r.Sequence != 1 {
		t.Errorf("first push of b: got sequence %d, want 1", r.Sequence)
	}
	if got := h.Take(t, b); string(got.Data) != "of b" {
		t.Errorf("pop of b: got %q", got.Data)
	}
	h.WantEmpty(t, b)
	if got := h.Take(t, a); string(got.Data) != "of a" {
		t.Errorf("pop of a: got %q", got.Data)
	}
}

func expires(t *testing.T, newHarness factory) {
	h, id := newHarness(t, Options{}), session.New()
	h.PushImage(t, id, "old")
	h.Elapse(h.TTL / 2)
	h.PushImage(t, id, "young")
	if n := h.Len(t, id); n != 2 {
		t.Errorf("before expiry: got length %d, want 2", n)
	}
	h.Elapse(h.TTL / 2)
	if n := h.Len(t, id); n != 1 {
		t.Errorf("after the first expiry: got length %d, want 1", n)
	}
	if got := h.Take(t, id); string(got.Data) != "young" || got.Sequence != 2 {
		t.Errorf("got %q, sequence %d, want young with 2: the gap shows what expired", got.Data, got.Sequence)
	}
	h.PushImage(t, id, "left alone")
	h.Elapse(h.TTL)
	if n := h.Len(t, id); n != 0 {
		t.Errorf("after the last expiry: got length %d, want none", n)
	}
	h.WantEmpty(t, id)
	if r := h.PushImage(t, id, "new"); r.Sequence != 4 || r.Queued != 1 {
		t.Errorf("push after a silence: got %+v, want sequence 4, 1 queued", r)
	}
}

func requeuesInPlace(t *testing.T, newHarness factory) {
	h, id := newHarness(t, Options{}), session.New()
	for i := range 4 {
		h.PushImage(t, id, fmt.Sprint(i))
	}
	first, second := h.PopImage(t, id), h.PopImage(t, id)
	second.Requeue()
	first.Requeue()
	first.Requeue() // again: harmless
	testkit.Eventually(t, func() bool { return h.Len(t, id) == 4 })
	for i := range 4 {
		got := h.Take(t, id)
		if string(got.Data) != fmt.Sprint(i) || got.Sequence != int64(i+1) || got.Behind != 3-i {
			t.Errorf("pop %d: got %q, sequence %d, %d behind", i, got.Data, got.Sequence, got.Behind)
		}
	}
	h.PushImage(t, id, "too late")
	image := h.PopImage(t, id)
	h.Elapse(h.TTL)
	image.Requeue()
	time.Sleep(background)
	h.WantEmpty(t, id)
}

// requeueAgainAfterAnother ends a delivery again after another consumer has taken the image: nothing changes.
func requeueAgainAfterAnother(t *testing.T, newHarness factory) {
	h, id := newHarness(t, Options{TTL: time.Minute}), session.New()
	h.PushImage(t, id, "image")
	first := h.PopImage(t, id)
	first.Requeue()
	testkit.Eventually(t, func() bool { return h.Len(t, id) == 1 })
	defer h.PopImage(t, id).Ack() // by another consumer
	first.Requeue()
	time.Sleep(background)
	h.WantEmpty(t, id)
}

func deliversOnce(t *testing.T, newHarness factory) {
	h, id, a := newHarness(t, Options{TTL: time.Minute}), session.New(), NewAudit()
	a.Run(t, h, Load{Sessions: []string{id}, Producers: 8, Consumers: 16, Images: 200, Requeue: 10})
	a.WantExactlyOnce(t)
	if n := h.Len(t, id); n != 0 {
		t.Errorf("left in the queue: %d", n)
	}
}

// popsAtMost checks that an image for which there is no room stays where it is, and that its size is told.
func popsAtMost(t *testing.T, newHarness factory) {
	h, id := newHarness(t, Options{TTL: time.Minute}), session.New()
	if _, err := h.PopAtMost(t.Context(), id, 0); err != queue.ErrEmpty {
		t.Errorf("an empty queue: got error %v, want ErrEmpty", err)
	}
	for _, image := range []string{"ten bytes.", "next"} {
		h.PushImage(t, id, image)
	}
	for _, most := range []int{0, 9} {
		_, err := h.PopAtMost(t.Context(), id, most)
		large, ok := err.(*queue.TooLargeError)
		if !ok || large.Size != 10 {
			t.Errorf("at most %d: got error %v, want that the image has 10 bytes", most, err)
		}
	}
	if n := h.Len(t, id); n != 2 {
		t.Errorf("got length %d, want 2", n)
	}
	for i, want := range []string{"ten bytes.", "next"} {
		d := testkit.Must(h.PopAtMost(t.Context(), id, 10))(t)
		if string(d.Data) != want || d.Sequence != int64(i+1) || d.Behind != 1-i {
			t.Errorf("got %q, sequence %d, %d behind, want %q", d.Data, d.Sequence, d.Behind, want)
		}
		d.Ack()
	}
	h.WantEmpty(t, id)
}

// clockStepsBack steps by more than a life, and then by less.
func clockStepsBack(t *testing.T, newHarness factory) {
	h, id := newHarness(t, Options{TTL: time.Minute}), session.New()
	h.PushImage(t, id, "0")
	h.PushImage(t, id, "1")
	h.StepBack(id, time.Hour)
	h.PushImage(t, id, "2")
	h.StepBack(id, 20*time.Second)
	h.PushImage(t, id, "3")
	var last time.Time
	for i := range 4 {
		got := h.Take(t, id)
		if string(got.Data) != fmt.Sprint(i) || got.Sequence != int64(i+1) || got.Behind != 3-i {
			t.Fatalf("pop %d: got %q, sequence %d, %d behind", i, got.Data, got.Sequence, got.Behind)
		}
		if h.Remote && i != 2 && !got.Arrived.After(last) {
			t.Errorf("pop %d: arrived %v, the one before %v", i, got.Arrived, last)
		}
		last = got.Arrived
	}
}

// clockStepKeepsExpiry checks that a step back gives no image a longer life.
func clockStepKeepsExpiry(t *testing.T, newHarness factory) {
	h := newHarness(t, Options{})
	if !h.Remote {
		t.Skip("the clock of the engine is monotonic: it does not step")
	}
	pushed, popped := session.New(), session.New()
	for _, id := range []string{pushed, popped} {
		h.PushImage(t, id, "before")
		h.StepBack(id, time.Hour)
	}
	h.PushImage(t, pushed, "after")
	h.PopImage(t, popped).Requeue()
	testkit.Eventually(t, func() bool { return h.Len(t, popped) == 1 })
	h.Elapse(h.TTL + 50*time.Millisecond)
	h.WantEmpty(t, pushed)
	h.WantEmpty(t, popped)
}
