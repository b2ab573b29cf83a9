package redisqueue

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// A full Redis takes no image and gives out those it has.
func TestRedisFull(t *testing.T) {
	t.Parallel()
	h := openOn(t, redistest.Own(t, "--maxmemory", "12mb"))
	h.WantFull(t, newSession(), make([]byte, 1<<20))
}

// A full Redis keeps nothing of an image that it refuses, also when its memory was full only after the SET of the
// bytes.
func TestRefusedPushLeavesNothing(t *testing.T) {
	t.Parallel()
	server, session := redistest.Own(t), newSession()
	rdb := server.Client(t)
	var fill atomic.Bool
	h := openMeddled(t, server, func(ctx context.Context, cmds []redis.Cmder, send redis.ProcessPipelineHook) error {
		if !runs(cmds, pushScript) || !fill.CompareAndSwap(true, false) {
			return send(ctx, cmds)
		}
		script := len(cmds) - 1
		err := send(ctx, cmds[:script])
		testkit.Must(rdb.ConfigSet(ctx, "maxmemory", "1").Result())(t)
		return errors.Join(err, send(ctx, cmds[script:]))
	})
	h.PushImage(t, session, "stored")
	fill.Store(true)
	if _, err := h.Push(t.Context(), session, []byte("refused")); !errors.Is(err, queue.ErrFull) {
		t.Fatalf("got error %v, want ErrFull", err)
	}
	testkit.Must(rdb.ConfigSet(t.Context(), "maxmemory", "0").Result())(t)
	if keys := testkit.Must(rdb.Keys(t.Context(), "is:*:image:*").Result())(t); len(keys) != 1 {
		t.Errorf("Redis keeps the images %q, want only the one stored", keys)
	}
	if got := h.Take(t, session); string(got.Data) != "stored" {
		t.Errorf("got %q, want the image stored", got.Data)
	}
	h.WantEmpty(t, session)
	if r := h.PushImage(t, session, "next"); r.Sequence != 2 {
		t.Errorf("the next push: got sequence %d, want 2: no gap", r.Sequence)
	}
}

// A full Redis undoes calls, also those that had not run: otherwise they would have to wait until there is room.
func TestRedisFullUndoesCalls(t *testing.T) {
	t.Parallel()
	server, session := redistest.Own(t), newSession()
	rdb := server.Client(t)
	s := scriptRunner{openOn(t, server), session, rdb}
	testkit.NoError(t, loadScripts(t.Context(), rdb))
	pushed, popped := s.begin(), s.begin()
	s.push(t, pushed)
	s.pop(t, popped)
	testkit.Must(rdb.ConfigSet(t.Context(), "maxmemory", "1").Result())(t)
	for name, got := range map[string]any{
		"a pop that took an image": s.requeue(t, popped), "a push": s.withdraw(t, pushed),
	} {
		if got != int64(1) {
			t.Errorf("undo %s: got %v, want 1", name, got)
		}
	}
	for name, got := range map[string]any{
		"a pop that did not run": s.requeue(t, s.begin()), "a push that did not run": s.withdraw(t, s.begin()),
	} {
		if got != int64(0) {
			t.Errorf("undo %s: got %v, want 0", name, got)
		}
	}
}

// Nothing of an image outlives EXPIRE in Redis, also when nobody calls. The sequence and the records of calls stay for
// a while.
func TestRedisKeysExpire(t *testing.T) {
	t.Parallel()
	server, clock := redistest.Clocked(t)
	rdb, h := server.Client(t), openOn(t, server)
	for range 20 {
		session := newSession()
		h.PushImage(t, session, "taken, and never acknowledged")
		h.PushImage(t, session, "left alone")
		h.PopImage(t, session)
	}
	meta, sessions := 2*h.TTL+queue.SequenceRetention, h.TTL*5/4
	wantLives(t, rdb, map[string]time.Duration{
		"image": h.TTL, "delivered": h.TTL, "queue": h.TTL, "meta": meta, "sessions": sessions,
	})
	clock.Move(t, h.TTL)
	wantLives(t, rdb, map[string]time.Duration{"meta": meta - h.TTL, "sessions": sessions - h.TTL})
}

// wantLives checks that there are keys of these kinds and no others, and that none lives longer than is given.
func wantLives(t *testing.T, rdb *redis.Client, most map[string]time.Duration) {
	t.Helper()
	seen := map[string]bool{}
	for _, key := range testkit.Must(rdb.Keys(t.Context(), "*").Result())(t) {
		_, kind, _ := strings.Cut(key, "}:")
		kind, _, _ = strings.Cut(kind, ":")
		seen[kind] = true
		if left := testkit.Must(rdb.PTTL(t.Context(), key).Result())(t); left > most[kind] || left < 0 {
			t.Errorf("%s lives %v longer, want at most %v", key, left, most[kind])
		}
	}
	if len(seen) != len(most) {
		t.Errorf("got keys of the kinds %v, want %v", seen, most)
	}
}
