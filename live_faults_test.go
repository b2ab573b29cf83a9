package main

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// calls returns how often Redis ran a command.
func calls(t testing.TB, rdb *redis.Client, command string) int {
	t.Helper()
	form := regexp.MustCompile(`cmdstat_` + command + `:calls=(\d+)`)
	return sum(form, must(rdb.Info(t.Context(), "commandstats").Result())(t))
}

// A server reads an image once for all its viewers, and never without one.
func TestOneReadForAllViewers(t *testing.T) {
	t.Parallel()
	r := ownRedis(t)
	rdb := r.client(t)
	p := startServer(t, "", "REDIS_HOST="+r.addr)
	const viewers, images = 20, 50
	session := newSession()
	var followers []*follower
	for range viewers {
		followers = append(followers, p.follow(t, session, images-1))
	}
	p.pushEvery(t, 20*time.Millisecond, session, images, 20<<10)
	for _, f := range followers {
		f.want(t, images/2)
	}
	if n := calls(t, rdb, "get"); n > images+5 || n < images/2 {
		t.Errorf("%d viewers, %d images: %d were read from Redis", viewers, images, n)
	}
	eventually(t, func() bool { return len(rdb.PubSubChannels(t.Context(), "*").Val()) == 0 })
	before := calls(t, rdb, "get")
	p.pushEvery(t, time.Millisecond, session, images, 20<<10)
	time.Sleep(50 * time.Millisecond)
	if n := calls(t, rdb, "get") - before; n > 0 {
		t.Errorf("nobody watches: %d of %d images were read from Redis", n, images)
	}
}

// Those who wait and watch share what connections there are to Redis; and each
// who waits gets an image of its own.
func TestManyWaitOnFewConnections(t *testing.T) {
	t.Parallel()
	const sessions, waiting, viewers = 20, 50, 10 // of each
	r := ownRedis(t)
	rdb := r.client(t)
	s := newLiveSite(t, testConfig(t, "MAX_VIEWERS=2000"), redisFixture(t, newRedisClient(&redis.Options{Addr: r.addr}), time.Minute))
	var answers []<-chan reply
	var names []string
	for range sessions {
		session := newSession()
		names = append(names, session)
		for range waiting {
			answers = append(answers, s.later(t, "/image/"+session+"?wait=30"))
		}
		for range viewers {
			s.watch(t, "/stream/"+session)
		}
	}
	for _, session := range names {
		eventually(t, func() bool { return s.waiting(session) == waiting && s.watching(session) == viewers })
	}
	for range 5 {
		time.Sleep(100 * time.Millisecond)
		info := must(rdb.Info(t.Context(), "clients").Result())(t)
		if n := sum(regexp.MustCompile(`connected_clients:(\d+)`), info); n >= 80 {
			t.Fatalf("%d consumers and %d viewers hold %d connections to Redis", sessions*waiting, sessions*viewers, n)
		}
	}
	for i := range waiting {
		for _, session := range names {
			s.push(t, session, fmt.Sprint(session, i))
		}
	}
	seen := map[string]bool{}
	for _, answer := range answers {
		got, _ := answered(t, answer)
		seen[got.body] = true
	}
	if len(seen) != sessions*waiting {
		t.Errorf("%d consumers got %d different images", sessions*waiting, len(seen))
	}
}

// deafQueue loses every wake-up.
type deafQueue struct{ engine }

func (deafQueue) Watch(string, func(frame)) (stop func()) { return func() {} }

// A wake-up that gets lost is a delay.
func TestWakeUpsLost(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"memory", "redis"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := *engines[name](t, time.Minute)
			f.engine = deafQueue{f.engine}
			wantLate(t, newSite(t, testConfig(t), &f), newSession())
		})
	}
	t.Run("connection", func(t *testing.T) {
		t.Parallel()
		r := ownRedis(t)
		rdb := r.client(t)
		p := startServer(t, "", "REDIS_HOST="+r.addr)
		f := redisFixture(t, newRedisClient(&redis.Options{Addr: r.addr}), time.Minute)
		for range 2 {
			wantLate(t, &site{f, p.addr}, newSession(), func() {
				eventually(t, func() bool { return len(rdb.PubSubChannels(t.Context(), "*").Val()) > 0 })
				if n := must(rdb.Do(t.Context(), "CLIENT", "KILL", "TYPE", "pubsub").Int())(t); n == 0 {
					t.Error("there was no subscription to cut")
				}
			})
		}
	})
}

