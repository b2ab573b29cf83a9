package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	manyImages   = 100_000
	manySessions = 10_000
)

// BenchmarkPopAfterExpiry measures the first pop, and the median pop, when
// 100,000 images have expired, and how long Redis served nobody else meanwhile:
// once when they were all there was, once with live images behind them.
func BenchmarkPopAfterExpiry(b *testing.B) {
	// The images are pushed within their life, and so are the live ones behind
	// them, just before the first ones expire: a push trims the queue too.
	const life, pops = 14 * time.Second, 50
	for _, live := range []int{0, pops} {
		opt := benchRedis(b)
		q := newRedisQueue(opt, life, slog.New(slog.DiscardHandler))
		b.Cleanup(q.Close)
		rdb := newRedisClient(opt)
		b.Cleanup(func() { rdb.Close() })
		ctx := context.Background()

		start := time.Now()
		pushMany(b, q, "session", manyImages)
		last := time.Now()
		time.Sleep(time.Until(start.Add(life - 500*time.Millisecond)))
		pushMany(b, q, "session", live)
		if time.Since(start) > life {
			b.Fatal("this machine is too slow for the life of the images")
		}
		rdb.ConfigSet(ctx, "slowlog-log-slower-than", "1000")
		rdb.ConfigSet(ctx, "slowlog-max-len", "1000")
		stop := longestSilence(rdb)
		time.Sleep(time.Until(last.Add(life + 100*time.Millisecond)))
		var took []float64
		for i := range pops {
			from := time.Now()
			f, err := q.Pop(ctx, "session")
			took = append(took, float64(time.Since(from).Microseconds())/1000)
			if err == nil {
				q.Settle(f, true)
			}
			if (err == nil) != (i < live) {
				b.Fatalf("pop %d: error %v, want %d images", i, err, live)
			}
		}
		time.Sleep(time.Second) // what Redis does in the background counts
		silence, slowest := stop(), slowestCommand(b, rdb)

		name := fmt.Sprintf("pop after %d expired, %d live behind", manyImages, live)
		in := fmt.Sprintf("%d-live", live)
		reportIn(b, in+"/median", result{measure: name + ": median", unit: "ms", ours: median(took), most: 1})
		reportIn(b, in+"/first", result{measure: name + ": the first", unit: "ms", ours: took[0], most: 50})
		reportIn(b, in+"/slowest", result{measure: name + ": slowest command in Redis", unit: "ms", ours: slowest, most: 50})
		reportIn(b, in+"/silence", result{measure: name + ": longest wait of another client", unit: "ms", ours: silence, most: 50})
	}
}

// pushMany pushes small images by calling the script in large pipelines.
func pushMany(b *testing.B, q *redisQueue, session string, n int) {
	b.Helper()
	ctx := context.Background()
	if err := q.loadScripts(ctx); err != nil {
		b.Fatal(err)
	}
	for n > 0 {
		p := q.rdb.Pipeline()
		for range min(n, 500) {
			n--
			call := q.callers.begin()
			q.sendPush(ctx, p, session, call, []byte("x"), true)
			q.callers.end(call) // the same caller makes the next one
		}
		if _, err := p.Exec(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

// longestSilence pings every 200 us until stop is called, which returns the
// longest wait for an answer, in ms.
func longestSilence(rdb *redis.Client) (stop func() float64) {
	done, longest := make(chan struct{}), make(chan time.Duration)
	go func() {
		var most time.Duration
		for {
			select {
			case <-done:
				longest <- most
				return
			case <-time.After(200 * time.Microsecond):
				from := time.Now()
				rdb.Ping(context.Background())
				most = max(most, time.Since(from))
			}
		}
	}()
	return func() float64 {
		close(done)
		return float64((<-longest).Microseconds()) / 1000
	}
}

// slowestCommand returns what the slowest command in the slow log took, in ms.
func slowestCommand(b *testing.B, rdb *redis.Client) float64 {
	b.Helper()
	entries, err := rdb.SlowLogGet(context.Background(), 1000).Result()
	if err != nil {
		b.Fatal(err)
	}
	var most time.Duration
	for _, e := range entries {
		if !strings.EqualFold(e.Args[0], "slowlog") {
			most = max(most, e.Duration)
		}
	}
	return float64(most.Microseconds()) / 1000
}

// BenchmarkStats measures /stats with 10,000 sessions on both engines, and on
// Redis the slowest of the scripts behind it.
func BenchmarkStats(b *testing.B) {
	opt := benchRedis(b)
	rdb := newRedisClient(opt)
	b.Cleanup(func() { rdb.Close() })
	ctx := context.Background()
	rdb.ConfigSet(ctx, "slowlog-max-len", "10000")
	for _, engine := range []string{"redis", "embedded"} {
		addr := ""
		if engine == "redis" {
			addr = opt.Addr
		}
		server := startChild(b, "ours", addr)
		fillSessions(b, server)
		rdb.ConfigSet(ctx, "slowlog-log-slower-than", "20")
		c := dialClient(b, server.addr, "x", 1, false)
		var took, scripts []float64
		for range 31 {
			rdb.SlowLogReset(ctx)
			from := time.Now()
			if _, err := c.exchange([]byte("GET /stats HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
				b.Fatal(err)
			}
			took = append(took, float64(time.Since(from).Microseconds())/1000)
			scripts = append(scripts, slowestCommand(b, rdb))
		}
		name := fmt.Sprintf("/stats, %d sessions, %s", manySessions, engine)
		reportIn(b, engine+"/answer", result{measure: name, unit: "ms", ours: median(took), most: 50})
		if engine == "redis" {
			reportIn(b, engine+"/script", result{measure: name + ": slowest script of a call", unit: "ms", ours: median(scripts), most: 2})
			reportIn(b, engine+"/worst-script", result{measure: name + ": slowest script of all", unit: "ms", ours: slices.Max(scripts), most: 2})
		}
	}
}

// fillSessions pushes one image to each of the sessions.
func fillSessions(b *testing.B, server *child) {
	b.Helper()
	clients := make([]*client, loadConns)
	for i := range clients {
		clients[i] = dialClient(b, server.addr, "x", 1, false)
	}
	parallel(b, loadConns, manySessions, func(i int) error {
		c := clients[i%loadConns]
		c.post = fmt.Appendf(nil, "POST /image/session-%d HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx", i)
		return c.push()
	})
}
