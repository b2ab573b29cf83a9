package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// fixture is an engine under test, with what the tests need to steer it.
type fixture struct {
	engine
	ttl time.Duration
	// elapse lets time pass; stepBack sets the engine's clock back under the
	// images of a session.
	elapse   func(time.Duration)
	stepBack func(session string, d time.Duration)
}

// engines are the makers of every engine; the suite runs on each.
var engines = map[string]func(t *testing.T, ttl time.Duration) *fixture{
	"memory": memoryFixture,
	"redis": func(t *testing.T, ttl time.Duration) *fixture {
		return redisFixture(t, useRedis(t).client(t), ttl)
	},
	"cluster": func(t *testing.T, ttl time.Duration) *fixture {
		return redisFixture(t, clusterClient(t), ttl)
	},
}

func memoryFixture(t *testing.T, ttl time.Duration) *fixture {
	var clock atomic.Int64
	clock.Store(time.Now().UnixNano())
	q := newMemoryQueue(ttl, 64<<20, func() time.Time { return time.Unix(0, clock.Load()) })
	t.Cleanup(q.Close)
	return &fixture{
		engine: q, ttl: ttl,
		elapse:   func(d time.Duration) { clock.Add(int64(d)) },
		stepBack: func(_ string, d time.Duration) { clock.Add(-int64(d)) },
	}
}

func redisFixture(t *testing.T, rdb redis.UniversalClient, ttl time.Duration) *fixture {
	q := newRedisQueueOn(rdb, ttl, slog.New(slog.DiscardHandler))
	t.Cleanup(q.settler.close)
	return &fixture{
		engine: q, ttl: ttl,
		elapse:   time.Sleep,
		stepBack: func(session string, d time.Duration) { moveAhead(t, rdb, session, d) },
	}
}

// moveAhead leaves a session's keys as they are after the clock stepped back:
// everything in Redis is that much later than now.
func moveAhead(t *testing.T, rdb redis.UniversalClient, session string, d time.Duration) {
	t.Helper()
	ctx, k := t.Context(), keysOf(session)
	later := func(key string) {
		rest := must(rdb.PTTL(ctx, key).Result())(t)
		must(rdb.PExpire(ctx, key, rest+d).Result())(t)
	}
	for _, z := range must(rdb.ZRangeWithScores(ctx, k.queue(session), 0, -1).Result())(t) {
		member := z.Member.(string)
		must(rdb.ZIncrBy(ctx, k.queue(session), float64(d.Microseconds()), member).Result())(t)
		later(k.image(member[bytes.IndexByte([]byte(member), ':')+1:]))
	}
	later(k.queue(session))
	must(rdb.HIncrBy(ctx, k.meta(session), "newest", d.Microseconds()).Result())(t)
	must(rdb.ZIncrBy(ctx, k.sessions(), float64(d.Microseconds()), session).Result())(t)
}

// onEngines runs a test on every engine, each with a time to live that suits it.
func onEngines(t *testing.T, ttl time.Duration, test func(t *testing.T, f *fixture)) {
	for name, newFixture := range engines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newFixture(t, ttl))
		})
	}
}

// must returns a value, or ends the test with the error that came with it.
func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func (f *fixture) push(t testing.TB, session, image string) receipt {
	t.Helper()
	return must(f.Push(t.Context(), session, []byte(image)))(t)
}

// take pops an image and settles it as delivered.
func (f *fixture) take(t testing.TB, session string) frame {
	t.Helper()
	image := must(f.Pop(t.Context(), session))(t)
	f.Settle(image, true)
	return image
}

func (f *fixture) wantEmpty(t testing.TB, session string) {
	t.Helper()
	if image, err := f.Pop(t.Context(), session); !errors.Is(err, errEmpty) {
		t.Fatalf("pop: got %q, error %v, want an empty queue", image.data, err)
	}
}

// length returns a session's entry in the stats, 0 when it is not listed.
func (f *fixture) length(t testing.TB, session string) int {
	t.Helper()
	for _, s := range must(f.Stats(t.Context()))(t) {
		if s.ID == session {
			return s.Len
		}
	}
	return 0
}

