package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// BenchmarkAllocations measures what the server allocates for a request, as a
// multiple of the image.
func BenchmarkAllocations(b *testing.B) {
	for _, engine := range []string{"redis", "embedded"} {
		addr := ""
		if engine == "redis" {
			addr = benchRedis(b).Addr
		}
		server := startChild(b, "ours", addr)
		for _, size := range []int{50_000, 500_000} {
			for _, encoding := range []string{"with length", "chunked"} {
				c := dialClient(b, server.addr, "session", size, encoding == "chunked")
				push, pop := allocations(b, server, c)
				name := fmt.Sprintf("%d KB, %s, %s", size/1000, encoding, engine)
				reportAllocations(b, "push, "+name, push, size)
				if encoding != "chunked" {
					reportAllocations(b, "pop, "+name, pop, size)
				}
			}
		}
	}
}

func reportAllocations(b *testing.B, name string, bytes float64, size int) {
	b.Helper()
	const pooled = 8 << 10
	reportIn(b, strings.NewReplacer(", ", "/", " ", "-").Replace(name), result{
		measure: "allocated per " + name, unit: "KB",
		ours: bytes / 1000, most: max(1.5*float64(size), pooled) / 1000,
	})
}

// allocations returns the bytes that the server allocates for a push and for a
// pop: the medians of several runs, since a collection empties pools.
func allocations(b *testing.B, server *child, c *client) (push, pop float64) {
	b.Helper()
	const rounds, requests = 5, 100
	var pushes, pops []float64
	for round := range rounds + 1 {
		p := allocatedFor(b, server, requests, c.push)
		g := allocatedFor(b, server, requests, c.pop)
		if round > 0 {
			pushes, pops = append(pushes, p), append(pops, g)
		}
	}
	return median(pushes), median(pops)
}

func allocatedFor(b *testing.B, server *child, requests int, request func() error) float64 {
	b.Helper()
	server.allocated(b) // the question has a cost: this one pays for the next
	start := server.allocated(b)
	question := server.allocated(b) - start
	start = server.allocated(b)
	for range requests {
		if err := request(); err != nil {
			b.Fatal(err)
		}
	}
	time.Sleep(5 * gather) // what is settled later counts too
	return (server.allocated(b) - start - question) / float64(requests)
}

// BenchmarkStart measures the stripped binary: its size, the time from its start
// to its first answer, and the memory it holds.
func BenchmarkStart(b *testing.B) {
	binary := filepath.Join(b.TempDir(), "image-streamer")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Skipf("skipped: go build: %v: %s", err, out)
	}
	var took, idle, used []float64
	for range 9 {
		port, start := freePort(), time.Now()
		server := launch(b, exec.Command(binary), port, "")
		took = append(took, float64(time.Since(start).Microseconds())/1000)
		idle = append(idle, server.rss(b))
		c := dialClient(b, server.addr, "session", 50_000, false)
		for range 1000 {
			if err := c.pushPop(); err != nil {
				b.Fatal(err)
			}
		}
		used = append(used, server.rss(b))
	}
	file, err := os.Stat(binary)
	if err != nil {
		b.Fatal(err)
	}
	reportIn(b, "answer", result{measure: "start to first answer, embedded", unit: "ms", ours: median(took), most: 50})
	reportIn(b, "binary", result{
		measure: "static binary (the container image but for 0.2 MB of certificates)", unit: "MB",
		ours: float64(file.Size()) / 1e6, most: 15,
	})
	reportIn(b, "idle", result{measure: "memory after start and one request, embedded", unit: "MB", ours: median(idle), most: 20})
	reportIn(b, "used", result{measure: "memory after 1,000 pushes and pops of 50 KB, embedded", unit: "MB", ours: median(used), most: 20})
}
