package redisqueue

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// A call that Redis ran but whose reply never came is undone as soon as Redis answers again.
func TestUnknownOutcomeIsUndone(t *testing.T) {
	t.Parallel()
	h, proxy := throughProxy(t, redistest.FIN, 0)
	session := newSession()
	for _, image := range []string{"first", "second"} {
		h.PushImage(t, session, image)
	}

	proxy.CutOneIn(1)
	if _, err := h.Pop(t.Context(), session); !errors.Is(err, queue.ErrUnavailable) {
		t.Fatalf("pop without replies: got error %v, want ErrUnavailable", err)
	}
	if _, err := h.Push(t.Context(), session, []byte("unanswered")); !errors.Is(err, queue.ErrUnavailable) {
		t.Fatalf("push without replies: got error %v, want ErrUnavailable", err)
	}
	proxy.Heal()

	testkit.Eventually(t, func() bool { return h.Len(t, session) == 2 })
	for _, want := range []string{"first", "second"} {
		if got := h.Take(t, session); string(got.Data) != want {
			t.Errorf("got %q, want %q", got.Data, want)
		}
	}
	if _, err := h.Pop(t.Context(), session); !errors.Is(err, queue.ErrEmpty) {
		t.Errorf("got error %v, want ErrEmpty: the refused push was delivered", err)
	}
}

// scriptRunner runs the scripts one by one, in orders in which no queue would.
type scriptRunner struct {
	*harness
	session string
	rdb     *redis.Client
}

func (r scriptRunner) run(t *testing.T, send func(p redis.Pipeliner) *redis.Cmd) any {
	t.Helper()
	p := r.rdb.Pipeline()
	reply := send(p)
	p.Exec(t.Context())
	return testkit.Must(reply.Result())(t)
}

func (r scriptRunner) push(t *testing.T, id callID) any {
	t.Helper()
	return r.run(t, func(p redis.Pipeliner) *redis.Cmd {
		_, reply := r.q.sendPush(t.Context(), p, r.session, id, []byte("bytes of "+id.String()), true)
		return reply
	})
}

func (r scriptRunner) pop(t *testing.T, id callID) any {
	t.Helper()
	return r.run(t, func(p redis.Pipeliner) *redis.Cmd {
		reply, _ := r.q.sendPop(t.Context(), p, r.session, id, math.MaxInt)
		return reply
	})
}

func (r scriptRunner) withdraw(t *testing.T, id callID) any {
	t.Helper()
	return r.run(t, func(p redis.Pipeliner) *redis.Cmd { return r.q.sendWithdraw(t.Context(), p, r.session, id) })
}

func (r scriptRunner) requeue(t *testing.T, id callID) any {
	t.Helper()
	return r.run(t, func(p redis.Pipeliner) *redis.Cmd { return r.q.sendRequeue(t.Context(), p, r.session, id) })
}

// begin starts a call of the session.
func (r scriptRunner) begin() callID { return r.q.calls.begin(keysOf(r.session)) }

// newScriptRunner loads the scripts, and returns a scriptRunner for a new session.
func newScriptRunner(t *testing.T) scriptRunner {
	t.Helper()
	server := redistest.Use(t)
	r := scriptRunner{openOn(t, server), newSession(), server.Client(t)}
	if err := loadScripts(t.Context(), r.rdb); err != nil {
		t.Fatal(err)
	}
	return r
}

