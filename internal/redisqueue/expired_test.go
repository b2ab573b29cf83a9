package redisqueue

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// openExpired opens a queue in which a session has more expired images than one script may remove, and then a live one.
func openExpired(t *testing.T, limits queue.Limits) (h *harness, session string) {
	t.Helper()
	h, session = openHarness(t, Options{Redis: at(redistest.Use(t).Addr), Limits: limits}), newSession()
	var members []redis.Z
	old := time.Now().Add(-2 * h.TTL).UnixMicro()
	for i := range int64(2500) {
		m := member{i + 1, i, fmt.Sprint("OLD-", i)}
		members = append(members, redis.Z{Score: float64(old + i), Member: m.String()})
	}
	k := keysOf(session)
	testkit.Must(h.q.rdb.ZAdd(t.Context(), k.queue(session), members...).Result())(t)
	meta := []any{"sequence", len(members), "bytes", len(members)}
	testkit.Must(h.q.rdb.HSet(t.Context(), k.meta(session), meta...).Result())(t)
	h.PushImage(t, session, "live") // removes a part
	return h, session
}

func (h *harness) cardinality(t *testing.T, session string) int64 {
	t.Helper()
	return testkit.Must(h.q.rdb.ZCard(t.Context(), keysOf(session).queue(session)).Result())(t)
}

// However many images of a session have expired, a push removes a bounded part of them, and a pop finds the live one.
func TestManyExpiredImages(t *testing.T) {
	t.Parallel()
	h, session := openExpired(t, queue.Limits{})
	if n := h.cardinality(t, session); n != 1500+1 {
		t.Errorf("after a push there are %d entries, want 1000 less", n)
	}
	if got := h.Take(t, session); string(got.Data) != "live" || got.Behind != 0 {
		t.Errorf("got %q, %d behind", got.Data, got.Behind)
	}
	if n := h.cardinality(t, session); n != 0 {
		t.Errorf("after the pop there are %d entries", n)
	}
}

// Expired images do not give way in place of live ones.
func TestExpiredImagesAreNotDropped(t *testing.T) {
	t.Parallel()
	h, session := openExpired(t, queue.Limits{Images: 1})
	dropped := 0
	for i := range 4 {
		dropped += h.PushImage(t, session, fmt.Sprint(i)).Dropped
	}
	if n := h.cardinality(t, session); n != 1 || dropped != 4 {
		t.Errorf("%d entries are left and %d images gave way, want 1 and 4", n, dropped)
	}
	if got := h.Take(t, session); string(got.Data) != "3" {
		t.Errorf("got %q, want the newest", got.Data)
	}
}
