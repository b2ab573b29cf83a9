package queuetest

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// limitSlides checks that the oldest images give way at a limit: the gap in the sequence shows it, and the images are
// counted.
func limitSlides(t *testing.T, newHarness factory) {
	for _, row := range []struct {
		name   string
		limits queue.Limits
		sizes  []int
		kept   []int64 // sequences
	}{
		{"images", queue.Limits{Images: 3}, []int{9, 9, 9, 9, 9}, []int64{3, 4, 5}},
		{"one image", queue.Limits{Images: 1}, []int{9, 9, 9}, []int64{3}},
		{"bytes", queue.Limits{Bytes: 100}, []int{40, 40, 40, 20}, []int64{2, 3, 4}},
		{"bytes exactly", queue.Limits{Bytes: 100}, []int{50, 50}, []int64{1, 2}},
		{"one large image for many", queue.Limits{Bytes: 100}, []int{10, 10, 10, 10, 95}, []int64{5}},
		{"an image larger than the limit", queue.Limits{Bytes: 100}, []int{10, 500}, []int64{2}},
		{"after an image larger than the limit", queue.Limits{Bytes: 100}, []int{500, 10}, []int64{2}},
		{"images and bytes", queue.Limits{Images: 2, Bytes: 100}, []int{30, 30, 30, 90}, []int64{4}},
		{"none", queue.Limits{}, []int{9, 9, 9, 9}, []int64{1, 2, 3, 4}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t, Options{TTL: time.Minute, Limits: row.limits})
			id, dropped := session.New(), 0
			for i, size := range row.sizes {
				r := h.PushImage(t, id, strings.Repeat("x", size))
				dropped += r.Dropped
				if r.Sequence != int64(i+1) || r.Queued != i+1-dropped || r.Expired != 0 {
					t.Errorf("push %d: got %+v, %d dropped so far", i+1, r, dropped)
				}
			}
			if want := len(row.sizes) - len(row.kept); dropped != want {
				t.Errorf("got %d dropped, want %d", dropped, want)
			}
			for i, sequence := range row.kept {
				got, size, behind := h.Take(t, id), row.sizes[sequence-1], len(row.kept)-i-1
				if got.Sequence != sequence || got.Size != size || got.Behind != behind {
					t.Errorf("pop %d: got %d of %d bytes, %d behind, want %d of %d, %d behind",
						i+1, got.Sequence, got.Size, got.Behind, sequence, size, behind)
				}
			}
			h.WantEmpty(t, id)
		})
	}
}

// limitCountsWhatIsThere checks that taken and expired images make room, and that an image that comes back counts.
func limitCountsWhatIsThere(t *testing.T, newHarness factory) {
	h, id := newHarness(t, Options{Limits: queue.Limits{Images: 3, Bytes: 30}}), session.New()
	for range 3 {
		h.PushImage(t, id, "ten bytes.")
	}
	h.Take(t, id)
	if r := h.PushImage(t, id, "ten bytes."); r.Dropped != 0 || r.Queued != 3 {
		t.Errorf("after a pop: got %+v, want 3 queued and none dropped", r)
	}
	h.PopImage(t, id).Requeue()
	testkit.Eventually(t, func() bool { return h.Len(t, id) == 3 })
	if r := h.PushImage(t, id, "ten bytes."); r.Dropped != 1 || r.Queued != 3 {
		t.Errorf("after an image came back: got %+v, want 3 queued and one dropped", r)
	}
	h.Elapse(h.TTL)
	if r := h.PushImage(t, id, "ten bytes."); r.Dropped != 0 || r.Queued != 1 || r.Expired != 3 {
		t.Errorf("after expiry: got %+v, want one queued, none dropped, 3 expired", r)
	}
}

// limitSessions checks that one session more than the limit is refused, that those which are open go on, and that one
// which has ended makes room.
func limitSessions(t *testing.T, newHarness factory) {
	h := newHarness(t, Options{Limits: queue.Limits{Sessions: 20}})
	for i := range 20 {
		h.PushImage(t, "session-"+strconv.Itoa(i), "image")
	}
	if _, err := h.Push(t.Context(), "one-more", []byte("image")); !errors.Is(err, queue.ErrTooManySessions) {
		t.Errorf("session 21: got error %v, want ErrTooManySessions", err)
	}
	if n := h.Len(t, "one-more"); n != 0 {
		t.Errorf("session 21 has %d images", n)
	}
	for i := range 20 {
		if r := h.PushImage(t, "session-"+strconv.Itoa(i), "image"); r.Queued != 2 {
			t.Errorf("session %d: got %+v, want its second image", i, r)
		}
	}
	h.Elapse(h.TTL * 3 / 2)
	if r := h.PushImage(t, "one-more", "image"); r.Sequence != 1 {
		t.Errorf("when the others have ended: got %+v", r)
	}
}
