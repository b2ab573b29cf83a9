package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// A body that a GET has no use for is not waited for: the answer comes at once, not
// when its image is past its expiry, and the connection ends.
func TestUnreadBodyHoldsUpNothing(t *testing.T) {
	t.Parallel()
	const one, chunked = "Content-Length: 1", "Transfer-Encoding: chunked"
	onSites(t, func(t *testing.T, s *site) {
		session := newSession()
		for _, row := range []struct {
			request, headers, rest string
			status                 int
			body                   string
		}{
			{"HEAD /image/" + session, one, "x", 200, ""},
			{"GET /image/" + session, one, "x", 200, "image"},
			{"GET /image/" + session, chunked, "0\r\n\r\n", 200, "image"},
			{"GET /image/" + session + "/x", chunked, "0\r\n\r\n", 404, ""},
			{"GET /healthz", one, "x", 200, "ok\n"},
		} {
			s.push(t, session, "image")
			conn := s.dial(t)
			conn.SetDeadline(time.Now().Add(s.ttl + time.Second))
			fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n", row.request, row.headers)
			begun := time.Now()
			late := time.AfterFunc(s.ttl+100*time.Millisecond, func() { io.WriteString(conn, row.rest) })
			answers := bufio.NewReader(conn)
			method, _, _ := strings.Cut(row.request, " ")
			r := must(http.ReadResponse(answers, &http.Request{Method: method}))(t)
			got := received(t, r, method)
			if took := time.Since(begun); took > s.ttl {
				t.Errorf("%s, %s: answered after %s, past EXPIRE, with %q", row.request, row.headers, took, got.body)
			}
			if got.StatusCode != row.status || row.body != "" && got.body != row.body || !got.Close {
				t.Errorf("%s, %s: got status %d, %q, close %v, want %d, %q, and no more of the connection",
					row.request, row.headers, got.StatusCode, got.body, got.Close, row.status, row.body)
			}
			if late.Stop() {
				io.WriteString(conn, row.rest+"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
			}
			if more, err := io.ReadAll(answers); len(more) > 0 || err != nil {
				t.Errorf("%s, %s: after the answer came %q, error %v, want the end", row.request, row.headers, more, err)
			}
		}
	}, "EXPIRE=1")
}

// hasty has the limits of the server's connections pass fifty times as fast.
type hasty struct{ http.ResponseWriter }

func (w hasty) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w hasty) SetReadDeadline(at time.Time) error {
	return http.NewResponseController(w.ResponseWriter).SetReadDeadline(sooner(at))
}

func (w hasty) SetWriteDeadline(at time.Time) error {
	return http.NewResponseController(w.ResponseWriter).SetWriteDeadline(sooner(at))
}

func sooner(at time.Time) time.Time {
	if at.IsZero() {
		return at // no limit
	}
	return time.Now().Add(time.Until(at) / 50)
}

func hastySite(t *testing.T) *site {
	t.Helper()
	f := memoryFixture(t, time.Minute)
	routes := newServer(testConfig(t), f, slog.New(slog.DiscardHandler)).routes()
	listener := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		routes.ServeHTTP(hasty{w}, r)
	}))
	t.Cleanup(listener.Close)
	return &site{f, listener.Listener.Addr().String()}
}

// What is refused without a look at its body does not wait for it without end.
func TestUnreadBodyIsGivenUp(t *testing.T) {
	t.Parallel()
	s := hastySite(t)
	for _, request := range []string{"POST /nope", "POST /image/a.b", "DELETE /image/a", "POST /imageForm/a", "OPTIONS /image/a"} {
		t.Run(request, func(t *testing.T) {
			t.Parallel()
			conn := s.dial(t)
			conn.SetDeadline(time.Now().Add(5 * time.Second))
			fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf", request)
			must(io.ReadAll(conn))(t)
		})
	}
}

// Who asks and does not read the answers is cut off, whatever the answers are.
func TestUnreadAnswersAreCut(t *testing.T) {
	t.Parallel()
	s := hastySite(t)
	for _, request := range []string{"GET /nope", "OPTIONS /stats", "GET /healthz"} {
		t.Run(request, func(t *testing.T) {
			t.Parallel()
			conn := s.dial(t)
			many := bytes.Repeat([]byte(request+" HTTP/1.1\r\nHost: x\r\n\r\n"), 1000)
			var err error
			for err == nil {
				conn.SetDeadline(time.Now().Add(15 * time.Second)) // what is not cut stands still
				_, err = conn.Write(many)
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the connection is still open")
			}
		})
	}
}

// A tester that is redirected says so. Its POST could become a GET, which takes an
// image.
func TestTesterFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			target := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				t.Errorf("followed to %s %s", r.Method, r.URL.Path)
			}))
			t.Cleanup(target.Close)
			front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, target.URL+r.URL.Path, status)
			}))
			t.Cleanup(front.Close)
			p := start(t, "tester", "TEST_URL="+front.URL, "TEST_SESSION=abc", "TEST_INTERVAL=0.02", "NODATA_HEIGHT=16")
			tried := func(log string) bool {
				return strings.Contains(log, "trying again") || strings.Contains(log, "image=1")
			}
			eventually(t, func() bool { return tried(p.log.String()) })
			if log := p.log.String(); !strings.Contains(log, fmt.Sprint("answered ", status)) {
				t.Errorf("got log %s, want the %d in it", log, status)
			}
		})
	}
}

