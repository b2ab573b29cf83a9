package redisqueue

import (
	"errors"
	"testing"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// A pop looks for the size of an image only where more was pushed since than it may take. Here Redis forbids to look.
func TestPopKnowsThatAnImageFits(t *testing.T) {
	t.Parallel()
	server, session := redistest.Own(t), newSession()
	h := openOn(t, server)
	for _, image := range []string{"ten bytes.", "five."} {
		h.PushImage(t, session, image)
	}
	blind := openHarness(t, Options{Redis: userOf(t, server, "blind", "+strlen")})
	if _, err := h.PopAtMost(t.Context(), session, 9); err == nil || err.(*queue.TooLargeError).Size != 10 {
		t.Errorf("at most 9 bytes: got error %v, want that the image has 10", err)
	}
	for _, want := range []string{"ten bytes.", "five."} {
		d := testkit.Must(blind.PopAtMost(t.Context(), session, 15))(t)
		if string(d.Data) != want {
			t.Errorf("got %q, want %q", d.Data, want)
		}
		d.Ack()
	}
	h.PushImage(t, session, "image")
	if _, err := blind.PopAtMost(t.Context(), session, 4); !errors.Is(err, queue.ErrUnavailable) {
		t.Errorf("at most 4 bytes of 5: got error %v, want that Redis forbids to look", err)
	}
}
