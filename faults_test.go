package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// throughProxy returns an engine that reaches Redis through a fault proxy.
func throughProxy(t *testing.T, f fault, oneIn int, ttl time.Duration) (*redisQueue, *faultProxy) {
	t.Helper()
	proxy := newFaultProxy(t, useRedis(t).addr, f, oneIn)
	q := newRedisQueue(&redis.Options{Addr: proxy.addr}, ttl, slog.New(slog.DiscardHandler))
	t.Cleanup(q.Close)
	return q, proxy
}

// Redis runs a call, then the connection breaks: no image is lost or doubled.
func TestFaultsLoseAndDoubleNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fault  fault
		images int
	}{{faultFIN, 30}, {faultRST, 30}, {faultSilence, 4}} {
		t.Run(string(c.fault), func(t *testing.T) {
			t.Parallel()
			q, proxy := throughProxy(t, c.fault, 3, time.Minute)
			l := newLedger()
			sessions := []string{newSession(), newSession(), newSession()}
			l.run(t, q, load{sessions: sessions, producers: 6, consumers: 6, images: c.images, refuse: 10, size: 50_000, heal: proxy.heal})
			l.wantExactlyOnce(t)
			l.wantUnacknowledgedAtMostOnce(t)
			if cuts := proxy.cuts.Load(); cuts < int64(c.images) {
				t.Errorf("only %d connections were cut: the test shows little", cuts)
			}
		})
	}
}

// The negative control: the same load on the same proxy, through an engine that
// forgets what it asked, so that each try is a new call. The ledger must notice.
func TestFaultsAreNoticed(t *testing.T) {
	t.Parallel()
	q, _ := throughProxy(t, faultFIN, 3, time.Minute)
	l := newLedger()
	l.run(t, forgetful{q}, load{sessions: []string{newSession()}, producers: 4, consumers: 4, images: 40})
	lost, doubled := l.missing(), l.doubled()
	t.Logf("without receipts: sent %d, lost %d, doubled %d", len(l.pushed), len(lost), len(doubled))
	if len(lost) == 0 || len(doubled) == 0 {
		t.Error("the ledger saw nothing: it would not notice a fault in the engine either")
	}
}

// forgetful repeats calls as a client would that knows nothing of receipts.
type forgetful struct{ *redisQueue }

func (q forgetful) Push(ctx context.Context, session string, image []byte) (receipt, error) {
	for {
		r, err := q.once().Push(ctx, session, image)
		if err == nil || ctx.Err() != nil {
			return r, err
		}
	}
}

func (q forgetful) Pop(ctx context.Context, session string) (frame, error) {
	for {
		f, err := q.once().Pop(ctx, session)
		if err == nil || errors.Is(err, errEmpty) || ctx.Err() != nil {
			return f, err
		}
	}
}

// once returns an engine that tries a call once and undoes nothing.
func (q forgetful) once() *redisQueue {
	c := *q.redisQueue
	c.rdb = tryOnce{c.rdb}
	c.settler = &settler{q: &c, wake: make(chan struct{}, 1), delivered: map[keys][]string{}, kept: map[string]kept{}}
	return &c
}

// tryOnce makes every failure of a pipeline final.
type tryOnce struct{ redis.UniversalClient }

func (c tryOnce) Pipeline() redis.Pipeliner { return finalPipeline{c.UniversalClient.Pipeline()} }

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