func TestQueueKeepsOrder(t *testing.T) {
	t.Parallel()
	onEngines(t, time.Minute, func(t *testing.T, f *fixture) {
		session := newSession()
		images := []string{"one", "\x00\xff\r\n*3\r\n", "3", string(bytes.Repeat([]byte{7}, 10<<20))}
		for i, image := range images {
			got, want := f.push(t, session, image), receipt{sequence: int64(i + 1), queued: i + 1, opened: i == 0}
			if got != want {
				t.Errorf("push %d: got %+v, want %+v", i, got, want)
			}
		}
		var last time.Time
		for i, want := range images {
			got := f.take(t, session)
			if string(got.data) != want {
				t.Errorf("pop %d: got %d bytes, want the %d of image %d", i, len(got.data), len(want), i)
			}
			if got.sequence != int64(i+1) || got.left != len(images)-i-1 || got.size != len(want) {
				t.Errorf("pop %d: got sequence %d, left %d, size %d", i, got.sequence, got.left, got.size)
			}
			if got.arrival.Before(last) || time.Since(got.arrival).Abs() > time.Minute {
				t.Errorf("pop %d: arrived %v, the one before %v", i, got.arrival, last)
			}
			last = got.arrival
		}
		f.wantEmpty(t, session)
	})
}

func TestQueueKeepsSessionsApart(t *testing.T) {
	t.Parallel()
	onEngines(t, time.Minute, func(t *testing.T, f *fixture) {
		a, b := newSession(), newSession()
		f.push(t, a, "of a")
		if r := f.push(t, b, "of b"); r.sequence != 1 {
			t.Errorf("first push of b: got sequence %d, want 1", r.sequence)
		}
		if got := f.take(t, b); string(got.data) != "of b" {
			t.Errorf("pop of b: got %q", got.data)
		}
		f.wantEmpty(t, b)
		if got := f.take(t, a); string(got.data) != "of a" {
			t.Errorf("pop of a: got %q", got.data)
		}
	})
}

func TestQueueExpires(t *testing.T) {
	t.Parallel()
	const ttl = 600 * time.Millisecond
	onEngines(t, ttl, func(t *testing.T, f *fixture) {
		session := newSession()
		f.push(t, session, "old")
		f.elapse(ttl / 2)
		f.push(t, session, "young")
		if n := f.length(t, session); n != 2 {
			t.Errorf("before expiry: got length %d, want 2", n)
		}
		f.elapse(ttl / 2)
		if n := f.length(t, session); n != 1 {
			t.Errorf("after the first expiry: got length %d, want 1", n)
		}
		if got := f.take(t, session); string(got.data) != "young" || got.sequence != 2 {
			t.Errorf("got %q, sequence %d, want young with 2: the gap shows what expired", got.data, got.sequence)
		}
		f.push(t, session, "left alone")
		f.elapse(ttl)
		if n := f.length(t, session); n != 0 {
			t.Errorf("after the last expiry: got length %d, want none", n)
		}
		f.wantEmpty(t, session)
		if r := f.push(t, session, "new"); r.sequence != 4 || r.queued != 1 {
			t.Errorf("push after a silence: got %+v, want sequence 4, 1 queued", r)
		}
	})
}

func TestQueueGivesBackInPlace(t *testing.T) {
	t.Parallel()
	const ttl = 2 * time.Second
	onEngines(t, ttl, func(t *testing.T, f *fixture) {
		session := newSession()
		for i := range 4 {
			f.push(t, session, fmt.Sprint(i))
		}
		first, second := must(f.Pop(t.Context(), session))(t), must(f.Pop(t.Context(), session))(t)
		f.Settle(second, false)
		f.Settle(first, false)
		f.Settle(first, false) // again: harmless
		eventually(t, func() bool { return f.length(t, session) == 4 })
		for i := range 4 {
			if got := f.take(t, session); string(got.data) != fmt.Sprint(i) || got.sequence != int64(i+1) || got.left != 3-i {
				t.Errorf("pop %d: got %q, sequence %d, %d left", i, got.data, got.sequence, got.left)
			}
		}
		f.push(t, session, "too late")
		image := must(f.Pop(t.Context(), session))(t)
		f.elapse(ttl)
		f.Settle(image, false)
		time.Sleep(5 * gather)
		f.wantEmpty(t, session)
	})
}

