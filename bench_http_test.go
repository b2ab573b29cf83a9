package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// loadConns is how many connections the load comes over.
const loadConns = 16

// BenchmarkHTTPRedis compares pushes and pops through our server on Redis with
// those through the bare relay, in requests per second and in the CPU time of
// server and Redis.
func BenchmarkHTTPRedis(b *testing.B) {
	ours, oursRedis := onRedis(b, "ours")
	bare, bareRedis := onRedis(b, "bare-redis")
	compareHTTP(b, "HTTP push + pop on Redis", 0.85, 1.2,
		load16(b, ours, oursRedis), load16(b, bare, bareRedis))
}

// BenchmarkHTTPEmbedded compares the embedded engine with a slice and a mutex.
func BenchmarkHTTPEmbedded(b *testing.B) {
	compareHTTP(b, "HTTP push + pop, embedded", 0.9, 0,
		load16(b, startChild(b, "ours", ""), nil), load16(b, startChild(b, "bare-memory", ""), nil))
}

func compareHTTP(b *testing.B, measure string, least, mostCPU float64, ours, bare func() []float64) {
	var r rounds
	r.add(9, ours, bare)
	reportIn(b, "requests", r.fill(0, result{measure: measure + ", 50 KB", unit: "req/s", least: least}))
	reportIn(b, "cpu", r.fill(1, result{measure: measure + ", CPU per request", unit: "us", most: mostCPU}))
}

// onRedis starts a server with a Redis of its own.
func onRedis(b *testing.B, what string) (*child, *redis.Client) {
	b.Helper()
	opt := benchRedis(b)
	rdb := newRedisClient(opt)
	b.Cleanup(func() { rdb.Close() })
	return startChild(b, what, opt.Addr), rdb
}

// load16 returns one round of load: the requests per second, and the CPU time
// per request of the server and its Redis in us.
func load16(b *testing.B, c *child, rdb *redis.Client) func() []float64 {
	const duration, size = 2 * time.Second, 50_000
	clients := make([]*client, loadConns)
	for i := range clients {
		clients[i] = dialClient(b, c.addr, fmt.Sprint("session-", i), size, false)
		if err := clients[i].pushPop(); err != nil {
			b.Fatal(err)
		}
	}
	cpu := func() float64 {
		if rdb == nil {
			return c.cpu(b)
		}
		return c.cpu(b) + redisCPU(b, rdb)
	}
	return func() []float64 {
		before, start := cpu(), time.Now()
		var all sync.WaitGroup
		counts := make([]int, len(clients))
		failures := make(chan error, len(clients))
		for i, conn := range clients {
			all.Go(func() {
				for time.Since(start) < duration {
					if err := conn.pushPop(); err != nil {
						failures <- err
						return
					}
					counts[i] += 2
				}
			})
		}
		all.Wait()
		took := time.Since(start)
		if len(failures) > 0 {
			b.Fatal(<-failures)
		}
		if rdb != nil {
			awaitQuiet(b, rdb)
		}
		requests := 0
		for _, n := range counts {
			requests += n
		}
		return []float64{float64(requests) / took.Seconds(), (cpu() - before) / float64(requests)}
	}
}

// client is one keep-alive connection that costs next to nothing: its requests
// are made once, of the answers it reads what it checks.
type client struct {
	conn      net.Conn
	in        *bufio.Reader
	post, get []byte
	size      int
}

func dialClient(b *testing.B, addr, session string, size int, chunked bool) *client {
	b.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	image := bytes.Repeat([]byte{0xd8}, size)
	post := fmt.Appendf(nil, "POST /image/%s HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n", session)
	if chunked {
		post = append(post, "Transfer-Encoding: chunked\r\n\r\n"...)
		for rest := image; len(rest) > 0; rest = rest[min(len(rest), 16<<10):] {
			part := rest[:min(len(rest), 16<<10)]
			post = fmt.Appendf(post, "%x\r\n%s\r\n", len(part), part)
		}
		post = append(post, "0\r\n\r\n"...)
	} else {
		post = fmt.Appendf(post, "Content-Length: %d\r\n\r\n%s", size, image)
	}
	return &client{
		conn: conn, in: bufio.NewReaderSize(conn, 64<<10), size: size, post: post,
		get: fmt.Appendf(nil, "GET /image/%s HTTP/1.1\r\nHost: x\r\n\r\n", session),
	}
}

func (c *client) pushPop() error {
	if err := c.push(); err != nil {
		return err
	}
	return c.pop()
}

func (c *client) push() error {
	n, err := c.exchange(c.post)
	if err == nil && n != 0 {
		err = fmt.Errorf("push: answered with %d bytes", n)
	}
	return err
}

func (c *client) pop() error {
	n, err := c.exchange(c.get)
	if err == nil && n != c.size {
		err = fmt.Errorf("pop: got %d bytes, want %d", n, c.size)
	}
	return err
}

var lengthHeader = []byte("Content-Length: ")

// exchange sends a request and reads its answer, which must be a 200 with
// Content-Length, and returns the length of the body.
func (c *client) exchange(request []byte) (length int, err error) {
	if _, err := c.conn.Write(request); err != nil {
		return 0, err
	}
	line, err := c.in.ReadSlice('\n')
	if err != nil || !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
		return 0, fmt.Errorf("answered %q: %w", line, err)
	}
	for len(line) > 2 {
		if line, err = c.in.ReadSlice('\n'); err != nil {
			return 0, err
		}
		if value, found := bytes.CutPrefix(line, lengthHeader); found {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, err
			}
		}
	}
	_, err = c.in.Discard(length)
	return length, err
}
