package redisqueue

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// Whatever keeps Redis from taking a push makes the queue not ready, for as long as it lasts.
func TestReadyWhileRedisRefusesWrites(t *testing.T) {
	t.Parallel()
	onRefusals(t, func(t *testing.T, r refusing) {
		testkit.NoError(t, r.Ready(t.Context()))
		r.begin(t)
		testkit.Eventually(t, func() bool { return r.Ready(t.Context()) != nil })
		if err := r.Ready(t.Context()); !errors.Is(err, queue.ErrUnavailable) || r.refused.Load() == 0 {
			t.Errorf("got error %v after %d refusals, want ErrUnavailable", err, r.refused.Load())
		}
		r.end(t)
		testkit.Eventually(t, func() bool { return r.Ready(t.Context()) == nil })
	})
}

// The check leaves nothing in Redis, and passes on a full one: images can be taken, which makes room.
func TestReadyLeavesNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Own(t)
	rdb := server.Client(t)
	for _, maxmemory := range []string{"0", "1"} {
		testkit.Must(rdb.ConfigSet(t.Context(), "maxmemory", maxmemory).Result())(t)
		testkit.NoError(t, openOn(t, server).Ready(t.Context()))
	}
	testkit.Eventually(t, func() bool { // the check of permissions leaves keys for a second
		keys := rdb.Keys(t.Context(), "is:*").Val()
		return !slices.ContainsFunc(keys, func(key string) bool { return strings.Contains(key, "image:") })
	})
}

// A user of Redis who may not run scripts can push nothing.
func TestReadyWithoutRights(t *testing.T) {
	t.Parallel()
	h := openHarness(t, Options{Redis: userOf(t, redistest.Own(t), "streamer", "+evalsha")})
	if err := h.Ready(t.Context()); !errors.Is(err, queue.ErrUnavailable) || !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("got error %v, want ErrUnavailable with NOPERM", err)
	}
}

// On a Cluster the check asks every node: the slots of all buckets have to be served.
func TestReadyAsksEveryNode(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	rdb := newClient(&redis.UniversalOptions{Addrs: redistest.Cluster(t), IsClusterMode: true})
	rdb.AddHook(meddler(func(ctx context.Context, cmds []redis.Cmder, send redis.ProcessPipelineHook) error {
		buckets := map[string]bool{}
		for _, cmd := range cmds {
			if cmd.Name() == "set" {
				bucket, _, _ := strings.Cut(cmd.Args()[1].(string), "}")
				buckets[bucket] = true
			}
		}
		asked.Store(max(asked.Load(), int64(len(buckets))))
		return send(ctx, cmds)
	}))
	testkit.NoError(t, openWith(t, rdb, Options{}).Ready(t.Context()))
	if n := asked.Load(); n != buckets {
		t.Errorf("asked in %d buckets, want %d", n, buckets)
	}
}

// Those who ask again within a second cost Redis nothing.
func TestReadyAsksOnceInASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		h := openFake(t, &fakeRedis{bytesPerSecond: 1 << 30, reply: "$8\r\nsessions\r\n", refusal: func() string {
			asked.Add(1)
			return ""
		}})
		time.Sleep(time.Minute) // the scripts are loaded
		before := asked.Load()
		for range 100 {
			testkit.NoError(t, h.Ready(t.Context()))
		}
		if n := asked.Load() - before; n < 2 || n > 20 { // the handshake, SET and the script
			t.Errorf("got %d commands, want those of one check", n)
		}
		time.Sleep(time.Second)
		before = asked.Load()
		testkit.NoError(t, h.Ready(t.Context()))
		if n := asked.Load() - before; n != 2 {
			t.Errorf("a second later: got %d commands, want 2", n)
		}
	})
}
