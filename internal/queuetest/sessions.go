package queuetest

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

func sessions(t *testing.T, newHarness factory) {
	h, prefix := newHarness(t, Options{TTL: time.Minute}), session.New()[:16]
	const count = 300
	for i := range count {
		id := fmt.Sprintf("%s-%d", prefix, i)
		for range 1 + i%3 {
			h.PushImage(t, id, "x")
		}
		if i%3 == 0 {
			h.Take(t, id) // its only image
		}
	}
	got := map[string]int{}
	for _, s := range testkit.Must(h.Sessions(t.Context()))(t) {
		got[s.ID] += s.Len
	}
	for i := range count {
		id, want := fmt.Sprintf("%s-%d", prefix, i), 1+i%3
		if i%3 == 0 {
			want = 0
		}
		if n, listed := got[id]; n != want || listed != (want > 0) {
			t.Errorf("session %d: got length %d, listed %v, want %d", i, n, listed, want)
		}
	}
}

// takesEveryID checks that ids of all valid characters stay whole, also where they look like what an engine keeps with
// them.
func takesEveryID(t *testing.T, newHarness factory) {
	h, own := newHarness(t, Options{TTL: time.Minute}), session.New()[:16]
	ids := []string{
		"AA:BB:CC:00:11:22" + own, own + ":AA:BB:CC:00:11:22", "front.door." + own, own, "-_.:" + own,
		own + ".", "." + own, "..." + own, own + ":", ":" + own,
		"1:2:" + own + "-3", "notify:" + own, own + ":notify:x", "is::queue:" + own,
	}
	for i, id := range ids {
		if !session.Valid(id) {
			t.Fatalf("%s is not valid", id)
		}
		got := make(notifications, 10)
		defer h.Subscribe(id, got)()
		if h.Remote {
			<-got // notifications begin
		}
		first, second := fmt.Sprint("first ", i), fmt.Sprint("second ", i)
		h.PushImage(t, id, first)
		if ref := got.pushed(); ref.Session != id || ref.Sequence != 1 {
			t.Errorf("%s: got notification %+v", id, ref)
		}
		h.PushImage(t, id, second)
		h.PopImage(t, id).Requeue()
		testkit.Eventually(t, func() bool { return h.Len(t, id) == 2 })
		if image := h.Take(t, id); string(image.Data) != first || image.Session != id {
			t.Errorf("%s: took %q of %s, want %q", id, image.Data, image.Session, first)
		}
		newest := testkit.Must(queue.Get(t.Context(), h, id, queue.Newest))(t)
		if string(newest.Data) != second || newest.Sequence != 2 {
			t.Errorf("%s: the newest is %q, sequence %d", id, newest.Data, newest.Sequence)
		}
	}
	for _, id := range ids {
		if s := h.Session(t, id); s.Len != 1 || s.Sent != 2 || s.Taken != 1 {
			t.Errorf("%s: got %+v, want one image, and 1 of 2 taken", id, s)
		}
	}
}

// details checks that the numbers of a session add up, whatever became of its images.
func details(t *testing.T, newHarness factory) {
	h, id := newHarness(t, Options{Limits: queue.Limits{Images: 5}}), session.New()
	begun := time.Now()
	want := func(what string, age time.Duration, want queue.Session) {
		t.Helper()
		got := h.Session(t, id)
		least := age.Seconds() - 0.1 // the clock of the engine may be another one
		if most := age.Seconds() + time.Since(begun).Seconds() + 1; got.Age < 0 || got.Age < least || got.Age > most {
			t.Errorf("%s: got age %v, want from %v to %v", what, got.Age, least, most)
		}
		if text := strconv.FormatFloat(got.Age, 'f', -1, 64); len(text) > len(fmt.Sprintf("%.3f", got.Age)) {
			t.Errorf("%s: got age %s, want milliseconds", what, text)
		}
		got.Age, want.ID = 0, id
		if got != want {
			t.Errorf("%s: got %+v, want %+v", what, got, want)
		}
	}
	if got := h.Session(t, id); got != (queue.Session{}) {
		t.Errorf("nothing: got %+v", got)
	}
	for range 7 {
		h.PushImage(t, id, "ten bytes.")
	}
	want("7 sent, 2 gave way", 0, queue.Session{Len: 5, Bytes: 50, Sent: 7, Dropped: 2})
	h.Take(t, id)
	image := h.PopImage(t, id)
	want("2 taken", 0, queue.Session{Len: 3, Bytes: 30, Sent: 7, Taken: 2, Dropped: 2})
	image.Requeue()
	testkit.Eventually(t, func() bool { return h.Len(t, id) == 4 })
	want("one came back", 0, queue.Session{Len: 4, Bytes: 40, Sent: 7, Taken: 1, Dropped: 2})
	h.Elapse(h.TTL * 3 / 4)
	h.PushImage(t, id, "five.")
	h.Elapse(h.TTL / 2)
	want("4 expired", h.TTL/2, queue.Session{Len: 1, Bytes: 5, Sent: 8, Taken: 1, Dropped: 2, Expired: 4})
	if r := h.PushImage(t, id, "five."); r.Expired != 4 {
		t.Errorf("the next push reports %d expired, want 4", r.Expired)
	}
	want("a new one", 0, queue.Session{Len: 2, Bytes: 10, Sent: 9, Taken: 1, Dropped: 2, Expired: 4})
}
