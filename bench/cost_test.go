package bench

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// BenchmarkAllocations measures what the server allocates for a request, as a multiple of the image.
func BenchmarkAllocations(b *testing.B) {
	for _, engine := range engines {
		server := ours(b).on(b, engine)
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

// allocations returns the bytes that the server allocates for a push and for a pop. They are medians of several runs,
// because a garbage collection empties pools.
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
	allocated := func() float64 { return server.figure(b, "go_memstats_alloc_bytes_total") }
	allocated() // a question allocates as well, which the next one shows
	start := allocated()
	question := allocated() - start
	start = allocated()
	for range requests {
		if err := request(); err != nil {
			b.Fatal(err)
		}
	}
	time.Sleep(lag) // what follows the answers counts too
	return (allocated() - start - question) / float64(requests)
}

// BenchmarkStart measures the binary: its size, the time from its start to its first answer, and the memory it holds.
func BenchmarkStart(b *testing.B) {
	start := ours(b)
	var took, idle, used []float64
	for range 9 {
		server, firstAnswer := timeStart(b, start)
		took, idle = append(took, firstAnswer), append(idle, server.rss(b))
		c := dialClient(b, server.addr, "session", 50_000, false)
		for range 1000 {
			if err := c.pushPop(); err != nil {
				b.Fatal(err)
			}
		}
		used = append(used, server.rss(b))
		server.stop()
	}
	reportIn(b, "answer", result{measure: "start to first answer, embedded", unit: "ms", ours: median(took), most: 50})
	reportIn(b, "binary", result{
		measure: "static binary (the container image but for 0.2 MB of certificates)", unit: "MB",
		ours: sizeOf(b, ourBinary(b)), most: 15,
	})
	reportIn(b, "idle", result{
		measure: "memory after start and one request, embedded", unit: "MB", ours: median(idle), most: 20,
	})
	reportIn(b, "used", result{
		measure: "memory after 1,000 pushes and pops of 50 KB, embedded", unit: "MB", ours: median(used), most: 20,
	})
}

// timeStart starts an embedded server, and returns how long its first answer took, in ms.
func timeStart(b *testing.B, start starter) (server *child, firstAnswer float64) {
	b.Helper()
	begun := time.Now()
	server = start.on(b, "embedded")
	return server, float64(time.Since(begun).Microseconds()) / 1000
}

// sizeOf returns the size of a file, in MB.
func sizeOf(b *testing.B, path string) float64 {
	b.Helper()
	return float64(testkit.Must(os.Stat(path))(b).Size()) / 1e6
}