// thinLine passes connections on at a rate in bytes a second, each way.
func thinLine(t *testing.T, target string, rate int) (addr string) {
	t.Helper()
	small := func(_, _ string, socket syscall.RawConn) error { // or the sockets would take in most of it at once
		return socket.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 32<<10) })
	}
	listen, dial := net.ListenConfig{Control: small}, net.Dialer{Control: small}
	ln := must(listen.Listen(t.Context(), "tcp", "127.0.0.1:0"))(t)
	t.Cleanup(func() { ln.Close() })
	pass := func(to, from net.Conn) {
		defer to.Close()
		defer from.Close()
		buffer := make([]byte, 32<<10)
		for due := time.Now(); ; {
			n, err := from.Read(buffer)
			if err != nil {
				return
			}
			if now := time.Now(); now.Sub(due) > 100*time.Millisecond { // it was idle, not late
				due = now
			}
			due = due.Add(time.Duration(n) * time.Second / time.Duration(rate))
			time.Sleep(time.Until(due))
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
	}
	go func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			server, err := dial.Dial("tcp", target)
			if err != nil {
				client.Close()
				continue
			}
			go pass(server, client)
			go pass(client, server)
		}
	}()
	return ln.Addr().String()
}

// An image that is large for the line to Redis passes as long as it moves, though a
// try takes longer than it may where nothing moves.
func TestThinLineToRedis(t *testing.T) {
	t.Parallel()
	server := useRedis(t)
	wide := redisFixture(t, server.client(t), time.Minute)
	image := string(labelled("large", 10<<20))
	thin := func(t *testing.T, rate int) *redisQueue {
		q := newRedisQueue(&redis.Options{Addr: thinLine(t, server.addr, rate)}, time.Minute, slog.New(slog.DiscardHandler))
		t.Cleanup(q.Close)
		return q
	}
	want := func(t *testing.T, got frame, begun time.Time) {
		t.Helper()
		if took := time.Since(begun); string(got.data) != image || took < attemptTimeout {
			t.Errorf("got %d bytes after %s, want the %d of the image, and longer than %s", len(got.data), took, len(image), attemptTimeout)
		}
	}
	t.Run("push", func(t *testing.T) {
		t.Parallel()
		session, q := newSession(), thin(t, 5_500_000) // 1.9 s: the answer is to come within callTimeout
		begun := time.Now()
		must(q.Push(t.Context(), session, []byte(image)))(t)
		want(t, wide.take(t, session), begun)
	})
	t.Run("pop", func(t *testing.T) {
		t.Parallel()
		session, q := newSession(), thin(t, 4_000_000) // 2.6 s: longer than callTimeout
		wide.push(t, session, image)
		begun := time.Now()
		got := must(q.Pop(t.Context(), session))(t)
		q.Settle(got, true)
		want(t, got, begun)
	})
}

// What was popped counts against the limit until it is settled, and is settled once.
func TestMemoryCountsWhatIsInFlight(t *testing.T) {
	t.Parallel()
	const size = 1 << 10
	q := newMemoryQueue(time.Minute, 4*size, time.Now)
	t.Cleanup(q.Close)
	f, session := &fixture{engine: q}, newSession()
	push := func(what string, want error) {
		t.Helper()
		if _, err := f.Push(t.Context(), session, make([]byte, size)); !errors.Is(err, want) {
			t.Errorf("push, %s: got error %v, want %v", what, err, want)
		}
	}
	for range 4 {
		push("with room", nil)
	}
	var flying []frame
	for range 4 {
		flying = append(flying, must(f.Pop(t.Context(), session))(t))
	}
	push("all in flight", errFull)
	f.Settle(flying[0], true)
	f.Settle(flying[0], true)
	f.Settle(flying[0], false)
	push("one delivered", nil)
	push("full again", errFull)
	for range 2 {
		for _, image := range flying[1:] {
			f.Settle(image, false)
		}
	}
	push("three given back", errFull)
	for i := range 4 {
		if got := f.take(t, session); got.sequence != int64(i+2) || got.left != 3-i {
			t.Errorf("pop %d: got sequence %d, %d left, want %d, %d", i, got.sequence, got.left, i+2, 3-i)
		}
	}
	f.wantEmpty(t, session)
	for range 4 {
		push("all delivered", nil)
	}
}

// Sessions without images are remembered only as far as the limit goes, the latest
// longest.
func TestMemoryForgetsIdleSessions(t *testing.T) {
	t.Parallel()
	const limit = 64 << 10
	q := newMemoryQueue(time.Minute, limit, time.Now)
	t.Cleanup(q.Close)
	f, waiting, latest := &fixture{engine: q}, newSession(), ""
	f.push(t, waiting, "image")
	for range 1000 {
		latest = newSession()
		f.push(t, latest, "x")
		f.take(t, latest)
	}
	q.mu.Lock()
	if n := len(q.sessions); n > limit/leastCharge+1 {
		t.Errorf("remembers %d sessions, want at most %d", n, limit/leastCharge+1)
	}
	q.mu.Unlock()
	if r := f.push(t, latest, "x"); r.sequence != 2 {
		t.Errorf("the latest session: got sequence %d, want 2", r.sequence)
	}
	if got := f.take(t, waiting); string(got.data) != "image" {
		t.Errorf("the session with an image: got %q", got.data)
	}
}
