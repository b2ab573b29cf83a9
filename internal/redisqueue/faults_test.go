package redisqueue

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/queuetest"
	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// throughProxy opens a queue that reaches Redis through a fault proxy.
func throughProxy(t *testing.T, fault redistest.Fault, oneIn int) (*harness, *redistest.FaultProxy) {
	t.Helper()
	proxy := redistest.NewFaultProxy(t, redistest.Use(t).Addr, fault, oneIn)
	return openHarness(t, Options{Redis: at(proxy.Addr)}), proxy
}

// Redis runs a call, then the connection breaks: no image is lost or doubled.
func TestFaultsLoseAndDoubleNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fault  redistest.Fault
		images int
	}{{redistest.FIN, 30}, {redistest.RST, 30}, {redistest.Silence, 4}} {
		t.Run(string(c.fault), func(t *testing.T) {
			t.Parallel()
			h, proxy := throughProxy(t, c.fault, 3)
			a := queuetest.NewAudit()
			a.Run(t, h, queuetest.Load{
				Sessions: []string{newSession(), newSession(), newSession()}, Producers: 6, Consumers: 6,
				Images: c.images, Requeue: 10, Size: 50_000, Heal: proxy.Heal,
			})
			a.WantExactlyOnce(t)
			a.WantRefusedAtMostOnce(t)
			if cuts := proxy.Cuts(); cuts < c.images {
				t.Errorf("only %d connections were cut: the test shows little", cuts)
			}
		})
	}
}

// The negative control: a similar load on the same proxy, through a queue that makes each attempt under a new callID.
// The audit has to notice.
func TestFaultsAreNoticed(t *testing.T) {
	t.Parallel()
	h, _ := throughProxy(t, redistest.FIN, 3)
	a := queuetest.NewAudit()
	a.Run(t, forgetful{h.q}, queuetest.Load{
		Sessions: []string{newSession()}, Producers: 4, Consumers: 4, Images: 40, Silence: 3 * time.Second,
	})
	t.Logf("without idempotent calls: %s", a.Summary())
	if len(a.Missing()) == 0 || len(a.Doubled()) == 0 {
		t.Error("the audit saw nothing: it would not notice a fault in the queue either")
	}
}

// forgetful repeats calls under new callIDs.
type forgetful struct{ *Queue }

func (q forgetful) Push(ctx context.Context, session string, image []byte) (queue.Receipt, error) {
	for {
		r, err := q.once().Push(ctx, session, image)
		if err == nil || ctx.Err() != nil {
			return r, err
		}
	}
}

func (q forgetful) Pop(ctx context.Context, session string) (queue.Delivery, error) {
	for {
		d, err := q.once().Pop(ctx, session)
		if err == nil || errors.Is(err, queue.ErrEmpty) || ctx.Err() != nil {
			return d, err
		}
	}
}

// once returns a queue that attempts a call once, and undoes and frees nothing.
func (q forgetful) once() *Queue {
	c := *q.Queue
	c.rdb = attemptOnce{c.rdb}
	idle := &worker{wake: make(chan struct{}, 1)}
	c.undoer = &undoer{calls: c.calls, worker: idle, behind: map[keys]int{}}
	c.cleaner = &cleaner{worker: idle, delivered: map[keys][]string{}, retained: map[string]retained{}}
	return &c
}

// attemptOnce makes every failure of a pipeline final.
type attemptOnce struct{ redis.UniversalClient }

func (c attemptOnce) Pipeline() redis.Pipeliner { return finalPipeline{c.UniversalClient.Pipeline()} }

type finalPipeline struct{ redis.Pipeliner }

func (p finalPipeline) Exec(ctx context.Context) ([]redis.Cmder, error) {
	cmds, err := p.Pipeliner.Exec(ctx)
	for _, cmd := range cmds {
		if _, isReply := errors.AsType[redis.Error](cmd.Err()); cmd.Err() != nil && !isReply {
			cmd.SetErr(redis.ErrClosed)
		}
	}
	return cmds, err
}

