package e2e

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// BenchmarkSoak puts a server on Redis under mixed load for as long as SOAK says. It compares what server and Redis
// hold at the end with what they held after a warm-up, each time a while after the load has stopped and the images
// have expired.
func BenchmarkSoak(b *testing.B) {
	length, err := time.ParseDuration(os.Getenv("SOAK"))
	if err != nil {
		b.Skip("SOAK names no duration, such as 30m")
	}
	store := redistest.Own(b)
	rdb := store.Client(b)
	server := startServer(b, "REDIS_HOST="+store.Addr, "EXPIRE=5")
	s := &soak{b: b, server: server}

	measure := func(length time.Duration) map[string]float64 {
		s.run(length)
		time.Sleep(10 * time.Second) // images expire, connections close
		testkit.Client.CloseIdleConnections()
		rdb.Do(b.Context(), "MEMORY", "PURGE")
		return map[string]float64{
			"memory of the server, MB":      server.figure(b, "process_resident_memory_bytes") / 1e6,
			"goroutines":                    server.figure(b, "go_goroutines"),
			"file descriptors":              server.figure(b, "process_open_fds"),
			"memory of Redis, MB":           info(b, rdb, "memory", "used_memory") / 1e6,
			"Redis connections":             info(b, rdb, "clients", "connected_clients"),
			"image and queue keys in Redis": keysOfImages(b, rdb),
		}
	}
	before := measure(length / 10)
	after := measure(length)
	for what, n := range after {
		fmt.Printf("| %s | %.4g | %.4g |\n", what, before[what], n)
	}
	fmt.Printf("| requests | | %d |\n| frames viewed | | %d |\n| failed | | %d |\n",
		s.requests.Load(), s.frames.Load(), s.failures.Load())
	if s.failures.Load() > 0 || after["image and queue keys in Redis"] > 0 ||
		after["goroutines"] > before["goroutines"]+20 || after["file descriptors"] > before["file descriptors"]+20 ||
		after["memory of the server, MB"] > 1.5*before["memory of the server, MB"] {
		b.Errorf("not flat: before %v, after %v, %d failed, the last %v", before, after, s.failures.Load(), s.last.Load())
	}
}

// info reads one number of INFO.
func info(b *testing.B, rdb *redis.Client, section, field string) (value float64) {
	b.Helper()
	text := testkit.Must(rdb.Info(b.Context(), section).Result())(b)
	_, rest, found := strings.Cut(text, "\n"+field+":")
	if _, err := fmt.Sscan(rest, &value); !found || err != nil {
		b.Fatalf("INFO %s: no %s", section, field)
	}
	return value
}

// keysOfImages counts the keys of images and queues in Redis. Besides these a session leaves its sequence, for a while.
func keysOfImages(b *testing.B, rdb *redis.Client) (count float64) {
	b.Helper()
	for _, key := range testkit.Must(rdb.Keys(b.Context(), "*").Result())(b) {
		if !strings.Contains(key, "}:meta:") {
			count++
		}
	}
	return count
}

// soak is a mixed load.
type soak struct {
	b                          *testing.B
	server                     *process
	requests, frames, failures atomic.Int64
	last                       atomic.Value // of the failures; a failure
}

// failure makes errors of every type fit into one atomic.Value.
type failure struct{ error }

func (s *soak) fail(err error) {
	s.failures.Add(1)
	s.last.Store(failure{err})
}

// run does everything that clients do, some of it badly.
func (s *soak) run(length time.Duration) {
	ctx, cancel := context.WithTimeout(s.b.Context(), length)
	defer cancel()
	var all sync.WaitGroup
	image := strings.Repeat("x", 40_000)
	every := func(interval time.Duration, do func(n int)) {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				do(n)
				pause(ctx, interval/2+rand.N(interval))
			}
		})
	}
	get := func(path string) { s.do(ctx, "GET", path, "", "") }
	post := func(path, contentType, body string) { s.do(ctx, "POST", path, contentType, body) }
	for camera := range 4 {
		id := fmt.Sprint("camera-", camera)
		every(50*time.Millisecond, func(int) { post("/image/"+id, "", image) })
		every(time.Millisecond, func(int) { get("/image/" + id + "?wait=2") })
		every(200*time.Millisecond, func(int) { get("/snapshot/" + id + ".jpg") })
		for range 3 {
			every(time.Second, func(int) { s.watch(ctx, id) })
		}
	}
	many := strings.Repeat(relaytest.Part(image), 10) + "--b--"
	every(100*time.Millisecond, func(int) { post("/imageForm/form", relaytest.FormType, relaytest.Form(image)) })
	every(100*time.Millisecond, func(n int) { get(fmt.Sprint("/image/form?after=", n)) })
	every(time.Second, func(int) { post("/stream/many", "multipart/mixed; boundary=b", many) })
	every(200*time.Millisecond, func(int) { post("/image/"+session.New(), "", image) }) // never taken
	every(100*time.Millisecond, func(int) { get("/image/" + session.New() + "?nodata=204") })
	every(time.Second, func(int) { get("/stats") })
	every(time.Second, func(int) { get("/metrics") })
	every(200*time.Millisecond, func(n int) { s.hangUp(ctx, beginnings[n%len(beginnings)]) })
	all.Wait()
}

// beginnings are requests that their clients do not finish or do not wait for.
var beginnings = []string{
	"POST /image/cut HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nhalf",
	"GET /image/cut?wait=30 HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /stream/camera-0 HTTP/1.1\r\nHost: x\r\n\r\n",
	"POST /stream/cut HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n--b\r\n",
	"GET /",
}

func (s *soak) do(ctx context.Context, method, path, contentType, body string) {
	req, err := http.NewRequestWithContext(ctx, method, s.server.URL(path), strings.NewReader(body))
	if err != nil {
		s.fail(err)
		return
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := testkit.Client.Do(req)
	if err != nil {
		if ctx.Err() == nil {
			s.fail(err)
		}
		return
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	s.requests.Add(1)
	if resp.StatusCode >= 300 {
		s.fail(fmt.Errorf("%s %s: %s", method, path, resp.Status))
	}
}

// watch looks at a stream for a few seconds.
func (s *soak) watch(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, rand.N(5*time.Second))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.server.URL("/stream/"+id), nil)
	if err != nil {
		s.fail(err)
		return
	}
	resp, err := testkit.Client.Do(req)
	if err != nil {
		return // the time was up
	}
	defer resp.Body.Close()
	n, _ := io.Copy(io.Discard, resp.Body)
	s.frames.Add(n / 40_000)
}

// hangUp sends the beginning of a request and closes the connection.
func (s *soak) hangUp(ctx context.Context, text string) {
	conn, err := net.Dial("tcp", s.server.Addr)
	if err != nil {
		s.fail(err)
		return
	}
	defer conn.Close()
	io.WriteString(conn, text)
	pause(ctx, rand.N(time.Second))
	if rand.IntN(2) == 0 {
		conn.(*net.TCPConn).SetLinger(0)
	}
}

// pause waits, or returns when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