func TestQueueLookTakesNothing(t *testing.T) {
	t.Parallel()
	const ttl = 2 * time.Second
	onEngines(t, ttl, func(t *testing.T, f *fixture) {
		session := newSession()
		var none int64 = -1
		look := func(what string, which pick, sequence int64, left int) {
			t.Helper()
			got, err := read(t.Context(), f, session, which)
			if sequence == none {
				if !errors.Is(err, errEmpty) {
					t.Errorf("%s: got image %d, error %v, want none", what, got.sequence, err)
				}
				return
			}
			if err != nil || got.sequence != sequence || got.left != left || string(got.data) != fmt.Sprint("image ", sequence) ||
				got.size != len(got.data) || time.Until(got.expiry) > ttl || time.Until(got.expiry) < 0 {
				t.Errorf("%s: got %+v, error %v, want image %d with %d left", what, got, err, sequence, left)
			}
		}
		newest, popped := pick{newest: true}, pick{newest: true, popped: true}
		after := func(n int64) pick { return pick{after: n, popped: true} }
		look("the newest of nothing", popped, none, 0)
		look("the oldest of nothing", pick{}, none, 0)
		for i := range 4 {
			f.push(t, session, fmt.Sprint("image ", i+1))
		}
		for range 2 {
			look("the oldest", pick{}, 1, 3)
			look("the newest", newest, 4, 0)
			look("after 0", after(0), 1, 3)
			look("after 2", after(2), 3, 1)
			look("after the newest", after(4), none, 0)
			look("ahead of the session", after(99), 1, 3)
		}
		f.take(t, session)
		look("after 0 when 1 is taken", after(0), 2, 2)
		f.take(t, session)
		f.take(t, session)
		last := must(f.Pop(t.Context(), session))(t)
		look("the oldest when all are taken", pick{}, none, 0)
		look("the newest when it is taken", newest, none, 0)
		look("the newest although it is taken", popped, 4, 0)
		look("after 1, the newest taken", after(1), 4, 0)
		look("after the newest, taken", after(4), none, 0)
		f.Settle(last, false)
		eventually(t, func() bool { return f.length(t, session) == 1 })
		look("the newest, back again", newest, 4, 0)
		f.take(t, session)
		look("the newest, delivered", popped, 4, 0)
		f.elapse(ttl / 4)
		look("the newest, too old", pick{newest: true, popped: true, within: ttl / 8}, none, 0)
		look("the newest, young enough", pick{newest: true, popped: true, within: ttl / 2}, 4, 0)
		f.push(t, session, "image 5")
		look("the newest of two", popped, 5, 0)
		f.take(t, session)
		f.elapse(ttl)
		look("the newest, expired", popped, none, 0)
		look("after 3, expired", after(3), none, 0)
	})
}

// Whoever watches is told of each image, wherever it was pushed, and of one that
// comes back.
func TestQueueWatch(t *testing.T) {
	t.Parallel()
	onEngines(t, time.Minute, func(t *testing.T, f *fixture) {
		session := newSession()
		told := make(chan frame, 100)
		stop := f.Watch(session, func(f frame) { told <- f })
		stopOther := f.Watch(newSession(), func(f frame) {
			if f.sequence != 0 {
				t.Errorf("told of %+v, which nobody pushed", f)
			}
		})
		defer stopOther()
		if _, isMemory := f.engine.(*memoryQueue); !isMemory {
			if first := <-told; first.sequence != 0 || first.session != session {
				t.Errorf("when the subscription stands: told of %+v, want of nothing particular", first)
			}
		}
		for i := range 3 {
			image := fmt.Sprint("image ", i+1)
			f.push(t, session, image)
			got := must(f.Read(t.Context(), <-told))(t)
			if got.session != session || got.sequence != int64(i+1) || string(got.data) != image || time.Until(got.expiry) > time.Minute {
				t.Errorf("push %d: told of %+v", i+1, got)
			}
		}
		image := must(f.Pop(t.Context(), session))(t)
		f.Settle(image, false)
		if got := <-told; got.sequence != 0 || got.session != session {
			t.Errorf("an image came back: told of %+v", got)
		}
		stop()
		stop2 := f.Watch(session, func(frame) {}) // again, by another
		defer stop2()
		f.push(t, session, "unheard")
		time.Sleep(50 * time.Millisecond)
		if len(told) > 0 {
			t.Errorf("told of %+v after the end", <-told)
		}
	})
}