// Redis loses its scripts under load: no call fails, and no image is lost or doubled.
func TestScriptFlush(t *testing.T) {
	t.Parallel()
	server := redistest.Own(t)
	rdb := server.Client(t)
	var calls, flushes atomic.Int64
	h := openMeddled(t, server, func(ctx context.Context, cmds []redis.Cmder, send redis.ProcessPipelineHook) error {
		if calls.Add(1)%40 == 0 {
			flushes.Add(1)
			if err := rdb.ScriptFlush(ctx).Err(); err != nil {
				t.Error(err)
			}
		}
		return send(ctx, cmds)
	})
	a := queuetest.NewAudit()
	a.Run(t, h, queuetest.Load{
		Sessions: []string{newSession(), newSession()}, Producers: 4, Consumers: 4, Images: 150, Requeue: 10,
		Pause: 2 * time.Millisecond,
	})
	a.WantExactlyOnce(t)
	if times, failures := flushes.Load(), a.Counts().Failures; failures > 0 || times < 20 {
		t.Errorf("%d calls failed over %d flushes, want none over 20 or more", failures, times)
	}
}

// Redis is killed and starts again under load. With an append-only file that it writes before each answer that is a
// delay, or a refusal where the start takes longer than a call may: nothing is lost or doubled. Without the file, Redis
// forgets the images that it held and the calls in flight, as README says.
func TestRedisRestarts(t *testing.T) {
	t.Parallel()
	const restarts, producers, consumers = 5, 4, 8
	for _, c := range []struct {
		name    string
		args    []string
		durable bool
		silence time.Duration
	}{
		{"append-only file, always", []string{"--appendonly", "yes", "--appendfsync", "always"}, true, 0},
		{"append-only file, no", []string{"--appendonly", "yes", "--appendfsync", "no"}, true, 0},
		{"memory only", nil, false, 3 * time.Second}, // what was in memory is lost
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Own(t, c.args...)
			h := openOn(t, server)
			restarted := make(chan error, 1)
			go func() {
				var err error
				for range restarts {
					time.Sleep(200 * time.Millisecond)
					err = errors.Join(err, server.Kill(), server.Start())
				}
				restarted <- err
			}()
			a := queuetest.NewAudit()
			a.Run(t, h, queuetest.Load{
				Sessions: []string{newSession(), newSession()}, Producers: producers, Consumers: consumers,
				Images: 300, Pause: 3 * time.Millisecond,
				Heal: func() { testkit.NoError(t, <-restarted) }, Silence: c.silence,
			})
			if c.durable {
				a.WantExactlyOnce(t)
				a.WantRefusedAtMostOnce(t)
			}
			t.Logf("%d restarts: %s", restarts, a.Summary())
			counts, doubled := a.Counts(), a.Doubled()
			if inFlight := restarts * (producers + consumers); len(doubled) > inFlight || counts.Damaged > 0 {
				t.Errorf("doubled %d, want at most the %d in flight; damaged %d", len(doubled), inFlight, counts.Damaged)
			}
			if counts.Delivered < counts.Pushed/2 {
				t.Errorf("only %d of %d images came through", counts.Delivered, counts.Pushed)
			}
		})
	}
}

// Redis stops answering for a while: calls fail, and are undone when Redis goes on.
func TestRedisPauses(t *testing.T) {
	t.Parallel()
	server := redistest.Own(t)
	h := openOn(t, server)
	paused := make(chan error, 1)
	go func() {
		time.Sleep(100 * time.Millisecond)
		err := server.Pause()
		time.Sleep(6 * time.Second)
		paused <- errors.Join(err, server.Resume())
	}()
	a := queuetest.NewAudit()
	a.Run(t, h, queuetest.Load{
		Sessions: []string{newSession()}, Producers: 4, Consumers: 4, Images: 100, Pause: 10 * time.Millisecond,
		Heal: func() { testkit.NoError(t, <-paused) },
	})
	if a.Counts().Failures == 0 {
		t.Error("no call failed: the pause was not felt")
	}
	a.WantExactlyOnce(t)
	a.WantRefusedAtMostOnce(t)
}
