package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// BenchmarkRedisCPU compares what Redis spends on a push and a pop, with all
// that comes after them, with what it spends on SET and GETDEL of the same bytes.
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
	// Two processes of the same Redis differ by up to a tenth, as their memory
	// happens to lie: so several of each take part.
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

// pairs does a push and a pop on a Redis of its own: so nobody pays for what
// another leaves behind.
type pairs struct {
	rdb    *redis.Client
	expiry float64 // us to expire a key
	pair   func(session string, image []byte) error
}

func ourPair(b *testing.B) pairs {
	b.Helper()
	q := newRedisQueue(benchRedis(b), time.Minute, slog.New(slog.DiscardHandler))
	b.Cleanup(q.Close)
	rdb := q.rdb.(*redis.Client)
	return pairs{rdb, expiryCost(b, rdb), func(session string, image []byte) error {
		own := append(q.Buffer(len(image))[:0], image...) // the engine keeps it
		if _, err := q.Push(b.Context(), session, own); err != nil {
			return err
		}
		f, err := q.Pop(b.Context(), session)
		q.Settle(f, true)
		return err
	}}
}

func barePair(b *testing.B) pairs {
	b.Helper()
	rdb := newRedisClient(benchRedis(b))
	b.Cleanup(func() { rdb.Close() })
	return pairs{rdb, 0, func(session string, image []byte) error {
		if err := rdb.Set(b.Context(), session, image, 0).Err(); err != nil {
			return err
		}
		return rdb.GetDel(b.Context(), session).Err()
	}}
}

// cpu returns what Redis spends on a push and a pop, until everything is settled,
// and on the expiry of the keys that they leave behind, in us.
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

// awaitQuiet waits until Redis has had no command but our own for a while.
func awaitQuiet(b *testing.B, rdb *redis.Client) {
	b.Helper()
	for last := -1.0; ; {
		now := info(b, rdb, "stats", "total_commands_processed")
		if now == last+1 {
			return
		}
		last = now
		time.Sleep(5 * gather)
	}
}

func dbSize(b *testing.B, rdb *redis.Client) float64 {
	b.Helper()
	n, err := rdb.DBSize(context.Background()).Result()
	if err != nil {
		b.Fatal(err)
	}
	return float64(n)
}

// expiryCost measures what it costs Redis to expire a small key, in us.
func expiryCost(b *testing.B, rdb *redis.Client) float64 {
	b.Helper()
	const keys, life = 50_000, 2 * time.Second
	ctx := context.Background()
	start := time.Now()
	for i := 0; i < keys; {
		p := rdb.Pipeline()
		for range 1000 {
			i++
			p.Set(ctx, fmt.Sprintf("is:{00}:push:ABCDEFGHIJKLMNOP-%d", i), "123456 1", life-time.Since(start))
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
