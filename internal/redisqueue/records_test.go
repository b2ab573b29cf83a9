package redisqueue

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// addOldRecords gives a session the records of a thousand clients whose last call is long ago, and makes its newest
// image look a quarter of a TTL older, so that the next push forgets such clients.
func addOldRecords(t *testing.T, rdb *redis.Client, session string, ttl time.Duration) {
	t.Helper()
	old := time.Now().Add(-ttl - queue.SequenceRetention - time.Minute).Unix()
	var fields []any
	for i := range 1000 {
		fields = append(fields, fmt.Sprint("OLD", i), record{call: 7, second: old, reply: "void"}.String())
	}
	meta := keysOf(session).meta(session)
	testkit.Must(rdb.HSet(t.Context(), meta, fields...).Result())(t)
	testkit.Must(rdb.HIncrBy(t.Context(), meta, "newest", -(ttl / 4).Microseconds()).Result())(t)
}

// Clients whose last call is long ago are forgotten. A client that may still requeue its image is not.
func TestForgetsNoPopInFlight(t *testing.T) {
	t.Parallel()
	server, session := redistest.Use(t), newSession()
	rdb, h := server.Client(t), openOn(t, server)
	h.PushImage(t, session, "first")
	d := h.PopImage(t, session)
	addOldRecords(t, rdb, session, h.TTL)
	if r := h.PushImage(t, session, "second"); r.Sequence != 2 {
		t.Errorf("the push that forgets: got sequence %d, want 2", r.Sequence)
	}
	if n := testkit.Must(rdb.HLen(t.Context(), keysOf(session).meta(session)).Result())(t); n > 100 {
		t.Errorf("the session remembers %d things, want the old ones forgotten", n)
	}
	d.Requeue()
	testkit.Eventually(t, func() bool { return h.Len(t, session) == 2 })
	for i, want := range []string{"first", "second"} {
		if got := h.Take(t, session); string(got.Data) != want || got.Sequence != int64(i+1) {
			t.Errorf("got %q, sequence %d, want %q, %d", got.Data, got.Sequence, want, i+1)
		}
	}
}

// A push whose reply got lost is repeated and known again, although in between its image was taken and other clients
// were forgotten.
func TestForgetsNoPushInFlight(t *testing.T) {
	t.Parallel()
	server, session := redistest.Use(t), newSession()
	rdb, other := server.Client(t), openOn(t, server)
	var lose atomic.Bool
	h := openMeddled(t, server, func(ctx context.Context, cmds []redis.Cmder, send redis.ProcessPipelineHook) error {
		err := send(ctx, cmds)
		if !runs(cmds, pushScript) || !lose.CompareAndSwap(true, false) {
			return err
		}
		addOldRecords(t, rdb, session, other.TTL)
		other.PushImage(t, session, "of another server")
		for _, want := range []string{"once", "of another server"} {
			if got := other.Take(t, session); string(got.Data) != want {
				t.Errorf("before the repeat: took %q, want %q", got.Data, want)
			}
		}
		return unanswered(cmds, io.EOF)
	})
	lose.Store(true)
	if got := h.PushImage(t, session, "once"); got.Sequence != 1 || got.Queued != 1 {
		t.Errorf("got %+v, want sequence 1, 1 queued: what the first attempt returned", got)
	}
	h.WantEmpty(t, session)
}