// A call that Redis ran but whose answer never came is undone once Redis answers
// again, and a call that arrives after it was undone does nothing.
func TestFaultsOutcomeUnknownIsUndone(t *testing.T) {
	t.Parallel()
	q, proxy := throughProxy(t, faultFIN, 0, time.Minute)
	session := newSession()
	for _, image := range []string{"first", "second"} {
		if _, err := q.Push(t.Context(), session, []byte(image)); err != nil {
			t.Fatal(err)
		}
	}
	length := func() int {
		for _, s := range must(q.Stats(t.Context()))(t) {
			if s.ID == session {
				return s.Len
			}
		}
		return 0
	}

	proxy.oneIn.Store(1)
	if _, err := q.Pop(t.Context(), session); !errors.Is(err, errUnavailable) {
		t.Fatalf("pop without answers: got error %v, want errUnavailable", err)
	}
	if _, err := q.Push(t.Context(), session, []byte("unanswered")); !errors.Is(err, errUnavailable) {
		t.Fatalf("push without answers: got error %v, want errUnavailable", err)
	}
	proxy.heal()

	eventually(t, func() bool { return length() == 2 })
	for _, want := range []string{"first", "second"} {
		f := must(q.Pop(t.Context(), session))(t)
		if string(f.data) != want {
			t.Errorf("got %q, want %q", f.data, want)
		}
		q.Settle(f, true)
	}
	if _, err := q.Pop(t.Context(), session); !errors.Is(err, errEmpty) {
		t.Errorf("got error %v, want errEmpty: the refused push was delivered", err)
	}
}

