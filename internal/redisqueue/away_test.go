package redisqueue

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// calls are all calls that need Redis, each on a session.
var calls = map[string]func(ctx context.Context, q *Queue, session string) error{
	"Push": func(ctx context.Context, q *Queue, session string) error {
		_, err := q.Push(ctx, session, []byte("image"))
		return err
	},
	"Pop": func(ctx context.Context, q *Queue, session string) error {
		d, err := q.Pop(ctx, session)
		d.Ack()
		return err
	},
	"Find": func(ctx context.Context, q *Queue, session string) error {
		_, err := q.Find(ctx, session, queue.Newest)
		return err
	},
	"Load": func(ctx context.Context, q *Queue, session string) error {
		_, err := q.Load(ctx, queue.Ref{Session: session, Handle: keysOf(session).image("CLIENT-1")})
		return err
	},
	"Sessions": func(ctx context.Context, q *Queue, _ string) error {
		_, err := q.Sessions(ctx)
		return err
	},
	"countSessions": func(ctx context.Context, q *Queue, _ string) error { return q.countSessions(ctx) },
	"Ready":         func(ctx context.Context, q *Queue, _ string) error { return q.Ready(ctx) },
}

// wantUnavailable checks that every call fails. It waits for Ready first, which remembers its answer for a second.
func (h *harness) wantUnavailable(t *testing.T, session string) {
	t.Helper()
	testkit.Eventually(t, func() bool { return h.Ready(t.Context()) != nil })
	var all sync.WaitGroup
	for name, call := range calls {
		all.Go(func() {
			if err := call(t.Context(), h.q, session); !errors.Is(err, queue.ErrUnavailable) {
				t.Errorf("%s: got error %v, want ErrUnavailable", name, err)
			}
		})
	}
	all.Wait()
}

// wantAvailable checks that every call soon succeeds or finds nothing. It waits for Ready first: after many failures
// go-redis tries to connect only once in a second, and Ready asks only once in a second.
func (h *harness) wantAvailable(t *testing.T, session string) {
	t.Helper()
	testkit.Eventually(t, func() bool { return h.Ready(t.Context()) == nil })
	for name, call := range calls {
		if err := call(t.Context(), h.q, session); err != nil && !errors.Is(err, queue.ErrEmpty) {
			t.Errorf("%s: got error %v", name, err)
		}
	}
}

// A queue without its Redis says so, from the start on, and works by itself when Redis does.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	server := redistest.Own(t)
	testkit.NoError(t, server.Kill())
	h := openOn(t, server)
	for range 2 {
		h.wantUnavailable(t, newSession())
		testkit.NoError(t, server.Start())
		h.wantAvailable(t, newSession())
		testkit.NoError(t, server.Kill())
	}
}

// Redis runs the calls that it received while it was silent. When it answers again, they are undone.
func TestRedisSilent(t *testing.T) {
	t.Parallel()
	server, session := redistest.Own(t), newSession()
	h := openOn(t, server)
	h.wantAvailable(t, newSession())
	testkit.NoError(t, server.Pause())
	h.wantUnavailable(t, session)
	testkit.NoError(t, server.Resume())
	h.wantAvailable(t, newSession())
	testkit.Eventually(t, func() bool { return h.Len(t, session) == 0 })
	h.q.finish()
	h.WantEmpty(t, session)
}

// A call fails within three seconds, whether Redis is gone or only silent.
func TestCallsFailInTime(t *testing.T) {
	t.Parallel()
	for name, fake := range map[string]func() *fakeRedis{
		"gone":   func() *fakeRedis { return &fakeRedis{gone: true} },
		"silent": silentRedis,
	} {
		for callName, call := range calls {
			t.Run(name+"/"+callName, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					h := openFake(t, fake())
					begun := time.Now()
					err := call(t.Context(), h.q, "session")
					if took := time.Since(begun); took > 3*time.Second || !errors.Is(err, queue.ErrUnavailable) {
						t.Errorf("got error %v after %s, want ErrUnavailable after three seconds at most", err, took)
					}
				})
			})
		}
	}
}

// Nothing of a queue runs after Close, also while Redis does not answer.
func TestCloseWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := openFake(t, silentRedis())
		time.Sleep(time.Millisecond) // prepare waits for Redis
		h.q.Close()
		select {
		case <-h.q.ended:
		default:
			t.Error("something still runs")
		}
	})
}