// wantLate checks that a viewer and everyone who waits see an image after all.
func wantLate(t *testing.T, s *site, session string, cut ...func()) {
	t.Helper()
	v := s.watch(t, "/stream/"+session)
	var answers []<-chan reply
	for _, path := range []string{"/image/%s?after=0&wait=10", "/snapshot/%s?wait=10&max_age=60", "/image/%s?wait=10"} {
		answers = append(answers, s.later(t, fmt.Sprintf(path, session)))
	}
	time.Sleep(100 * time.Millisecond) // they wait
	for _, do := range cut {
		do()
	}
	begun := time.Now()
	s.push(t, session, "image")
	took := delays{v.want(t, "image").at.Sub(begun)}
	for _, answer := range answers {
		got, at := answered(t, answer)
		if took = append(took, at.Sub(begun)); got.body != "image" {
			t.Errorf("got %.99q", got.body)
		}
	}
	took.want(t, "push to those who missed the wake-up", 2*time.Second, 2500*time.Millisecond)
}

// A Redis that forgot a session begins it again at 1: that is later all the same.
func TestSessionBeginsAgain(t *testing.T) {
	t.Parallel()
	rdb := useRedis(t).client(t)
	s := newLiveSite(t, testConfig(t), redisFixture(t, rdb, time.Minute))
	session := newSession()
	v := s.watch(t, "/stream/"+session)
	for i := range 3 {
		s.push(t, session, fmt.Sprint("image ", i+1))
		v.want(t, fmt.Sprint("image ", i+1))
	}
	k := keysOf(session)
	must(rdb.Del(t.Context(), k.queue(session), k.meta(session)).Result())(t)
	begun := time.Now()
	s.push(t, session, "again")
	delays{v.want(t, "again").at.Sub(begun)}.want(t, "push to viewer after a restart", atOnce, noPoll)
	if got := s.get(t, "/image/"+session+"?after=3"); got.body != "again" || got.Header.Get("X-Sequence") != "1" {
		t.Errorf("a reader that was ahead: got %.99q, X-Sequence %s", got.body, got.Header.Get("X-Sequence"))
	}
}

// Without its Redis a server refuses new viewers in time. A stream goes on: it
// shows what it has, then No Data, and new images when Redis is back.
func TestStreamWithoutRedis(t *testing.T) {
	t.Parallel()
	r := ownRedis(t)
	p := startServer(t, "", "REDIS_HOST="+r.addr, "EXPIRE=5")
	session := newSession()
	v := p.watch(t, "/stream/"+session)
	p.do(t, "POST", "/image/"+session, strings.NewReader("image")).wantStatus(t, 200)
	v.want(t, "image")
	begun := time.Now()
	steer(t, r.kill)

	var refused sync.WaitGroup
	for _, path := range []string{
		"/stream/%s", "/snapshot/%s", "/snapshot/%s?wait=9", "/snapshot/%s?wait=9&max_age=1", "/image/%s?wait=9",
		"/image/%s?after=0", "/image/%s?after=0&wait=9", "/stream/%s?action=snapshot&nodata=404",
	} {
		refused.Go(func() {
			got := p.get(t, fmt.Sprintf(path, newSession()))
			if got.StatusCode != 503 || got.Header.Get("Retry-After") != "1" || time.Since(begun) > 3500*time.Millisecond {
				t.Errorf("%s: got status %d after %s, want 503 within 3 s", path, got.StatusCode, time.Since(begun))
			}
		})
	}
	repeats := 0
	s := must(v.next())(t)
	for ; s.image == "image"; s = must(v.next())(t) {
		repeats++
		if s.at.Sub(begun) > 5*time.Second+200*time.Millisecond {
			t.Errorf("shown %s after it came, although its life is over", s.at.Sub(begun))
		}
	}
	if !s.isNoData() || repeats == 0 {
		t.Errorf("got %d repeats and then %.20q, want some and then No Data", repeats, s.image)
	}
	t.Logf("%d repeats, No Data after %s", repeats, time.Since(begun))
	refused.Wait()

	steer(t, r.start)
	begun = time.Now()
	p.do(t, "POST", "/image/"+session, strings.NewReader("another")).wantStatus(t, 200)
	took := v.want(t, "another").at.Sub(begun)
	t.Logf("a new image was shown after %s", took)
	if took > 4*time.Second {
		t.Errorf("a new image was shown after %s", took)
	}
}