// Every script may run again, and an undone call may arrive late.
func TestScriptsRepeat(t *testing.T) {
	t.Parallel()
	rdb := useRedis(t).client(t)
	f := redisFixture(t, rdb, time.Minute)
	q := f.engine.(*redisQueue)
	ctx, session := t.Context(), newSession()
	if err := q.loadScripts(ctx); err != nil {
		t.Fatal(err)
	}
	run := func(send func(p redis.Pipeliner) *redis.Cmd) any {
		p := rdb.Pipeline()
		reply := send(p)
		p.Exec(ctx)
		return must(reply.Result())(t)
	}
	push := func(c ticket) any {
		return run(func(p redis.Pipeliner) *redis.Cmd {
			_, reply := q.sendPush(ctx, p, session, c, []byte("bytes of "+c.id()), true)
			return reply
		})
	}
	pop := func(c ticket) any {
		return run(func(p redis.Pipeliner) *redis.Cmd {
			reply, _ := q.sendPop(ctx, p, session, c)
			return reply
		})
	}
	unpush := func(c ticket) any {
		return run(func(p redis.Pipeliner) *redis.Cmd { return q.sendUnpush(ctx, p, session, c) })
	}
	unpop := func(c ticket) any {
		return run(func(p redis.Pipeliner) *redis.Cmd { return q.sendUnpop(ctx, p, session, c) })
	}
	want := func(what string, got, want any) {
		t.Helper()
		if got != want {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	k := keysOf(session)
	a, b, c, late := q.callers.begin(), q.callers.begin(), q.callers.begin(), q.callers.begin()
	taken, void := q.callers.begin(), q.callers.begin()

	want("push a", push(a), "1 1 0 0 1 0")
	want("push a again", push(a), "1 1 0 0 1 0")
	want("push b", push(b), "2 2 0 0 0 20")
	want("length after repeats", f.length(t, session), 2)

	first := pop(taken)
	if !strings.HasPrefix(first.(string), "1 ") || !strings.HasSuffix(first.(string), " 1 0 "+a.id()) {
		t.Errorf("pop: got %v, want sequence 1, 1 left, id a", first)
	}
	want("pop again", pop(taken), first)
	want("bytes taken", rdb.Get(ctx, k.out(taken.id())).Val(), "bytes of "+a.id())
	want("push a after it was taken", push(a), "1 1 0 0 1 0")
	want("length after a late push", f.length(t, session), 1)

	want("unpop", unpop(taken), int64(1))
	want("unpop again", unpop(taken), int64(0))
	want("length after unpop", f.length(t, session), 2)
	want("pop late", pop(taken), "void")
	want("unpop before it ran", unpop(void), int64(0))
	want("pop later", pop(void), "void")

	want("unpush b", unpush(b), int64(1))
	want("unpush b again", unpush(b), int64(0))
	want("push b late", push(b), "void")
	want("unpush c before it ran", unpush(c), int64(0))
	want("push c late", push(c), "void")

	next := ticket{late.caller, late.call + 1}
	want("a later call of a caller", push(next), "3 2 0 0 0 40")
	want("an earlier push arrives", push(late), "void")
	want("an earlier pop arrives", pop(late), "void")
	want("an earlier push is undone", unpush(late), int64(0))
	want("an earlier pop is undone", unpop(late), int64(0))
	want("the later call again", push(next), "3 2 0 0 0 40")

	want("length at the end", f.length(t, session), 2)
	want("the image put back", string(f.take(t, session).data), "bytes of "+a.id())
	want("the later image", string(f.take(t, session).data), "bytes of "+next.id())
	f.wantEmpty(t, session)
}

// Scripts vanish under load: nobody notices.
func TestScriptFlush(t *testing.T) {
	t.Parallel()
	server := ownRedis(t)
	rdb := server.client(t)
	f := redisFixture(t, newRedisClient(&redis.Options{Addr: server.addr}), time.Minute)
	flushed := inBackground(t, 5*time.Millisecond, func() { rdb.ScriptFlush(context.Background()) })
	l := newLedger()
	l.run(t, f, load{sessions: []string{newSession(), newSession()}, producers: 4, consumers: 4, images: 150, refuse: 10, think: 2 * time.Millisecond})
	l.wantExactlyOnce(t)
	if times := flushed(); l.failures > 0 || times < 20 {
		t.Errorf("%d calls failed over %d flushes, want none over 20 or more", l.failures, times)
	}
}

// Redis is killed and starts again under load. With an append-only file that is a
// delay, or a refusal where the start takes longer than a call may: nothing is lost
// or doubled. Without, it takes along what it held, and what it knew of the calls
// in flight, as README says.
func TestRedisRestarts(t *testing.T) {
	t.Parallel()
	const restarts, producers, consumers = 5, 4, 8
	for _, c := range []struct {
		name    string
		args    []string
		durable bool
	}{
		{"append-only file", []string{"--appendonly", "yes", "--appendfsync", "always"}, true},
		{"memory only", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := ownRedis(t, c.args...)
			q := newRedisQueue(&redis.Options{Addr: server.addr}, time.Minute, slog.New(slog.DiscardHandler))
			t.Cleanup(q.Close)
			restarted := make(chan error, 1)
			go func() {
				var err error
				for range restarts {
					time.Sleep(200 * time.Millisecond)
					err = errors.Join(err, server.kill(), server.start())
				}
				restarted <- err
			}()
			l := newLedger()
			l.run(t, q, load{
				sessions: []string{newSession(), newSession()}, producers: producers, consumers: consumers,
				images: 300, think: 3 * time.Millisecond,
				heal: func() { steer(t, func() error { return <-restarted }) },
			})
			if c.durable {
				l.wantExactlyOnce(t)
				l.wantUnacknowledgedAtMostOnce(t)
			}
			lost, doubled := l.missing(), l.doubled()
			t.Logf("%d restarts: sent %d, acknowledged %d, delivered %d, lost %d, doubled %d, failed calls %d",
				restarts, len(l.pushed), l.acknowledged(), len(l.delivered), len(lost), len(doubled), l.failures)
			if inFlight := restarts * (producers + consumers); len(doubled) > inFlight || l.damaged > 0 {
				t.Errorf("doubled %d, want at most the %d in flight; damaged %d", len(doubled), inFlight, l.damaged)
			}
			if len(l.delivered) < len(l.pushed)/2 {
				t.Errorf("only %d of %d images came through", len(l.delivered), len(l.pushed))
			}
		})
	}
}

// Redis stops answering for a while: calls fail in time, and what they had asked
// for is undone when it goes on.
func TestRedisPauses(t *testing.T) {
	t.Parallel()
	server := ownRedis(t)
	q := newRedisQueue(&redis.Options{Addr: server.addr}, time.Minute, slog.New(slog.DiscardHandler))
	t.Cleanup(q.Close)
	l := newLedger()
	sessions := []string{newSession()}
	paused := make(chan error, 1)
	go func() {
		time.Sleep(100 * time.Millisecond)
		err := server.pause()
		time.Sleep(6 * time.Second)
		paused <- errors.Join(err, server.resume())
	}()
	l.run(t, q, load{sessions: sessions, producers: 4, consumers: 4, images: 100, think: 10 * time.Millisecond})
	if err := <-paused; err != nil {
		t.Fatal(err)
	}
	if l.failures == 0 {
		t.Error("no call failed: the pause was not felt")
	}
	l.wantExactlyOnce(t)
	l.wantUnacknowledgedAtMostOnce(t)
}

// Nothing of an image outlives EXPIRE in Redis, also when nobody calls. What
// stays is the sequence, and receipts for a while.
func TestRedisKeysExpire(t *testing.T) {
	t.Parallel()
	server := ownRedis(t)
	rdb := server.client(t)
	const ttl = 300 * time.Millisecond
	f := redisFixture(t, rdb, ttl)
	for range 20 {
		session := newSession()
		f.push(t, session, "left alone")
		f.push(t, session, "taken, and never settled")
		must(f.Pop(t.Context(), session))(t)
	}
	time.Sleep(ttl + 100*time.Millisecond)
	keys := must(rdb.Keys(t.Context(), "*").Result())(t)
	for _, key := range keys {
		_, kind, _ := strings.Cut(key, "}:")
		kind, _, _ = strings.Cut(kind, ":")
		left := must(rdb.PTTL(t.Context(), key).Result())(t)
		most := map[string]time.Duration{"meta": 2*ttl + sequenceMemory, "sessions": ttl * 5 / 4}[kind]
		if left > most || left < 0 {
			t.Errorf("%s lives %v longer, want at most %v", key, left, most)
		}
	}
}

// A full Redis takes no image and gives out those it has.
func TestRedisFull(t *testing.T) {
	t.Parallel()
	server := ownRedis(t, "--maxmemory", "12mb")
	f := redisFixture(t, newRedisClient(&redis.Options{Addr: server.addr}), time.Minute)
	session := newSession()
	wantFull(t, f, session, make([]byte, 1<<20))
}

func TestMemoryFull(t *testing.T) {
	t.Parallel()
	f := memoryFixture(t, time.Minute)
	wantFull(t, f, newSession(), make([]byte, 10<<20))
	session := newSession()
	pushes := 0
	for ; pushes < 1_000_000; pushes++ {
		if _, err := f.Push(t.Context(), session, []byte("x")); err != nil {
			break
		}
	}
	if want := (64 << 20) / leastCharge; pushes != want {
		t.Errorf("images of one byte: %d were stored, want %d", pushes, want)
	}
}

// wantFull pushes until the engine is full, then drains it.
func wantFull(t *testing.T, f *fixture, session string, image []byte) {
	t.Helper()
	var err error
	stored := 0
	for ; err == nil && stored < 100; stored++ {
		_, err = f.Push(t.Context(), session, append([]byte(nil), image...))
	}
	stored--
	if !errors.Is(err, errFull) || stored == 0 {
		t.Fatalf("after %d images: got error %v, want errFull", stored, err)
	}
	if n := f.length(t, session); n != stored {
		t.Errorf("the refused push left %d in the queue, want %d", n, stored)
	}
	for i := range stored {
		if got := f.take(t, session); got.sequence != int64(i+1) || len(got.data) != len(image) {
			t.Errorf("pop %d of a full engine: got sequence %d, %d bytes", i, got.sequence, len(got.data))
		}
	}
	f.wantEmpty(t, session)
	eventually(t, func() bool {
		_, err := f.Push(t.Context(), session, append([]byte(nil), image...))
		return err == nil
	})
	f.take(t, session)
}

// inBackground does something again and again until the returned function is
// called, which tells how often.
func inBackground(t *testing.T, every time.Duration, do func()) (stop func() int) {
	t.Helper()
	done, counted := make(chan struct{}), make(chan int)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-time.After(every):
				do()
			case <-done:
				counted <- n
				return
			}
		}
	}()
	return func() int {
		close(done)
		return <-counted
	}
}

func (l *ledger) wantUnacknowledgedAtMostOnce(t *testing.T) {
	t.Helper()
	for id, acknowledged := range l.pushed {
		if !acknowledged && l.delivered[id] > 1 {
			t.Errorf("%s was refused and then delivered %d times", id, l.delivered[id])
		}
	}
}
