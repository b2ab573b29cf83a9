package redisqueue

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// A list of many sessions is read in slices, each short for Redis, one at a time, and lacks and doubles no session
// although images come meanwhile.
func TestSessionsAreReadInSlices(t *testing.T) {
	t.Parallel()
	var reading, slices atomic.Int64
	var busy func()
	h := openMeddled(t, redistest.Own(t), func(
		ctx context.Context, cmds []redis.Cmder, send redis.ProcessPipelineHook,
	) error {
		if !runs(cmds, statsScript) {
			return send(ctx, cmds)
		}
		if reading.Add(1) > 1 {
			t.Error("two slices at a time")
		}
		defer reading.Add(-1)
		err := send(ctx, cmds)
		listed, _, parseErr := parseStats(cmds[0].(*redis.Cmd))
		if parseErr != nil || len(cmds) > 1 || len(listed) > statsSlice {
			t.Errorf("%d scripts list %d sessions, error %v, want one with %d at most",
				len(cmds), len(listed), parseErr, statsSlice)
		}
		slices.Add(1)
		busy()
		return err
	})
	const sessions = 2000
	for i := range sessions {
		h.PushImage(t, fmt.Sprint(i), "image")
	}
	renewed := 0
	busy = func() { // the session moves to the end of its shard
		session := fmt.Sprint(renewed % sessions)
		renewed += 7
		k := keysOf(session)
		testkit.Must(h.q.rdb.ZIncrBy(t.Context(), k.sessions(), 1000, session).Result())(t)
	}
	listed := map[string]int{}
	for _, s := range testkit.Must(h.Sessions(t.Context()))(t) {
		listed[s.ID]++
	}
	for i := range sessions {
		if n := listed[fmt.Sprint(i)]; n != 1 {
			t.Errorf("session %d is listed %d times, want once", i, n)
		}
	}
	// Each shard ends with a slice that is not full. Those that move cost a few more.
	if n, most := slices.Load(), int64(sessions/statsSlice+2*buckets); n > most {
		t.Errorf("read %d slices, want at most %d", n, most)
	}
}
