package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// meddler stands between an engine and Redis: it is handed each pipeline, to send
// it, or to lose it or its answers.
type meddler func(ctx context.Context, cmds []redis.Cmder, send redis.ProcessPipelineHook) error

func (meddler) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (meddler) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (m meddler) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { return m(ctx, cmds, next) }
}

// meddledFixture returns an engine with a meddler, the scripts loaded.
func meddledFixture(t *testing.T, server *redisServer, ttl time.Duration, m meddler) (*fixture, *redisQueue) {
	t.Helper()
	rdb := server.client(t)
	rdb.AddHook(m)
	f := redisFixture(t, rdb, ttl)
	q := f.engine.(*redisQueue)
	if err := q.loadScripts(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f, q
}

// runs tells whether a pipeline runs a script.
func runs(cmds []redis.Cmder, script *redis.Script) bool {
	return slices.ContainsFunc(cmds, func(cmd redis.Cmder) bool {
		return len(cmd.Args()) > 1 && cmd.Args()[1] == script.Hash()
	})
}

// unanswered leaves every command of a pipeline with an error.
func unanswered(cmds []redis.Cmder, err error) error {
	for _, cmd := range cmds {
		cmd.SetErr(err)
	}
	return err
}

// holdSettler ends the settler's own work: what is to be settled from then on is left
// to calls and to close.
func holdSettler(q *redisQueue) {
	q.settler.cancel()
	<-q.settler.done
}

// crowd has a session remember a thousand callers long gone, and its newest image as
// one of a quarter of a life ago: then the next push looks for such callers.
func crowd(t *testing.T, rdb *redis.Client, session string, ttl time.Duration) {
	t.Helper()
	gone := time.Now().Add(-ttl - sequenceMemory - time.Minute).Unix()
	var fields []any
	for i := range 1000 {
		fields = append(fields, fmt.Sprint("GONE", i), fmt.Sprintf("7 %d void", gone))
	}
	meta := keysOf(session).meta(session)
	must(rdb.HSet(t.Context(), meta, fields...).Result())(t)
	must(rdb.HIncrBy(t.Context(), meta, "newest", -(ttl / 4).Microseconds()).Result())(t)
}

// Callers long gone are forgotten, and not the one that is to give its image back.
func TestForgetsNoPopInFlight(t *testing.T) {
	t.Parallel()
	const ttl = time.Minute
	rdb := useRedis(t).client(t)
	f, session := redisFixture(t, rdb, ttl), newSession()
	f.push(t, session, "first")
	image := must(f.Pop(t.Context(), session))(t)
	crowd(t, rdb, session, ttl)
	if r := f.push(t, session, "second"); r.sequence != 2 {
		t.Errorf("the push that forgets: got sequence %d, want 2", r.sequence)
	}
	if n := must(rdb.HLen(t.Context(), keysOf(session).meta(session)).Result())(t); n > 100 {
		t.Errorf("the session remembers %d things, want those long gone forgotten", n)
	}
	f.Settle(image, false)
	eventually(t, func() bool { return f.length(t, session) == 2 })
	for i, want := range []string{"first", "second"} {
		if got := f.take(t, session); string(got.data) != want || got.sequence != int64(i+1) {
			t.Errorf("got %q, sequence %d, want %q, %d", got.data, got.sequence, want, i+1)
		}
	}
}

// A push that ran and is repeated, since its answer got lost, is known again although
// in between others were forgotten and its image was taken.
func TestForgetsNoPushInFlight(t *testing.T) {
	t.Parallel()
	const ttl = time.Minute
	server, session := useRedis(t), newSession()
	rdb := server.client(t)
	other := redisFixture(t, rdb, ttl)
	var lose atomic.Bool
	f, _ := meddledFixture(t, server, ttl, func(ctx context.Context, cmds []redis.Cmder, send redis.ProcessPipelineHook) error {
		err := send(ctx, cmds)
		if !runs(cmds, pushScript) || !lose.CompareAndSwap(true, false) {
			return err
		}
		crowd(t, rdb, session, ttl)
		other.push(t, session, "of another server")
		for _, want := range []string{"once", "of another server"} {
			if got := other.take(t, session); string(got.data) != want {
				t.Errorf("before the repeat: took %q, want %q", got.data, want)
			}
		}
		return unanswered(cmds, io.EOF)
	})
	lose.Store(true)
	if got := f.push(t, session, "once"); got.sequence != 1 || got.queued != 1 {
		t.Errorf("got %+v, want sequence 1, 1 queued: what the first try answered", got)
	}
	f.wantEmpty(t, session)
}

// A full Redis keeps nothing of an image that it refuses, also when the bytes were
// the last that it had room for.
func TestRefusedPushLeavesNothing(t *testing.T) {
	t.Parallel()
	server, session := ownRedis(t), newSession()
	rdb := server.client(t)
	var fill atomic.Bool
	f, _ := meddledFixture(t, server, time.Minute, func(ctx context.Context, cmds []redis.Cmder, send redis.ProcessPipelineHook) error {
		if !runs(cmds, pushScript) || !fill.CompareAndSwap(true, false) {
			return send(ctx, cmds)
		}
		script := len(cmds) - 1
		err := send(ctx, cmds[:script])
		must(rdb.ConfigSet(ctx, "maxmemory", "1").Result())(t)
		return errors.Join(err, send(ctx, cmds[script:]))
	})
	f.push(t, session, "stored")
	fill.Store(true)
	if _, err := f.Push(t.Context(), session, []byte("refused")); !errors.Is(err, errFull) {
		t.Fatalf("got error %v, want errFull", err)
	}
	must(rdb.ConfigSet(t.Context(), "maxmemory", "0").Result())(t)
	if keys := must(rdb.Keys(t.Context(), "is:*:image:*").Result())(t); len(keys) != 1 {
		t.Errorf("Redis keeps the images %q, want only the one stored", keys)
	}
	if got := f.take(t, session); string(got.data) != "stored" {
		t.Errorf("got %q, want the image stored", got.data)
	}
	f.wantEmpty(t, session)
	if r := f.push(t, session, "next"); r.sequence != 2 {
		t.Errorf("the next push: got sequence %d, want 2: no gap", r.sequence)
	}
}

// A push is refused, but an earlier try is still on its way: when that arrives, it
// stores nothing.
func TestRefusedPushIsUndone(t *testing.T) {
	t.Parallel()
	server, session := ownRedis(t), newSession()
	rdb := server.client(t)
	late := rdb.Pipeline()
	var held atomic.Bool
	f, q := meddledFixture(t, server, time.Minute, func(ctx context.Context, cmds []redis.Cmder, send redis.ProcessPipelineHook) error {
		if !runs(cmds, pushScript) || !held.CompareAndSwap(false, true) {
			return send(ctx, cmds)
		}
		for _, cmd := range cmds {
			late.Do(ctx, cmd.Args()...)
		}
		must(rdb.ConfigSet(ctx, "maxmemory", "1").Result())(t) // before the second try
		return unanswered(cmds, io.EOF)
	})
	if _, err := f.Push(t.Context(), session, []byte("refused")); !errors.Is(err, errFull) {
		t.Fatalf("got error %v, want errFull", err)
	}
	must(rdb.ConfigSet(t.Context(), "maxmemory", "0").Result())(t)
	q.settler.close()
	if replies := must(late.Exec(t.Context()))(t); replies[len(replies)-1].(*redis.Cmd).Val() != "void" {
		t.Errorf("the try that was late: got %v, want void", replies[len(replies)-1])
	}
	f.wantEmpty(t, session)
}

// An image that is given back as the server stops is back, also where Redis has
// lost the scripts.
func TestCloseUndoesWithoutScripts(t *testing.T) {
	t.Parallel()
	server, session := ownRedis(t), newSession()
	rdb := server.client(t)
	f := redisFixture(t, rdb, time.Minute)
	q := f.engine.(*redisQueue)
	f.push(t, session, "image")
	image := must(f.Pop(t.Context(), session))(t)
	holdSettler(q)
	must(rdb.ScriptFlush(t.Context()).Result())(t)
	f.Settle(image, false)
	q.settler.close()
	if got := f.take(t, session); string(got.data) != "image" || got.sequence != 1 {
		t.Errorf("got %q, sequence %d, want the image", got.data, got.sequence)
	}
}

// A call that takes the freeing of delivered images along, and fails, leaves it to
// the next one.
func TestFailedCallFreesLater(t *testing.T) {
	t.Parallel()
	server, session := useRedis(t), newSession()
	rdb := server.client(t)
	var down atomic.Bool
	f, q := meddledFixture(t, server, time.Minute, func(ctx context.Context, cmds []redis.Cmder, send redis.ProcessPipelineHook) error {
		if down.Load() {
			return unanswered(cmds, redis.ErrClosed) // final: it is not tried again
		}
		return send(ctx, cmds)
	})
	holdSettler(q)
	for range 3 {
		f.push(t, session, "image")
	}
	// The third stays: the bytes of the newest image are kept.
	first, second := must(f.Pop(t.Context(), session))(t), must(f.Pop(t.Context(), session))(t)
	f.Settle(first, true)
	f.Settle(second, true)
	down.Store(true)
	if _, err := f.Pop(t.Context(), session); !errors.Is(err, errUnavailable) {
		t.Fatalf("pop without Redis: got error %v, want errUnavailable", err)
	}
	down.Store(false)
	f.push(t, session, "next")
	k := keysOf(session)
	if n := must(rdb.Exists(t.Context(), k.out(first.ticket.id()), k.out(second.ticket.id())).Result())(t); n != 0 {
		t.Errorf("%d delivered images are left, want none", n)
	}
}

// Images come back to their places although the clock stepped back while they were
// away, in whichever order they come.
func TestClockStepsBackInFlight(t *testing.T) {
	t.Parallel()
	for name, back := range map[string][]int{"in order": {0, 1}, "in reverse": {1, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := useRedis(t).client(t)
			f, session := redisFixture(t, rdb, time.Minute), newSession()
			for i := range 3 {
				f.push(t, session, fmt.Sprint(i+1))
			}
			taken := []frame{must(f.Pop(t.Context(), session))(t), must(f.Pop(t.Context(), session))(t)}
			f.stepBack(session, time.Hour)
			for _, image := range taken {
				moveTakenAhead(t, rdb, image, time.Hour)
			}
			f.push(t, session, "4") // moves the queue back
			for n, i := range back {
				f.Settle(taken[i], false)
				eventually(t, func() bool { return f.length(t, session) == 3+n })
			}
			for i := range 4 {
				if got := f.take(t, session); got.sequence != int64(i+1) || string(got.data) != fmt.Sprint(i+1) {
					t.Errorf("pop %d: got %q, sequence %d", i, got.data, got.sequence)
				}
			}
			f.wantEmpty(t, session)
		})
	}
}

