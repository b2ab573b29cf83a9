package main

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
)

// BenchmarkSoak puts a server on Redis under mixed load for as long as SOAK says,
// and compares what it holds at the end with what it held after a warm-up: each
// time a while after the load has stopped and the images have expired.
func BenchmarkSoak(b *testing.B) {
	length, err := time.ParseDuration(os.Getenv("SOAK"))
	if err != nil {
		b.Skip("SOAK names no duration, such as 30m")
	}
	opt := benchRedis(b)
	server := startChild(b, "ours", opt.Addr, "EXPIRE=5", "LOG_LEVEL=error")
	s := &soak{b: b, url: "http://" + server.addr, addr: server.addr}
	rdb := newRedisClient(opt)
	b.Cleanup(func() { rdb.Close() })

	measure := func(length time.Duration) map[string]float64 {
		s.run(length)
		time.Sleep(10 * time.Second) // images expire, connections close
		http.DefaultClient.CloseIdleConnections()
		rdb.Do(b.Context(), "MEMORY", "PURGE")
		return map[string]float64{
			"memory of the server, MB": server.rss(b), "goroutines": server.goroutines(b), "file descriptors": server.descriptors(b),
			"memory of Redis, MB": info(b, rdb, "memory", "used_memory") / 1e6, "Redis connections": info(b, rdb, "clients", "connected_clients"),
			"image and queue keys in Redis": keysOfImages(b, rdb),
		}
	}
	before := measure(length / 10)
	after := measure(length)
	for what, n := range after {
		fmt.Printf("| %s | %s | %s |\n", what, round(before[what]), round(n))
	}
	fmt.Printf("| requests | | %d |\n| frames viewed | | %d |\n| failed | | %d |\n", s.requests.Load(), s.frames.Load(), s.failures.Load())
	if s.failures.Load() > 0 || after["image and queue keys in Redis"] > 0 || after["goroutines"] > before["goroutines"]+20 ||
		after["file descriptors"] > before["file descriptors"]+20 || after["memory of the server, MB"] > 1.5*before["memory of the server, MB"] {
		b.Errorf("not flat: before %v, after %v, %d failed, the last %v", before, after, s.failures.Load(), s.last.Load())
	}
}

// keysOfImages counts what Redis holds of images and queues: what is left of a
// session besides is its sequence, for a while.
func keysOfImages(b *testing.B, rdb *redis.Client) (count float64) {
	b.Helper()
	keys, err := rdb.Keys(b.Context(), "*").Result()
	if err != nil {
		b.Fatal(err)
	}
	for _, key := range keys {
		if !strings.Contains(key, "}:meta:") {
			count++
		}
	}
	return count
}

// soak is a mixed load.
type soak struct {
	b                          *testing.B
	url, addr                  string
	requests, frames, failures atomic.Int64
	last                       atomic.Value // failure
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
	for camera := range 4 {
		session := fmt.Sprint("camera-", camera)
		every(50*time.Millisecond, func(int) { s.do(ctx, "POST", "/image/"+session, "", image) })
		every(time.Millisecond, func(int) { s.do(ctx, "GET", "/image/"+session+"?wait=2", "", "") })
		every(200*time.Millisecond, func(int) { s.do(ctx, "GET", "/snapshot/"+session+".jpg", "", "") })
		for range 3 {
			every(time.Second, func(int) { s.watch(ctx, session) })
		}
	}
	every(100*time.Millisecond, func(int) {
		s.do(ctx, "POST", "/imageForm/form", "multipart/form-data; boundary=b", formWith(image))
	})
	every(100*time.Millisecond, func(n int) { s.do(ctx, "GET", fmt.Sprint("/image/form?after=", n), "", "") })
	every(time.Second, func(int) {
		s.do(ctx, "POST", "/stream/many", "multipart/mixed; boundary=b", strings.Repeat(sizedPart(image), 10)+"--b--")
	})
	every(200*time.Millisecond, func(int) { s.do(ctx, "POST", "/image/"+newSession(), "", image) }) // never taken
	every(100*time.Millisecond, func(int) { s.do(ctx, "GET", "/image/"+newSession()+"?nodata=204", "", "") })
	every(time.Second, func(int) { s.do(ctx, "GET", "/stats", "", "") })
	every(time.Second, func(int) { s.do(ctx, "GET", "/metrics", "", "") })
	every(200*time.Millisecond, func(n int) {
		s.hangUp(ctx, []string{
			"POST /image/cut HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nhalf", "GET /image/cut?wait=30 HTTP/1.1\r\nHost: x\r\n\r\n",
			"GET /stream/camera-0 HTTP/1.1\r\nHost: x\r\n\r\n", "POST /stream/cut HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n--b\r\n", "GET /",
		}[n%5])
	})
	all.Wait()
}

func (s *soak) fail(err error) {
	s.failures.Add(1)
	s.last.Store(err)
}

func (s *soak) do(ctx context.Context, method, path, kind, body string) {
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.fail(err)
		return
	}
	req.Header.Set("Content-Type", kind)
	resp, err := http.DefaultClient.Do(req)
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
func (s *soak) watch(ctx context.Context, session string) {
	ctx, cancel := context.WithTimeout(ctx, rand.N(5*time.Second))
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", s.url+"/stream/"+session, nil)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return // the time was up
	}
	defer resp.Body.Close()
	n, _ := io.Copy(io.Discard, resp.Body)
	s.frames.Add(n / 40_000)
}

// hangUp sends the beginning of something and goes.
func (s *soak) hangUp(ctx context.Context, text string) {
	conn, err := net.Dial("tcp", s.addr)
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
