package bench

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/redisqueue"
	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// BenchmarkRedisCPU compares what Redis spends on a push and a pop, with all that follows them, with what it spends on
// SET and GETDEL of the same bytes.
func BenchmarkRedisCPU(b *testing.B) {
	sizes := []struct {
		name  string
		bytes int
		pairs int
		most  float64
		rounds
	}{
		{name: "50 KB", bytes: 50_000, pairs: 2000, most: 2.3},
		{name: "500 KB", bytes: 500_000, pairs: 400, most: 1.25},
		{name: "2 MB", bytes: 2_000_000, pairs: 150, most: 1.15},
	}
	// Two processes of the same Redis differ by up to a tenth, depending on how their memory happens to lie: so several
	// of each take part.
	for range 4 {
		ours, bare := ourPair(b), barePair(b)
		for i := range sizes {
			s := &sizes[i]
			image := bytes.Repeat([]byte{0xd8}, s.bytes)
			s.add(6,
				func() []float64 { return []float64{ours.cpu(b, s.pairs, image)} },
				func() []float64 { return []float64{bare.cpu(b, s.pairs, image)} })
		}
	}
	for _, s := range sizes {
		reportIn(b, strings.ReplaceAll(s.name, " ", ""), s.fill(0, result{
			measure: "Redis CPU per push + pop, " + s.name, unit: "us", most: s.most,
		}))
	}
}

// pairs does pushes and pops on a Redis of its own: so no side pays for what the other leaves behind.
type pairs struct {
	rdb    *redis.Client
	expiry float64 // us to expire a key
	pair   func(id string, image []byte) error
}

func ourPair(b *testing.B) pairs {
	b.Helper()
	store := benchRedis(b)
	rdb := store.Client(b)
	expiry := expiryCost(b, rdb)
	q := openQueue(b, store, time.Minute)
	return pairs{rdb, expiry, func(id string, image []byte) error {
		own := append(q.Buffer(len(image))[:0], image...) // the queue takes it
		if _, err := q.Push(b.Context(), id, own); err != nil {
			return err
		}
		d, err := q.Pop(b.Context(), id)
		if err == nil {
			d.Ack()
		}
		return err
	}}
}

// openQueue opens a queue without limits on a Redis.
func openQueue(b *testing.B, store *redistest.Server, ttl time.Duration) *redisqueue.Queue {
	b.Helper()
	q := redisqueue.Open(redisqueue.Options{
		Redis: &redis.UniversalOptions{Addrs: []string{store.Addr}}, TTL: ttl, Log: slog.New(slog.DiscardHandler),
	})
	b.Cleanup(q.Close)
	return q
}

func barePair(b *testing.B) pairs {
	b.Helper()
	rdb := benchRedis(b).Client(b)
	return pairs{rdb, 0, func(id string, image []byte) error {
		if err := rdb.Set(b.Context(), id, image, 0).Err(); err != nil {
			return err
		}
		return rdb.GetDel(b.Context(), id).Err()
	}}
}

// cpu returns what Redis spends on a push and a pop, until nothing is left to be freed, and on the expiry of the keys
// that they leave behind, in us.
func (p pairs) cpu(b *testing.B, n int, image []byte) float64 {
	b.Helper()
	const workers = 4
	awaitQuiet(b, p.rdb)
	cpu, keys := redisCPU(b, p.rdb), dbSize(b, p.rdb)
	parallel(b, workers, n, func(i int) error { return p.pair(fmt.Sprint("session-", i%workers), image) })
	awaitQuiet(b, p.rdb)
	cpu = redisCPU(b, p.rdb) - cpu
	return (cpu + max(0, dbSize(b, p.rdb)-keys)*p.expiry) / float64(n)
}

func dbSize(b *testing.B, rdb *redis.Client) float64 {
	b.Helper()
	return float64(testkit.Must(rdb.DBSize(b.Context()).Result())(b))
}

// expiryCost measures what it costs Redis to expire a small key, in us.
func expiryCost(b *testing.B, rdb *redis.Client) float64 {
	b.Helper()
	const keys, ttl = 50_000, 2 * time.Second
	ctx := b.Context()
	start := time.Now()
	for i := 0; i < keys; {
		p := rdb.Pipeline()
		for range 1000 {
			i++
			p.Set(ctx, fmt.Sprintf("is:{00}:push:ABCDEFGHIJKLMNOP-%d", i), "123456 1", ttl-time.Since(start))
		}
		if _, err := p.Exec(ctx); err != nil {
			b.Fatal(err)
		}
	}
	cpu, from := redisCPU(b, rdb), time.Now()
	for dbSize(b, rdb) > 0 {
		time.Sleep(50 * time.Millisecond)
	}
	cpu, took := redisCPU(b, rdb)-cpu, time.Since(from)
	idle := redisCPU(b, rdb)
	time.Sleep(took)
	idle = redisCPU(b, rdb) - idle
	b.Logf("expiry of a small key: %.2f us", (cpu-idle)/keys)
	return (cpu - idle) / keys
}
