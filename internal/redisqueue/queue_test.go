package redisqueue

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queuetest"
	"github.com/image-streamer/image-streamer/internal/redistest"
)

func TestQueue(t *testing.T) {
	t.Parallel()
	t.Run("single", func(t *testing.T) {
		t.Parallel()
		queuetest.Run(t, newHarness)
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		queuetest.Run(t, newClusterHarness)
	})
}

func newHarness(t *testing.T, o queuetest.Options) *queuetest.Harness {
	if o.TTL == 0 {
		server, clock := redistest.Clocked(t)
		return newClockedHarness(t, at(server.Addr), clock, o)
	}
	return newSharedHarness(t, at(redistest.Use(t).Addr), o)
}

func newClusterHarness(t *testing.T, o queuetest.Options) *queuetest.Harness {
	if o.TTL == 0 {
		addrs, clock := redistest.ClockedCluster(t)
		return newClockedHarness(t, &redis.UniversalOptions{Addrs: addrs, IsClusterMode: true}, clock, o)
	}
	return newSharedHarness(t, &redis.UniversalOptions{Addrs: redistest.Cluster(t), IsClusterMode: true}, o)
}

// newSharedHarness makes a queue on a Redis that other tests use at the same time: for a test no time passes but the
// real one, and a step of the clock is one of the session's keys.
func newSharedHarness(t *testing.T, r *redis.UniversalOptions, o queuetest.Options) *queuetest.Harness {
	h := openHarness(t, Options{Redis: r, TTL: o.TTL, Limits: o.Limits})
	h.Elapse = time.Sleep
	h.StepBack = func(session string, d time.Duration) { moveAhead(t, h.q.rdb, session, d) }
	return &h.Harness
}

// newClockedHarness makes a queue on a Redis of its own, whose clock is moved. So no test depends on how long anything
// takes.
func newClockedHarness(
	t *testing.T, r *redis.UniversalOptions, clock *redistest.Clock, o queuetest.Options,
) *queuetest.Harness {
	h := openHarness(t, Options{Redis: r, TTL: time.Minute, Limits: o.Limits})
	h.Elapse = func(d time.Duration) {
		clock.Move(t, d)
		time.Sleep(recountAfter + time.Millisecond) // the queue counts sessions by the clock of its process
	}
	h.StepBack = func(_ string, d time.Duration) { clock.Move(t, -d) }
	return &h.Harness
}
