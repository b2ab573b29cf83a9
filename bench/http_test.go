package bench

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// loadConns is the number of connections that the load comes over.
const loadConns = 16

// The quantities that a round of load measures.
const (
	rate    = iota // requests or frames per second
	cpuEach        // CPU time of the server for each of them, in us
)

// BenchmarkHTTPRedis compares pushes and pops through the program on Redis with those through the bare relay, in
// requests per second and in the CPU time of server and Redis.
func BenchmarkHTTPRedis(b *testing.B) {
	compareHTTP(b, "HTTP push + pop on Redis", 0.85, 1.2,
		pushPopLoad(b, ours(b).on(b, "redis")), pushPopLoad(b, baseline("redis").on(b, "redis")))
}

// BenchmarkHTTPEmbedded compares the embedded queue with a slice and a mutex.
func BenchmarkHTTPEmbedded(b *testing.B) {
	compareHTTP(b, "HTTP push + pop, embedded", 0.9, 0,
		pushPopLoad(b, ours(b).on(b, "embedded")), pushPopLoad(b, baseline("memory").on(b, "embedded")))
}

func compareHTTP(b *testing.B, measure string, least, mostCPU float64, ours, bare func() []float64) {
	var r rounds
	r.add(9, ours, bare)
	reportIn(b, "requests", r.fill(rate, result{measure: measure + ", 50 KB", unit: "req/s", least: least}))
	reportIn(b, "cpu", r.fill(cpuEach, result{measure: measure + ", CPU per request", unit: "us", most: mostCPU}))
}

// pushPopLoad returns one round of pushes and pops on all connections.
func pushPopLoad(b *testing.B, c *child) func() []float64 {
	b.Helper()
	const duration, size = 2 * time.Second, 50_000
	clients := make([]*client, loadConns)
	for i := range clients {
		clients[i] = dialClient(b, c.addr, fmt.Sprint("session-", i), size, false)
		if err := clients[i].pushPop(); err != nil {
			b.Fatal(err)
		}
	}
	return func() []float64 {
		before, start := c.cpu(b), time.Now()
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
		requests := 0
		for _, n := range counts {
			requests += n
		}
		return []float64{
			rate:    float64(requests) / took.Seconds(),
			cpuEach: (c.cpu(b) - before) / float64(requests),
		}
	}
}