// A script that runs again has no further effect, and neither has a call that arrives after it was undone.
func TestScriptsRepeat(t *testing.T) {
	t.Parallel()
	s := newScriptRunner(t)
	want := func(what string, got, want any) {
		t.Helper()
		if got != want {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	begin := s.begin
	a, b, c, late := begin(), begin(), begin(), begin()
	taken, void := begin(), begin()

	want("push a", s.push(t, a), "1 1 0 0 1 0")
	want("push a again", s.push(t, a), "1 1 0 0 1 0")
	want("push b", s.push(t, b), "2 2 0 0 0 20")
	want("length after repeats", s.Len(t, s.session), 2)

	first := s.pop(t, taken)
	if want := regexp.MustCompile(`^1 \d{16} 1 \d+ 0 ` + a.String() + `$`); !want.MatchString(first.(string)) {
		t.Errorf("pop: got %v, want sequence 1, an arrival, 1 behind, an age, offset 0, id a", first)
	}
	want("pop again", s.pop(t, taken), first)
	delivered := s.rdb.Get(t.Context(), keysOf(s.session).delivered(taken.String())).Val()
	want("bytes taken", delivered, "bytes of "+a.String())
	want("push a after it was taken", s.push(t, a), "1 1 0 0 1 0")
	want("length after a late push", s.Len(t, s.session), 1)

	want("requeue", s.requeue(t, taken), int64(1))
	want("requeue again", s.requeue(t, taken), int64(0))
	want("length after requeue", s.Len(t, s.session), 2)
	want("pop late", s.pop(t, taken), "void")
	want("requeue before the pop ran", s.requeue(t, void), int64(0))
	want("pop later", s.pop(t, void), "void")

	want("withdraw b", s.withdraw(t, b), int64(1))
	want("withdraw b again", s.withdraw(t, b), int64(0))
	want("push b late", s.push(t, b), "void")
	want("withdraw c before it ran", s.withdraw(t, c), int64(0))
	want("push c late", s.push(t, c), "void")

	next := callID{late.client, late.call + 1}
	want("a later call of a client", s.push(t, next), "3 2 0 0 0 40")
	want("an earlier push arrives", s.push(t, late), "void")
	want("an earlier pop arrives", s.pop(t, late), "void")
	want("an earlier push is undone", s.withdraw(t, late), int64(0))
	want("an earlier pop is undone", s.requeue(t, late), int64(0))
	want("the later call again", s.push(t, next), "3 2 0 0 0 40")

	want("length at the end", s.Len(t, s.session), 2)
	want("the image put back", string(s.Take(t, s.session).Data), "bytes of "+a.String())
	want("the later image", string(s.Take(t, s.session).Data), "bytes of "+next.String())
	s.WantEmpty(t, s.session)
}

// An image that was withdrawn while a pop had it does not come back when the pop is undone.
func TestWithdrawnImageDoesNotComeBack(t *testing.T) {
	t.Parallel()
	s := newScriptRunner(t)
	push, pop := s.begin(), s.begin()
	s.push(t, push)
	s.pop(t, pop)
	if got := s.withdraw(t, push); got != int64(0) {
		t.Errorf("withdraw: got %v, want that a pop was faster", got)
	}
	if got := s.requeue(t, pop); got != int64(0) {
		t.Errorf("requeue: got %v, want nothing put back", got)
	}
	s.WantEmpty(t, s.session)
	left := s.rdb.Exists(t.Context(), keysOf(s.session).delivered(pop.String()), keysOf(s.session).image(push.String()))
	if n := testkit.Must(left.Result())(t); n != 0 {
		t.Errorf("the bytes are still there")
	}
}

// A push that runs again does not prolong the life of its image.
func TestRepeatedPushKeepsExpiry(t *testing.T) {
	t.Parallel()
	s := newScriptRunner(t)
	a := s.begin()
	key, reply := keysOf(s.session).image(a.String()), s.push(t, a)
	testkit.Must(s.rdb.PExpire(t.Context(), key, s.TTL/2).Result())(t) // half of its life is over
	if again := s.push(t, a); again != reply {
		t.Errorf("push again: got %v, want %v", again, reply)
	}
	if left := testkit.Must(s.rdb.PTTL(t.Context(), key).Result())(t); left > s.TTL/2 || left <= 0 {
		t.Errorf("the bytes live %s longer, want %s at most", left, s.TTL/2)
	}
}

// A push is refused, but an earlier attempt is still on its way: when that arrives, it stores nothing.
func TestRefusedPushIsUndone(t *testing.T) {
	t.Parallel()
	server, session := redistest.Own(t), newSession()
	rdb := server.Client(t)
	late := rdb.Pipeline()
	var held atomic.Bool
	h := openMeddled(t, server, func(ctx context.Context, cmds []redis.Cmder, send redis.ProcessPipelineHook) error {
		if !runs(cmds, pushScript) || !held.CompareAndSwap(false, true) {
			return send(ctx, cmds)
		}
		for _, cmd := range cmds {
			late.Do(ctx, cmd.Args()...)
		}
		testkit.Must(rdb.ConfigSet(ctx, "maxmemory", "1").Result())(t) // before the second attempt
		return unanswered(cmds, io.EOF)
	})
	if _, err := h.Push(t.Context(), session, []byte("refused")); !errors.Is(err, queue.ErrFull) {
		t.Fatalf("got error %v, want ErrFull", err)
	}
	testkit.Must(rdb.ConfigSet(t.Context(), "maxmemory", "0").Result())(t)
	h.q.finish()
	replies := testkit.Must(late.Exec(t.Context()))(t)
	if replies[len(replies)-1].(*redis.Cmd).Val() != "void" {
		t.Errorf("the attempt that was late: got %v, want void", replies[len(replies)-1])
	}
	h.WantEmpty(t, session)
}

// An image that is requeued as the server stops is back, also where Redis has lost the scripts.
func TestCloseUndoesWithoutScripts(t *testing.T) {
	t.Parallel()
	server, session := redistest.Own(t), newSession()
	h := openOn(t, server)
	h.PushImage(t, session, "image")
	d := h.PopImage(t, session)
	stopBackground(h.q)
	testkit.Must(server.Client(t).ScriptFlush(t.Context()).Result())(t)
	d.Requeue()
	h.q.finish()
	if got := h.Take(t, session); string(got.Data) != "image" || got.Sequence != 1 {
		t.Errorf("got %q, sequence %d, want the image", got.Data, got.Sequence)
	}
}

// A call takes the unlinking of delivered images along. If the call fails, the next one does it.
func TestFailedCallFreesLater(t *testing.T) {
	t.Parallel()
	server, session := redistest.Use(t), newSession()
	var down atomic.Bool
	h := openMeddled(t, server, func(ctx context.Context, cmds []redis.Cmder, send redis.ProcessPipelineHook) error {
		if down.Load() {
			return unanswered(cmds, redis.ErrClosed) // final: there is no other attempt
		}
		return send(ctx, cmds)
	})
	stopBackground(h.q)
	for range 3 {
		h.PushImage(t, session, "image")
	}
	// The third image stays: the bytes of the newest one are retained.
	first, second := h.PopImage(t, session), h.PopImage(t, session)
	k := keysOf(session)
	delivered := []string{k.delivered(callOf(first.Image).String()), k.delivered(callOf(second.Image).String())}
	first.Ack()
	second.Ack()
	down.Store(true)
	if _, err := h.Pop(t.Context(), session); !errors.Is(err, queue.ErrUnavailable) {
		t.Fatalf("pop without Redis: got error %v, want ErrUnavailable", err)
	}
	down.Store(false)
	h.PushImage(t, session, "next")
	if n := testkit.Must(server.Client(t).Exists(t.Context(), delivered...).Result())(t); n != 0 {
		t.Errorf("%d delivered images are left, want none", n)
	}
}

// behind returns how many calls of a session's bucket are to be undone.
func (h *harness) behind(session string) int {
	h.q.undoer.mu.Lock()
	defer h.q.undoer.mu.Unlock()
	return h.q.undoer.behind[keysOf(session)]
}

// A call whose connection was not opened to the end of the handshake ran nothing: there is nothing to undo, and nothing
// that a session would have to remember.
func TestHandshakeThatFailsRunsNothing(t *testing.T) {
	t.Parallel()
	hangUpAt := func(command string) func() *fakeRedis {
		return func() *fakeRedis { return &fakeRedis{bytesPerSecond: 1 << 30, hangUpAt: command} }
	}
	for name, fake := range map[string]func() *fakeRedis{
		"no connection":         func() *fakeRedis { return &fakeRedis{gone: true} },
		"closed at the HELLO":   hangUpAt("hello"),
		"closed at the AUTH":    hangUpAt("auth"),
		"closed at the SELECT":  hangUpAt("select"),
		"silent from the start": silentRedis,
	} {
		for _, callName := range []string{"Push", "Pop"} {
			t.Run(name+"/"+callName, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					h := openFake(t, fake())
					if err := calls[callName](t.Context(), h.q, "session"); !errors.Is(err, queue.ErrUnavailable) {
						t.Errorf("got error %v, want ErrUnavailable", err)
					}
					if n := h.behind("session"); n > 0 {
						t.Errorf("%d calls are to be undone, want none", n)
					}
				})
			})
		}
	}
}

