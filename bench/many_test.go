package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/redisqueue"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

const (
	manyImages   = 100_000
	manySessions = 10_000
)

// BenchmarkPopAfterExpiry measures the first pop, and the median pop, when 100,000 images have expired, and for how
// long Redis served no other client meanwhile: once when they were all there was, once with live images behind them.
func BenchmarkPopAfterExpiry(b *testing.B) {
	const pops = 50
	for _, live := range []int{0, pops} {
		ttl := timeForMany(b)
		store := benchRedis(b)
		q, rdb, ctx := openQueue(b, store, ttl), store.Client(b), b.Context()

		// The images are pushed within their TTL, and so are the live ones behind them, just before the first ones
		// expire: a push removes expired images too.
		start := time.Now()
		pushMany(b, q, manyImages)
		last := time.Now()
		time.Sleep(time.Until(start.Add(ttl - 500*time.Millisecond)))
		pushMany(b, q, live)
		if time.Since(start) > ttl {
			b.Fatalf("the pushes took longer than %s, the TTL of the images", ttl)
		}
		rdb.ConfigSet(ctx, "slowlog-log-slower-than", "1000")
		rdb.ConfigSet(ctx, "slowlog-max-len", "1000")
		stop := longestSilence(rdb)
		time.Sleep(time.Until(last.Add(ttl + 100*time.Millisecond)))
		took := timePops(b, q, pops, live)
		time.Sleep(time.Second) // what Redis does in the background counts
		silence, slowest := stop(), slowestCommand(b, rdb)

		measure := fmt.Sprintf("pop after %d expired, %d live behind", manyImages, live)
		path := fmt.Sprintf("%d-live", live)
		for _, row := range []struct {
			name, measure string
			ms, most      float64
		}{
			{"median", "median", median(took), 1},
			{"first", "the first", took[0], 50},
			{"slowest", "slowest command in Redis", slowest, 50},
			{"silence", "longest wait of another client", silence, 50},
		} {
			reportIn(b, path+"/"+row.name, result{
				measure: measure + ": " + row.measure, unit: "ms", ours: row.ms, most: row.most,
			})
		}
	}
}

// timeForMany returns twice the time that pushMany takes for all images, judged by a few of them on another Redis.
func timeForMany(b *testing.B) time.Duration {
	b.Helper()
	const part = 20
	q := openQueue(b, benchRedis(b), time.Minute)
	start := time.Now()
	pushMany(b, q, manyImages/part)
	return max(14*time.Second, 2*part*time.Since(start))
}

// pushMany pushes small images.
func pushMany(b *testing.B, q *redisqueue.Queue, n int) {
	b.Helper()
	parallel(b, 64, n, func(int) error {
		_, err := q.Push(b.Context(), "session", append(q.Buffer(1)[:0], 'x'))
		return err
	})
}

// timePops returns how long each of n pops took, in ms. So many of them have to find an image.
func timePops(b *testing.B, q *redisqueue.Queue, n, live int) (took []float64) {
	b.Helper()
	for i := range n {
		from := time.Now()
		d, err := q.Pop(b.Context(), "session")
		took = append(took, float64(time.Since(from).Microseconds())/1000)
		if err == nil {
			d.Ack()
		} else if !errors.Is(err, queue.ErrEmpty) {
			b.Fatal(err)
		}
		if (err == nil) != (i < live) {
			b.Fatalf("pop %d: error %v, want %d images", i, err, live)
		}
	}
	return took
}

// longestSilence pings every 200 us until stop is called, which returns the longest wait for an answer, in ms.
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
	var most time.Duration
	for _, entry := range testkit.Must(rdb.SlowLogGet(b.Context(), 1000).Result())(b) {
		if !strings.EqualFold(entry.Args[0], "slowlog") {
			most = max(most, entry.Duration)
		}
	}
	return float64(most.Microseconds()) / 1000
}

// BenchmarkStats measures /stats with 10,000 sessions on both engines, and on Redis the slowest of the scripts behind
// it.
func BenchmarkStats(b *testing.B) {
	for _, engine := range engines {
		server := ours(b).on(b, engine)
		fillSessions(b, server)
		took, scripts := timeStats(b, server)
		measure := fmt.Sprintf("/stats, %d sessions, %s", manySessions, engine)
		reportIn(b, engine+"/answer", result{measure: measure, unit: "ms", ours: median(took), most: 1000})
		alone := pushLatency(b, server)
		stop := readStats(b, server, 16)
		beside := pushLatency(b, server)
		stop()
		reportIn(b, engine+"/push", result{
			measure: measure + ": push beside 16 readers, of a push without", unit: "x",
			ours: median(beside) / median(alone), most: 3,
		})
		if engine == "redis" {
			reportIn(b, engine+"/script", result{
				measure: measure + ": slowest script of a call", unit: "ms", ours: median(scripts), most: 2,
			})
			reportIn(b, engine+"/worst-script", result{
				measure: measure + ": slowest script of all", unit: "ms", ours: slices.Max(scripts), most: 2,
			})
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

// pushLatency returns how long each of 1000 pushes took, in ms.
func pushLatency(b *testing.B, server *child) (took []float64) {
	b.Helper()
	c := dialClient(b, server.addr, "session-0", 1<<10, false)
	for range 1000 {
		from := time.Now()
		if err := c.push(); err != nil {
			b.Fatal(err)
		}
		took = append(took, float64(time.Since(from).Microseconds())/1000)
	}
	return took
}

// readStats has so many clients read /stats twenty times a second each, until stop is called.
func readStats(b *testing.B, server *child, readers int) (stop func()) {
	b.Helper()
	var all sync.WaitGroup
	var over atomic.Bool
	for range readers {
		c := dialClient(b, server.addr, "x", 1, false)
		all.Go(func() {
			for !over.Load() {
				if _, err := c.exchange(getStats); err != nil {
					b.Error(err)
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	return func() { over.Store(true); all.Wait() }
}

// getStats asks for the totals of /stats: what is measured is the list, not its JSON.
var getStats = []byte("GET /stats?limit=0 HTTP/1.1\r\nHost: x\r\n\r\n")

// timeStats returns how long each of 5 calls of /stats took, and on Redis the slowest script of each, in ms. A pause
// between them lets the list grow stale.
func timeStats(b *testing.B, server *child) (took, scripts []float64) {
	b.Helper()
	rdb, ctx := server.redis, b.Context()
	if rdb != nil {
		rdb.ConfigSet(ctx, "slowlog-max-len", "10000")
		rdb.ConfigSet(ctx, "slowlog-log-slower-than", "20")
	}
	c := dialClient(b, server.addr, "x", 1, false)
	for range 5 {
		time.Sleep(1100 * time.Millisecond)
		if rdb != nil {
			rdb.SlowLogReset(ctx)
		}
		from := time.Now()
		if _, err := c.exchange([]byte("GET /stats HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
			b.Fatal(err)
		}
		took = append(took, float64(time.Since(from).Microseconds())/1000)
		if rdb != nil {
			scripts = append(scripts, slowestCommand(b, rdb))
		}
	}
	return took, scripts
}
