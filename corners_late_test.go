package main

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// A request that is refused, or answered without its body, has its answer also when
// the body stands still.
func TestCornerRefusalIsAnswered(t *testing.T) {
	t.Parallel()
	s := hastySite(t)
	for request, status := range map[string]int{
		"POST /nope": 404, "POST /image/a.b": 400, "DELETE /image/a": 405, "POST /imageForm/a": 415, "OPTIONS /image/a": 204,
	} {
		t.Run(request, func(t *testing.T) {
			t.Parallel()
			conn := s.dial(t)
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf", request)
			method, _, _ := strings.Cut(request, " ")
			r := must(http.ReadResponse(bufio.NewReader(conn), nil))(t)
			received(t, r, method).wantStatus(t, status)
		})
	}
}

// A push may take as long as it moves, and then has the time of a call for its answer.
func TestCornerThinPush(t *testing.T) {
	t.Parallel()
	q := newRedisQueue(&redis.Options{Addr: thinLine(t, useRedis(t).addr, 4_000_000)}, time.Minute, slog.New(slog.DiscardHandler))
	t.Cleanup(q.Close)
	begun := time.Now()
	if _, err := q.Push(t.Context(), newSession(), make([]byte, 10<<20)); err != nil {
		t.Errorf("push of 10 MiB at 4 MB/s: %v after %s", err, time.Since(begun))
	}
}

// An image is given back after the clock stepped, before a push notices the step.
func TestCornerStepThenBackThenPush(t *testing.T) {
	t.Parallel()
	rdb := useRedis(t).client(t)
	f, session := redisFixture(t, rdb, time.Minute), newSession()
	for i := range 3 {
		f.push(t, session, fmt.Sprint(i+1))
	}
	image := must(f.Pop(t.Context(), session))(t)
	f.stepBack(session, time.Hour)
	moveTakenAhead(t, rdb, image, time.Hour)
	f.Settle(image, false)
	eventually(t, func() bool { return f.length(t, session) == 3 })
	f.push(t, session, "4")
	for i := range 4 {
		if got := f.take(t, session); got.sequence != int64(i+1) {
			t.Errorf("pop %d: got sequence %d", i, got.sequence)
		}
	}
}

// Two images that are given back after a step keep their order, also as text: 10, 9.
func TestCornerStepTies(t *testing.T) {
	t.Parallel()
	for name, back := range map[string][]int{"in order": {0, 1}, "in reverse": {1, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := useRedis(t).client(t)
			f, session := redisFixture(t, rdb, time.Minute), newSession()
			for i := range 12 {
				f.push(t, session, fmt.Sprint(i+1))
			}
			for range 8 {
				f.take(t, session)
			}
			taken := []frame{must(f.Pop(t.Context(), session))(t), must(f.Pop(t.Context(), session))(t)}
			f.stepBack(session, time.Hour)
			for _, image := range taken {
				moveTakenAhead(t, rdb, image, time.Hour)
			}
			f.push(t, session, "13")
			for n, i := range back {
				f.Settle(taken[i], false)
				eventually(t, func() bool { return f.length(t, session) == 4+n })
			}
			for i := range 5 {
				if got := f.take(t, session); got.sequence != int64(i+9) {
					t.Errorf("pop %d: got sequence %d, want %d", i, got.sequence, i+9)
				}
			}
		})
	}
}

// A session whose only image is in flight is not forgotten.
func TestCornerForgottenInFlight(t *testing.T) {
	t.Parallel()
	for _, again := range []bool{false, true} {
		t.Run(fmt.Sprint("pushed again ", again), func(t *testing.T) {
			q := newMemoryQueue(time.Minute, 64<<10, time.Now)
			t.Cleanup(q.Close)
			f, session := &fixture{engine: q}, newSession()
			f.push(t, session, strings.Repeat("x", 5000))
			image := must(f.Pop(t.Context(), session))(t)
			for range 1000 {
				other := newSession()
				f.push(t, other, "x")
				f.take(t, other)
			}
			if !again {
				f.Settle(image, false)
				if n := f.length(t, session); n != 1 {
					t.Errorf("given back: got length %d, want 1: it is lost", n)
				}
				return
			}
			if r := f.push(t, session, "next"); r.sequence != 2 {
				t.Errorf("got sequence %d, want 2: two images in flight have one name", r.sequence)
			}
			next := must(f.Pop(t.Context(), session))(t) // replaces the first in q.flying
			f.Settle(image, false)
			if got, err := f.Pop(t.Context(), session); err == nil && string(got.data) == "next" {
				t.Error("next was given out twice: the first one's settlement put it back")
			} else if err == nil {
				f.Settle(got, true)
			}
			f.Settle(image, true)
			f.Settle(next, true)
			var kept int64
			for e := q.kept.Front(); e != nil; e = e.Next() {
				kept += charge(e.Value.(*frame).size)
			}
			if q.held != kept {
				t.Errorf("all is settled: held %d, kept %d: the difference stays for ever", q.held, kept)
			}
		})
	}
}

// Settling again changes nothing, also after another consumer took the image.
func TestCornerSettleAgainAfterAnother(t *testing.T) {
	t.Parallel()
	onEngines(t, time.Minute, func(t *testing.T, f *fixture) {
		session := newSession()
		f.push(t, session, "image")
		first := must(f.Pop(t.Context(), session))(t)
		f.Settle(first, false)
		eventually(t, func() bool { return f.length(t, session) == 1 })
		must(f.Pop(t.Context(), session))(t) // another has it
		f.Settle(first, false)
		time.Sleep(5 * gather)
		f.wantEmpty(t, session)
	})
}

// A user of Redis who may not publish still pushes: viewers are late, no more.
func TestCornerPushWithoutChannels(t *testing.T) {
	t.Parallel()
	server, session := ownRedis(t), newSession()
	rdb := server.client(t)
	must(rdb.Do(t.Context(), "ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all").Result())(t)
	q := newRedisQueue(&redis.Options{Addr: server.addr, Username: "app", Password: "secret"}, time.Minute, slog.New(slog.DiscardHandler))
	t.Cleanup(q.Close)
	_, err := q.Push(t.Context(), session, []byte("x"))
	time.Sleep(5 * gather)
	if n := rdb.ZCard(t.Context(), keysOf(session).queue(session)).Val(); err != nil && n != 0 {
		t.Errorf("refused, and stored: %d in the queue: %v", n, err)
	}
}

// After the answer to a GET with an unfinished body the connection closes soon.
func TestCornerGetCloses(t *testing.T) {
	t.Parallel()
	s := newSite(t, testConfig(t), memoryFixture(t, time.Minute))
	conn := s.dial(t)
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprint(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n")
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("answered and still open: %v", err)
	}
}