// The same through a proxy whose Redis is away for a while: in the end the session remembers one call of each producer
// at most.
func TestProxyWithoutRedisLeavesNoRecords(t *testing.T) {
	t.Parallel()
	h, proxy := throughProxy(t, redistest.FIN, 0)
	const producers, rounds = 10, 3
	session, rdb := newSession(), redistest.Use(t).Client(t)
	proxy.Refuse()
	var all sync.WaitGroup
	for range producers {
		all.Go(func() {
			for range rounds {
				if _, err := h.Push(t.Context(), session, []byte("image")); !errors.Is(err, queue.ErrUnavailable) {
					t.Errorf("got error %v, want ErrUnavailable", err)
				}
			}
		})
	}
	all.Wait()
	if proxy.Refused() == 0 {
		t.Error("no connection was refused: the test shows nothing")
	}
	proxy.Heal()
	testkit.Eventually(t, func() bool {
		_, err := h.Push(t.Context(), session, []byte("image"))
		return err == nil
	})
	h.q.finish()
	if n := remembered(t, rdb, session); n > producers {
		t.Errorf("the session remembers %d calls, want %d at most", n, producers)
	}
}

// While Redis runs calls and does not answer, however long, the calls that have to be undone stay few, and so do the
// clients, each of which leaves a record in the session.
func TestUndoneCallsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const producers, minutes = 300, 2
		f := &fakeRedis{bytesPerSecond: 1 << 30}
		h := openFake(t, f)
		h.PushImage(t, "session", "image")
		f.mute.Store(true)
		var all sync.WaitGroup
		for range producers {
			all.Go(func() {
				for end := time.Now().Add(minutes * time.Minute); time.Now().Before(end); {
					h.Push(t.Context(), "session", []byte("image"))
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		all.Wait()
		most := producers + maxBehind + connections // those that were on their way when the bound was reached
		if n := h.q.calls.made; n <= producers || n > most {
			t.Errorf("got %d clients, want more than %d and at most %d", n, producers, most)
		}
		f.mute.Store(false)
		time.Sleep(time.Minute)
		if n := h.behind("session"); n > 0 {
			t.Errorf("%d calls are not undone", n)
		}
		h.PushImage(t, "session", "image")
	})
}

// A call that has to be undone is not given up while Redis refuses the connection: too many clients, a password that
// has just been changed.
func TestUndoOutlastsARefusedConnection(t *testing.T) {
	t.Parallel()
	server, session := redistest.Own(t), newSession()
	rdb := server.Client(t)
	acl := []any{"ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all"}
	logged := new(testkit.Log)
	log := slog.New(slog.NewTextHandler(logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h := openHarness(t, Options{Redis: asUser(t, server, "app", "secret", acl), Log: log})
	h.PushImage(t, session, "image")
	d := h.PopImage(t, session)
	testkit.Must(rdb.Do(t.Context(), "ACL", "SETUSER", "app", "resetpass", ">changed").Result())(t)
	testkit.Must(rdb.Do(t.Context(), "CLIENT", "KILL", "USER", "app").Result())(t)
	d.Requeue()
	logged.Await(t, "WRONGPASS")
	testkit.Must(rdb.Do(t.Context(), "ACL", "SETUSER", "app", ">secret").Result())(t)
	testkit.Eventually(t, func() bool { return rdb.ZCard(t.Context(), keysOf(session).queue(session)).Val() == 1 })
	if got := h.Take(t, session); string(got.Data) != "image" {
		t.Errorf("got %q, want the image", got.Data)
	}
}

// replyError is an error reply of Redis.
type replyError string

func (e replyError) Error() string { return string(e) }
func (replyError) RedisError()     {}

// A pop whose bytes do not arrive after its script replied is repeated, and gets the same image. If they never arrive,
// the image goes back.
func TestPopWhoseBytesBreakIsRepeated(t *testing.T) {
	t.Parallel()
	for name, cause := range map[string]error{
		"connection": io.ErrUnexpectedEOF, "reply": replyError("LOADING Redis is loading the dataset in memory"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var breaks atomic.Int64
			h := openMeddled(t, redistest.Use(t), func(
				ctx context.Context, cmds []redis.Cmder, send redis.ProcessPipelineHook,
			) error {
				err := send(ctx, cmds)
				if get := cmds[len(cmds)-1]; runs(cmds, popScript) && breaks.Add(-1) >= 0 {
					get.SetErr(cause)
				}
				return err
			})
			session := newSession()
			h.PushImage(t, session, "first")
			h.PushImage(t, session, "second")
			breaks.Store(2)
			if got := h.Take(t, session); string(got.Data) != "first" || got.Sequence != 1 || breaks.Load() >= 0 {
				t.Errorf("got %q, sequence %d, want the first image at the third attempt", got.Data, got.Sequence)
			}
			breaks.Store(1000)
			if _, err := h.Pop(t.Context(), session); !errors.Is(err, queue.ErrUnavailable) {
				t.Errorf("got error %v, want ErrUnavailable", err)
			}
			breaks.Store(0)
			testkit.Eventually(t, func() bool { return h.behind(session) == 0 })
			if got := h.Take(t, session); string(got.Data) != "second" || got.Sequence != 2 {
				t.Errorf("got %q, sequence %d, want the second image", got.Data, got.Sequence)
			}
			h.WantEmpty(t, session)
		})
	}
}
