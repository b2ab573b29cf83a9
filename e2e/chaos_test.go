package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/queuetest"
	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// receive reads the answer to a request that was written to a connection.
func receive(t *testing.T, conn net.Conn, method string) relaytest.Response {
	t.Helper()
	return relaytest.Received(t, testkit.Must(http.ReadResponse(bufio.NewReader(conn), nil))(t), method)
}

// SIGTERM with everything under way: uploads are finished, waiting consumers get No Data, streams end after a whole
// frame, nothing more is popped.
func TestStopsGracefully(t *testing.T) {
	t.Parallel()
	redisHost := "REDIS_HOST=" + redistest.Use(t).Addr
	p := startServer(t, redisHost)
	full, idle, sent := session.New(), session.New(), session.New()
	for range 3 {
		p.Do(t, "POST", "/image/"+full, strings.NewReader("image")).WantStatus(t, 200)
	}
	const each = 10
	var uploads, waits, streams, reused [each]net.Conn
	for i := range each {
		uploads[i], reused[i] = p.Dial(t), p.Dial(t)
		fmt.Fprintf(uploads[i], "POST /image/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nfirst", sent)
		waits[i], streams[i] = p.Hold(t, "/image/"+idle+"?wait=60"), p.Hold(t, "/stream/"+full)
		fmt.Fprint(reused[i], "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		receive(t, reused[i], "GET").WantStatus(t, 200)
	}
	eventually(t, func() bool {
		m := p.Scrape(t)
		return m.Value(t, "uploads") == each && m.Value(t, "waiting_readers") == each && m.Value(t, "viewers") == each
	})

	p.terminate(t)
	p.log.Await(t, "msg=stopping")
	for i := range each {
		fmt.Fprintf(reused[i], "GET /image/%s HTTP/1.1\r\nHost: x\r\n\r\n", full)
		fmt.Fprint(uploads[i], "+last")
	}
	for i := range each {
		receive(t, uploads[i], "POST").WantStatus(t, 200)
		if got := receive(t, waits[i], "GET").WantStatus(t, 200); !got.IsNoData() {
			t.Errorf("a consumer that waited got %q", got.Text)
		}
		body := string(testkit.Must(io.ReadAll(streams[i]))(t))
		if !strings.HasSuffix(body, "image\r\n"+relaytest.OpeningLine) {
			t.Errorf("a stream ends with %.60q", body[max(0, len(body)-60):])
		}
		if answer, err := io.ReadAll(reused[i]); err == nil && strings.Contains(string(answer), " 200 ") {
			t.Errorf("popped after SIGTERM: %.99q", answer)
		}
	}
	p.wantExit(t, 0)
	if strings.Contains(p.log.String(), "cut") {
		t.Error("requests in flight were cut: the server did not end by itself")
	}

	other := startServer(t, redisHost)
	if n := other.StatsLen(t, full); n != 3 {
		t.Errorf("%d of 3 images are left: something was popped", n)
	}
	if n := other.StatsLen(t, sent); n != each {
		t.Errorf("%d of %d uploads are there", n, each)
	}
}

// A server that has no file descriptor left waits for one, and loses nothing.
func TestStaysUpWithoutDescriptors(t *testing.T) {
	t.Parallel()
	limited := exec.Command("sh", "-c", `ulimit -n 40; exec "$0"`, binary)
	p := startProcess(t, limited, "LOG_LEVEL=debug").awaitListening(t)
	audit, id := queuetest.NewAudit(), session.New()
	for n := range 10 {
		audit.Push(t.Context(), p.target(), id, 0, n, 1000)
	}
	var hogs []net.Conn
	for range 100 { // the kernel accepts them, and the server cannot
		hogs = append(hogs, testkit.Must(net.Dial("tcp", p.Addr))(t))
	}
	p.log.Await(t, "too many open files")
	late := p.Dial(t)
	late.SetDeadline(time.Now().Add(300 * time.Millisecond))
	fmt.Fprint(late, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	if answer, err := http.ReadResponse(bufio.NewReader(late), nil); err == nil {
		t.Errorf("got %s: there were descriptors left, the test shows nothing", answer.Status)
	}
	for _, hog := range hogs {
		hog.Close()
	}
	for n := range 10 {
		audit.Push(t.Context(), p.target(), id, 1, n, 1000)
	}
	audit.Drain(t.Context(), p.target(), []string{id})
	audit.WantExactlyOnce(t)
	p.Get(t, "/healthz").WantStatus(t, 200)
}

// Redis stops for 10 s under load: calls are refused in time and undone.
func TestStaysUpWhenRedisIsSlow(t *testing.T) {
	t.Parallel()
	server := redistest.Own(t)
	p := startServer(t, "REDIS_HOST="+server.Addr)
	audit, resumed := queuetest.NewAudit(), make(chan error, 1)
	go func() {
		time.Sleep(200 * time.Millisecond)
		err := server.Pause()
		time.Sleep(10 * time.Second)
		resumed <- errors.Join(err, server.Resume())
	}()
	audit.Run(t, p.target(), queuetest.Load{
		Sessions: []string{session.New(), session.New()}, Producers: 4, Consumers: 4, Images: 60, Size: 5000,
		Pause: 10 * time.Millisecond, Heal: func() { testkit.NoError(t, <-resumed) },
	})
	if audit.Counts().Failures == 0 {
		t.Error("no call failed: the pause was not felt")
	}
	audit.WantExactlyOnce(t)
	audit.WantRefusedAtMostOnce(t)
}

// Redis is full again and again under load: pushes are refused, pops go on.
func TestStaysUpWhenRedisIsFull(t *testing.T) {
	t.Parallel()
	server := redistest.Own(t, "--maxmemory", "8mb")
	p := startServer(t, "REDIS_HOST="+server.Addr)
	audit, id := queuetest.NewAudit(), session.New()
	var all sync.WaitGroup
	for producer := range 4 {
		all.Go(func() {
			for n := range 30 {
				audit.Push(t.Context(), p.target(), id, producer, n, 200<<10)
			}
		})
	}
	all.Wait()
	refused := audit.Counts().Failures
	audit.Drain(t.Context(), p.target(), []string{id})
	audit.WantExactlyOnce(t)
	c := audit.Counts()
	if refused == 0 || c.Delivered < 5 || c.Failures > refused {
		t.Errorf("refused %d pushes, delivered %d, failed pops %d: want some, some and none",
			refused, c.Delivered, c.Failures-refused)
	}
	if ids := audit.RefusedAndDelivered(); len(ids) > 0 {
		t.Errorf("%q were refused and delivered", ids)
	}
}

// Redis is killed and restarted 20 times under load, with an append-only file.
func TestStaysUpOverRestarts(t *testing.T) {
	t.Parallel()
	server := redistest.Own(t, "--appendonly", "yes", "--appendfsync", "always")
	p := startServer(t, "REDIS_HOST="+server.Addr)
	const restarts = 20
	audit, restarted := queuetest.NewAudit(), make(chan error, 1)
	go func() {
		var err error
		for range restarts {
			time.Sleep(100 * time.Millisecond)
			err = errors.Join(err, server.Kill(), server.Start())
		}
		restarted <- err
	}()
	audit.Run(t, p.target(), queuetest.Load{
		Sessions: []string{session.New(), session.New()}, Producers: 4, Consumers: 4, Images: 300, Size: 2000,
		Pause: 5 * time.Millisecond, Heal: func() { testkit.NoError(t, <-restarted) },
	})
	audit.WantExactlyOnce(t)
	audit.WantRefusedAtMostOnce(t)
	p.Get(t, "/readyz").WantStatus(t, 200)
}

// The clock of Redis steps back under load, and then ahead over the life of what is queued.
func TestStaysUpWhenTheClockSteps(t *testing.T) {
	t.Parallel()
	server, clock := redistest.Clocked(t)
	p := startServer(t, "REDIS_HOST="+server.Addr, "EXPIRE=30")
	audit, stepped := queuetest.NewAudit(), make(chan error, 1)
	go func() {
		var err error
		for _, seconds := range []time.Duration{-3600, -3610, -100_000} {
			time.Sleep(200 * time.Millisecond)
			err = errors.Join(err, clock.TrySetOffset(seconds*time.Second))
		}
		stepped <- err
	}()
	audit.Run(t, p.target(), queuetest.Load{
		Sessions: []string{session.New(), session.New()}, Producers: 4, Consumers: 4, Images: 200, Size: 2000,
		Pause: 4 * time.Millisecond, Heal: func() { testkit.NoError(t, <-stepped) },
	})
	audit.WantExactlyOnce(t)
	if n := audit.Counts().Failures; n > 0 {
		t.Errorf("%d calls failed", n)
	}

	id := session.New()
	p.Do(t, "POST", "/image/"+id, strings.NewReader("before the step")).WantStatus(t, 200)
	clock.SetOffset(t, -50_000*time.Second)
	if got := p.Get(t, "/image/"+id).WantStatus(t, 200); !got.IsNoData() {
		t.Errorf("got %q, by the clock 50,000 seconds old", got.Text)
	}
	p.Do(t, "POST", "/image/"+id, strings.NewReader("after the step")).WantStatus(t, 200)
	got := p.Get(t, "/image/"+id).WantStatus(t, 200)
	if got.Text != "after the step" || got.Header.Get("X-Sequence") == "" {
		t.Errorf("got %q", got.Text)
	}
}
