package redisqueue

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
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

// A call that finds no scripts when its time is nearly over does not have them loaded: its consumer would wait for
// longer than a call may take.
func TestScriptsAreNotLoadedLate(t *testing.T) {
	t.Parallel()
	server := redistest.Own(t)
	var prepared, flushed atomic.Bool
	var loads atomic.Int64
	h := openMeddled(t, server, func(ctx context.Context, cmds []redis.Cmder, send redis.ProcessPipelineHook) error {
		loadsScripts := cmds[0].Name() == "script"
		switch {
		case !flushed.Load():
			prepared.Store(prepared.Load() || !loadsScripts) // what it sends next
		case loadsScripts:
			loads.Add(1)
		default:
			time.Sleep(callTimeout - attemptTimeout)
		}
		return send(ctx, cmds)
	})
	testkit.Eventually(t, prepared.Load)
	testkit.NoError(t, server.Client(t).ScriptFlush(t.Context()).Err())
	flushed.Store(true)
	if _, err := h.Push(t.Context(), newSession(), []byte("image")); !errors.Is(err, queue.ErrUnavailable) {
		t.Errorf("got error %v, want ErrUnavailable", err)
	}
	if n := loads.Load(); n > 0 {
		t.Errorf("the scripts were loaded %d times", n)
	}
}