func TestQueueStats(t *testing.T) {
	t.Parallel()
	onEngines(t, time.Minute, func(t *testing.T, f *fixture) {
		prefix := newSession()[:16]
		const count = 300
		for i := range count {
			session := fmt.Sprintf("%s-%d", prefix, i)
			for range 1 + i%3 {
				f.push(t, session, "x")
			}
			if i%3 == 0 {
				f.take(t, session) // its only image
			}
		}
		got := map[string]int{}
		for _, s := range must(f.Stats(t.Context()))(t) {
			got[s.ID] += s.Len
		}
		for i := range count {
			session, want := fmt.Sprintf("%s-%d", prefix, i), 1+i%3
			if i%3 == 0 {
				want = 0
			}
			if n, listed := got[session]; n != want || listed != (want > 0) {
				t.Errorf("session %d: got length %d, listed %v, want %d", i, n, listed, want)
			}
		}
	})
}

func TestQueueClockStepsBack(t *testing.T) {
	t.Parallel()
	const ttl = time.Second
	onEngines(t, ttl, func(t *testing.T, f *fixture) {
		session := newSession()
		f.push(t, session, "0")
		f.push(t, session, "1")
		f.stepBack(session, time.Hour)
		f.push(t, session, "2")
		f.stepBack(session, 300*time.Millisecond)
		f.push(t, session, "3")
		var last time.Time
		for i := range 4 {
			got := f.take(t, session)
			if string(got.data) != fmt.Sprint(i) || got.sequence != int64(i+1) || got.left != 3-i {
				t.Fatalf("pop %d: got %q, sequence %d, %d left", i, got.data, got.sequence, got.left)
			}
			if _, isMemory := f.engine.(*memoryQueue); !isMemory && i != 2 && !got.arrival.After(last) {
				t.Errorf("pop %d: arrived %v, the one before %v", i, got.arrival, last)
			}
			last = got.arrival
		}
	})
}

// A step back gives no image a longer life.
func TestQueueClockStepKeepsExpiry(t *testing.T) {
	t.Parallel()
	const ttl = 500 * time.Millisecond
	for name, newFixture := range engines {
		if name == "memory" {
			continue // its clock is monotonic: there is no step
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, ttl)
			pushed, popped := newSession(), newSession()
			for _, session := range []string{pushed, popped} {
				f.push(t, session, "before")
				f.stepBack(session, time.Hour)
			}
			f.push(t, pushed, "after")
			f.Settle(must(f.Pop(t.Context(), popped))(t), false)
			eventually(t, func() bool { return f.length(t, popped) == 1 })
			f.elapse(ttl + 50*time.Millisecond)
			f.wantEmpty(t, pushed)
			f.wantEmpty(t, popped)
		})
	}
}

func TestQueueDeliversOnce(t *testing.T) {
	t.Parallel()
	onEngines(t, time.Minute, func(t *testing.T, f *fixture) {
		l := newLedger()
		session := newSession()
		l.run(t, f, load{sessions: []string{session}, producers: 8, consumers: 16, images: 200, refuse: 10})
		l.wantExactlyOnce(t)
		if n := f.length(t, session); n != 0 {
			t.Errorf("left in the queue: %d", n)
		}
	})
}

// eventually waits for something that happens in the background.
func eventually(t testing.TB, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("did not come true within 10 s")
		}
	}
}
