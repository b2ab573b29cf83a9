package main

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// A consumer that hangs up while it waits costs no image, also one that is pushed
// right then: the server has not looked at the connection yet.
func TestWaitHangsUpRightBefore(t *testing.T) {
	t.Parallel()
	onLiveSites(t, func(t *testing.T, s *liveSite) {
		lost := 0
		for i := range 200 {
			session := newSession()
			conn := s.dial(t)
			fmt.Fprintf(conn, "GET /image/%s?wait=10 HTTP/1.1\r\nHost: x\r\n\r\n", session)
			eventually(t, func() bool { return s.waiting(session) == 1 })
			conn.Close()
			image := fmt.Sprint("image ", i)
			s.do(t, "POST", "/image/"+session, strings.NewReader(image)).wantStatus(t, 200)
			if got := s.get(t, "/image/"+session+"?wait=0.5"); got.body != image {
				lost++
			}
		}
		if lost > 0 {
			t.Errorf("%d of 200 images were lost", lost)
		}
	})
}

// A reader that is ahead of a session that began again, and waits, gets the first
// image that comes.
func TestAfterAheadWaits(t *testing.T) {
	t.Parallel()
	onLiveSites(t, func(t *testing.T, s *liveSite) {
		session := newSession()
		answer := s.later(t, "/image/"+session+"?after=500&wait=3")
		eventually(t, func() bool { return s.watching(session) == 1 })
		time.Sleep(50 * time.Millisecond)
		begun := time.Now()
		s.push(t, session, "image")
		got, at := answered(t, answer)
		if got.body != "image" || at.Sub(begun) > time.Second {
			t.Errorf("got No Data %v after %s, want the image at once", got.isNoData(), at.Sub(begun))
		}
	})
}

// The newest image stays for those who look without taking, also when an older
// one came back and was taken after it.
func TestSnapshotAfterOlderCameBack(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		session := newSession()
		s.push(t, session, "older")
		s.push(t, session, "newest")
		held := must(s.Pop(t.Context(), session))(t)
		s.take(t, session)
		s.Settle(held, false)
		eventually(t, func() bool { return s.length(t, session) == 1 })
		if got := s.get(t, "/snapshot/"+session); got.body != "newest" {
			t.Errorf("before it is taken again: got %.20q", got.body)
		}
		s.take(t, session)
		time.Sleep(10 * gather)
		if got := s.get(t, "/snapshot/"+session); got.body != "newest" {
			t.Errorf("after: got %.20q, want the newest image", got.body)
		}
	})
}

// A session that Redis forgot and that begins again is shown at once.
func TestStreamBeginsAgain(t *testing.T) {
	t.Parallel()
	r := ownRedis(t)
	rdb := r.client(t)
	f := redisFixture(t, newRedisClient(&redis.Options{Addr: r.addr}), time.Minute)
	s := newLiveSite(t, testConfig(t), f)
	session := newSession()
	v := s.watch(t, "/stream/"+session)
	s.push(t, session, "image 1")
	v.want(t, "image 1")
	must(rdb.FlushAll(t.Context()).Result())(t) // the test's own Redis
	begun := time.Now()
	s.push(t, session, "again 1")
	if took := v.want(t, "again 1").at.Sub(begun); took > 500*time.Millisecond {
		t.Errorf("shown %s after it came", took)
	}
}

// The first frame comes once, not once more when the subscription stands.
func TestStreamFirstFrameOnce(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		session := newSession()
		s.push(t, session, "image")
		v := s.watch(t, "/stream/"+session)
		first, second := must(v.next())(t), must(v.next())(t)
		if gap := second.at.Sub(first.at); gap < 500*time.Millisecond {
			t.Errorf("shown again after %s, want about 1 s", gap)
		}
	})
}

// A snapshot is there from the first image on, while images come and are taken.
func TestSnapshotDoesNotBlink(t *testing.T) {
	t.Parallel()
	onLiveSites(t, func(t *testing.T, s *liveSite) {
		session, image := newSession(), strings.Repeat("\x00image\xff", 60<<10)
		s.push(t, session, image)
		var all sync.WaitGroup
		var over atomic.Bool
		all.Go(func() {
			for !over.Load() {
				<-s.later(t, "/image/"+session+"?wait=0.2")
			}
		})
		var asked, empty atomic.Int64
		for range 4 {
			all.Go(func() {
				for !over.Load() {
					r := <-s.later(t, "/snapshot/"+session)
					asked.Add(1)
					if r.err != nil || r.StatusCode != 200 || r.Header.Get("X-No-Data") != "" {
						empty.Add(1)
					}
				}
			})
		}
		for range 100 {
			s.push(t, session, image)
			time.Sleep(10 * time.Millisecond)
		}
		over.Store(true)
		all.Wait()
		t.Logf("%d snapshots, %d of them empty", asked.Load(), empty.Load())
		if empty.Load() > 0 {
			t.Errorf("%d of %d snapshots were empty", empty.Load(), asked.Load())
		}
	})
}
