package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// process is the program in a process of its own: this test binary once more.
type process struct {
	site
	cmd  *exec.Cmd
	log  *logBuffer
	exit chan error
}

// spawn starts a server on a free port. A limit of file descriptors is set before.
func spawn(t *testing.T, descriptors int, vars ...string) *process {
	t.Helper()
	port := freePort()
	cmd := exec.Command("sh", "-c", `[ "$1" = 0 ] || ulimit -n "$1"; exec "$0"`, must(os.Executable())(t), fmt.Sprint(descriptors))
	cmd.Dir = t.TempDir() // no .env
	cmd.Env = append(vars, "BENCH_SERVER=ours", "BENCH_SIDE_PORT=0", "NODATA_HEIGHT=90", "PORT="+port)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p := &process{site{addr: "127.0.0.1:" + port}, cmd, new(logBuffer), make(chan error, 1)}
	cmd.Stderr = p.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.exit <- cmd.Wait() }()
	t.Cleanup(func() { cmd.Process.Kill() })
	p.log.await(t, "msg=listening")
	return p
}

func (p *process) terminate(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// wantExit checks that the process ends with status 0 in time.
func (p *process) wantExit(t testing.TB, within time.Duration) {
	t.Helper()
	select {
	case err := <-p.exit:
		if err != nil {
			t.Errorf("ended with %v: %s", err, p.log)
		}
	case <-time.After(within):
		t.Fatalf("did not end within %s: %s", within, p.log)
	}
}

func (p *process) relay() relay { return relay{in: p.addr, out: p.addr} }

// SIGTERM with everything under way: uploads are finished, those who wait get No
// Data, streams end behind a frame, nothing more is popped.
func TestStopsGracefully(t *testing.T) {
	t.Parallel()
	server := useRedis(t)
	p := spawn(t, 0, "REDIS_HOST="+server.addr)
	full, idle, sent := newSession(), newSession(), newSession()
	for range 3 {
		p.do(t, "POST", "/image/"+full, sized("image")).wantStatus(t, 200)
	}
	const each = 10
	var uploads, waits, streams, kept [each]net.Conn
	for i := range each {
		uploads[i], waits[i], streams[i], kept[i] = p.dial(t), p.dial(t), p.dial(t), p.dial(t)
		fmt.Fprintf(uploads[i], "POST /image/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nfirst", sent)
		fmt.Fprintf(waits[i], "GET /image/%s?wait=60 HTTP/1.1\r\nHost: x\r\n\r\n", idle)
		fmt.Fprintf(streams[i], "GET /stream/%s HTTP/1.1\r\nHost: x\r\n\r\n", full)
		fmt.Fprint(kept[i], "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		received(t, must(http.ReadResponse(bufio.NewReader(kept[i]), nil))(t), "GET").wantStatus(t, 200)
	}
	time.Sleep(200 * time.Millisecond) // nothing outside shows that all are being served

	p.terminate(t)
	p.log.await(t, "msg=stopping")
	for i := range each {
		fmt.Fprintf(kept[i], "GET /image/%s HTTP/1.1\r\nHost: x\r\n\r\n", full)
		fmt.Fprint(uploads[i], "+last")
	}
	for i := range each {
		received(t, must(http.ReadResponse(bufio.NewReader(uploads[i]), nil))(t), "POST").wantStatus(t, 200)
		if got := received(t, must(http.ReadResponse(bufio.NewReader(waits[i]), nil))(t), "GET").wantStatus(t, 200); !got.isNoData() {
			t.Errorf("a consumer that waited got %q", got.body)
		}
		body := must(io.ReadAll(streams[i]))(t)
		if !strings.HasSuffix(string(body), "image\r\n"+delimiter) {
			t.Errorf("a stream ends with %.60q", body[max(0, len(body)-60):])
		}
		if answer, err := io.ReadAll(kept[i]); err == nil && strings.Contains(string(answer), " 200 ") {
			t.Errorf("popped after SIGTERM: %.99q", answer)
		}
	}
	p.wantExit(t, graceLimit)

	q := newRedisQueue(&redis.Options{Addr: server.addr}, 2*time.Minute, slog.New(slog.DiscardHandler))
	t.Cleanup(q.Close)
	f := &fixture{engine: q}
	if n := f.length(t, full); n != 3 {
		t.Errorf("%d of 3 images are left: something was popped", n)
	}
	if n := f.length(t, sent); n != each {
		t.Errorf("%d of %d uploads are there", n, each)
	}
	t.Logf("sent %d while it stopped, stored %d; popped after SIGTERM 0 of 3", each, f.length(t, sent))
}

// Without a file descriptor left the server waits for one, and loses nothing.
func TestStaysUpWithoutDescriptors(t *testing.T) {
	t.Parallel()
	p := spawn(t, 40, "REDIS_HOST=")
	l, session := newLedger(), newSession()
	r := p.relay()
	for n := range 10 {
		l.push(t.Context(), r, session, 0, n, 1000)
	}
	var hogs []net.Conn
	for range 100 { // the kernel accepts them, the server can not
		hogs = append(hogs, must(net.Dial("tcp", p.addr))(t))
	}
	late := p.dial(t)
	late.SetDeadline(time.Now().Add(300 * time.Millisecond))
	fmt.Fprint(late, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	if answer, err := http.ReadResponse(bufio.NewReader(late), nil); err == nil {
		t.Errorf("got %s: there were descriptors left, the test shows nothing", answer.Status)
	}
	for _, hog := range hogs {
		hog.Close()
	}
	for n := range 10 {
		l.push(t.Context(), r, session, 1, n, 1000)
	}
	l.drain(t.Context(), t, r, []string{session})
	l.wantExactlyOnce(t)
	p.get(t, "/healthz").wantStatus(t, 200)
}

// Redis stops for 10 s under load: calls are refused in time and undone.
func TestStaysUpWhenRedisIsSlow(t *testing.T) {
	t.Parallel()
	server := ownRedis(t)
	p := spawn(t, 0, "REDIS_HOST="+server.addr)
	l, sessions := newLedger(), []string{newSession(), newSession()}
	resumed := make(chan error, 1)
	go func() {
		time.Sleep(200 * time.Millisecond)
		err := server.pause()
		time.Sleep(10 * time.Second)
		resumed <- errors.Join(err, server.resume())
	}()
	l.run(t, p.relay(), load{
		sessions: sessions, producers: 4, consumers: 4, images: 60, size: 5000, think: 10 * time.Millisecond,
		heal: func() { steer(t, func() error { return <-resumed }) },
	})
	if l.failures == 0 {
		t.Error("no call failed: the pause was not felt")
	}
	l.wantExactlyOnce(t)
	l.wantUnacknowledgedAtMostOnce(t)
}

// Redis is full again and again under load: pushes are refused, pops go on.
func TestStaysUpWhenRedisIsFull(t *testing.T) {
	t.Parallel()
	server := ownRedis(t, "--maxmemory", "8mb")
	p := spawn(t, 0, "REDIS_HOST="+server.addr)
	l, session := newLedger(), newSession()
	var all sync.WaitGroup
	for producer := range 4 {
		all.Go(func() {
			for n := range 30 {
				l.push(t.Context(), p.relay(), session, producer, n, 200<<10)
			}
		})
	}
	all.Wait()
	refused := l.failures
	l.drain(t.Context(), t, p.relay(), []string{session})
	l.wantExactlyOnce(t)
	if refused == 0 || len(l.delivered) < 5 || l.failures > refused {
		t.Errorf("refused %d pushes, delivered %d, failed pops %d: want some, some and none", refused, len(l.delivered), l.failures-refused)
	}
	for id := range l.delivered {
		if !l.pushed[id] {
			t.Errorf("%s was refused and delivered", id)
		}
	}
}

// Redis is killed and restarted 20 times under load, with an append-only file.
func TestStaysUpOverRestarts(t *testing.T) {
	t.Parallel()
	server := ownRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	p := spawn(t, 0, "REDIS_HOST="+server.addr)
	l, sessions := newLedger(), []string{newSession(), newSession()}
	const restarts = 20
	restarted := make(chan error, 1)
	go func() {
		var err error
		for range restarts {
			time.Sleep(100 * time.Millisecond)
			err = errors.Join(err, server.kill(), server.start())
		}
		restarted <- err
	}()
	l.run(t, p.relay(), load{
		sessions: sessions, producers: 4, consumers: 4, images: 300, size: 2000, think: 5 * time.Millisecond,
		heal: func() { steer(t, func() error { return <-restarted }) },
	})
	l.wantExactlyOnce(t)
	l.wantUnacknowledgedAtMostOnce(t)
	p.get(t, "/readyz").wantStatus(t, 200)
}

// clock moves the clock of a Redis by whole seconds.
type clock string

func (c clock) set(t testing.TB, seconds int64) {
	t.Helper()
	file := must(os.OpenFile(string(c), os.O_WRONLY|os.O_CREATE, 0o600))(t)
	defer file.Close()
	must(file.Write(binary.NativeEndian.AppendUint64(nil, uint64(seconds))))(t) // in one piece
}

// clockedRedis starts a Redis whose clock can be set.
func clockedRedis(t *testing.T) (*redisServer, clock) {
	t.Helper()
	dir := t.TempDir()
	library, c := filepath.Join(dir, "clock.so"), clock(filepath.Join(dir, "offset"))
	if out, err := exec.Command("cc", "-shared", "-fPIC", "-o", library, "testdata/clock.c").CombinedOutput(); err != nil {
		skip(t, fmt.Errorf("cc: %w: %s", err, out))
	}
	c.set(t, 0)
	server, stop, err := redisByBinary(nil, "LD_PRELOAD="+library, "CLOCK_OFFSET="+string(c))
	if err != nil {
		skip(t, err)
	}
	t.Cleanup(stop)
	return server, c
}

// The clock steps back under load, and then ahead over the life of what is queued.
func TestStaysUpWhenTheClockSteps(t *testing.T) {
	t.Parallel()
	server, clock := clockedRedis(t)
	p := spawn(t, 0, "REDIS_HOST="+server.addr, "EXPIRE=30")
	l, sessions := newLedger(), []string{newSession(), newSession()}
	stepped := make(chan bool)
	go func() {
		for _, offset := range []int64{-3600, -3610, -100_000} {
			time.Sleep(200 * time.Millisecond)
			clock.set(t, offset)
		}
		close(stepped)
	}()
	l.run(t, p.relay(), load{
		sessions: sessions, producers: 4, consumers: 4, images: 200, size: 2000, think: 4 * time.Millisecond,
		heal: func() { <-stepped },
	})
	l.wantExactlyOnce(t)
	if l.failures > 0 {
		t.Errorf("%d calls failed", l.failures)
	}

	session := newSession()
	p.do(t, "POST", "/image/"+session, sized("before the step")).wantStatus(t, 200)
	clock.set(t, -50_000)
	if got := p.get(t, "/image/"+session).wantStatus(t, 200); !got.isNoData() {
		t.Errorf("got %q, by the clock 50,000 seconds old", got.body)
	}
	p.do(t, "POST", "/image/"+session, sized("after it")).wantStatus(t, 200)
	if got := p.get(t, "/image/"+session).wantStatus(t, 200); got.body != "after it" || got.Header.Get("X-Sequence") == "" {
		t.Errorf("got %q", got.body)
	}
}
