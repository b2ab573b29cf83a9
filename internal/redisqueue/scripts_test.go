package redisqueue

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// Many calls at once find no scripts, as after a restart of Redis. They have them loaded together, not each for itself.
func TestScriptsAreLoadedTogether(t *testing.T) {
	t.Parallel()
	const pushes = 100
	server := redistest.Own(t)
	var flushed atomic.Bool
	var attempts, loads atomic.Int64
	var missing sync.WaitGroup // attempts without scripts
	missing.Add(pushes)
	h := openMeddled(t, server, func(ctx context.Context, cmds []redis.Cmder, send redis.ProcessPipelineHook) error {
		switch {
		case !flushed.Load():
		case slices.ContainsFunc(cmds, func(cmd redis.Cmder) bool { return cmd.Name() == "script" }):
			missing.Wait()
			loads.Add(1)
		case attempts.Add(1) <= pushes:
			defer missing.Done()
		}
		return send(ctx, cmds)
	})
	testkit.NoError(t, server.Client(t).ScriptFlush(t.Context()).Err())
	flushed.Store(true)
	var all sync.WaitGroup
	session := newSession()
	for range pushes {
		all.Go(func() { h.PushImage(t, session, "image") })
	}
	all.Wait()
	if n := loads.Load(); n > pushes/4 { // one, and those of calls that had their reply long before they read it
		t.Errorf("the scripts were loaded %d times for %d pushes at once", n, pushes)
	}
}