// moveTakenAhead does for an image in flight what moveAhead does for those queued.
func moveTakenAhead(t *testing.T, rdb *redis.Client, image frame, d time.Duration) {
	t.Helper()
	ctx, k := t.Context(), keysOf(image.session)
	out, meta, caller := k.out(image.ticket.id()), k.meta(image.session), image.ticket.caller.name
	must(rdb.PExpire(ctx, out, must(rdb.PTTL(ctx, out).Result())(t)+d).Result())(t)
	answer := strings.Fields(must(rdb.HGet(ctx, meta, caller).Result())(t)) // "<call> <second> <sequence> <arrival> ..."
	answer[3] = fmt.Sprint(image.arrival.Add(d).UnixMicro())
	must(rdb.HSet(ctx, meta, caller, strings.Join(answer, " ")).Result())(t)
}

// A user of Redis who may not rename gets an error, and the images stay.
func TestPopWithoutRename(t *testing.T) {
	t.Parallel()
	server, session := ownRedis(t), newSession()
	rdb := server.client(t)
	must(rdb.Do(t.Context(), "ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all", "-rename").Result())(t)
	q := newRedisQueue(&redis.Options{Addr: server.addr, Username: "app", Password: "secret"}, time.Minute, slog.New(slog.DiscardHandler))
	t.Cleanup(q.Close)
	f := redisFixture(t, rdb, time.Minute)
	for i := range 3 {
		must(q.Push(t.Context(), session, []byte(fmt.Sprint(i))))(t)
	}
	for range 2 {
		if image, err := q.Pop(t.Context(), session); !errors.Is(err, errUnavailable) {
			t.Errorf("got %q, error %v, want errUnavailable", image.data, err)
		}
	}
	for i := range 3 {
		if got := f.take(t, session); string(got.data) != fmt.Sprint(i) || got.sequence != int64(i+1) {
			t.Errorf("pop %d by one who may: got %q, sequence %d", i, got.data, got.sequence)
		}
	}
}
