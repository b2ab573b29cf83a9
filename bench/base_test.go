package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The targets of BenchmarkAgainstBase leave room for what two runs of the same program differ by.
const (
	leastOfBase = 0.98 // requests or frames per second
	mostOfBase  = 1.02 // CPU time for each of them
)

// BenchmarkAgainstBase compares the program with itself at an earlier revision, which BENCH_BASE names.
func BenchmarkAgainstBase(b *testing.B) {
	revision := os.Getenv("BENCH_BASE")
	if revision == "" {
		b.Skip("BENCH_BASE names no revision to compare with")
	}
	base := buildRevision(b, revision)
	for _, engine := range engines {
		for _, load := range baseLoads() {
			b.Run(engine+"/"+load.path, func(b *testing.B) {
				var r rounds
				r.add(load.rounds, load.start(b, ours(b).on(b, engine)), load.start(b, program(base).on(b, engine)))
				measure := fmt.Sprintf("%s against %s, %s", load.measure, revision, engine)
				reportIn(b, "rate", r.fill(rate, result{measure: measure, unit: load.unit, least: leastOfBase}))
				reportIn(b, "cpu", r.fill(cpuEach, result{
					measure: measure + ": CPU per " + load.each, unit: "us", most: mostOfBase,
				}))
			})
		}
	}
	compareStart(b, revision, base)
}

// baseLoad is one kind of work that both revisions do. Each round measures rate and cpuEach.
type baseLoad struct {
	path, measure string
	unit, each    string
	rounds        int
	start         func(*testing.B, *child) (round func() []float64)
}

func baseLoads() []baseLoad {
	loads := []baseLoad{
		{"push-pop", "HTTP push + pop", "req/s", "request", 9, pushPopLoad},
		{"fan-out", "fan-out to 100 viewers", "frames/s", "frame", 5, fanOutLoad},
	}
	for _, form := range forms {
		loads = append(loads, baseLoad{
			"ingest/" + form.name, "1,000 frames in one POST, " + form.name + ",", "frames/s", "frame", 9,
			func(b *testing.B, c *child) func() []float64 { return repeated(ingestLoad(b, c, form.header)) },
		})
	}
	return loads
}

// repeated makes a round last 2 s, because a single POST is too short for targets so close to 1. Such a round returns
// the means.
func repeated(once func() []float64) func() []float64 {
	return func() []float64 {
		means, n := once(), 1.0
		for start := time.Now(); time.Since(start) < 2*time.Second; {
			n++
			for i, x := range once() {
				means[i] += (x - means[i]) / n
			}
		}
		return means
	}
}

// compareStart compares what a binary takes before it has any work.
func compareStart(b *testing.B, revision, base string) {
	b.Helper()
	const answer, memory = 0, 1
	once := func(start starter) func() []float64 {
		return func() []float64 {
			server, firstAnswer := timeStart(b, start)
			defer server.stop()
			return []float64{answer: firstAnswer, memory: server.rss(b)}
		}
	}
	var r rounds
	r.add(9, once(ours(b)), once(program(base)))
	against := " against " + revision + ", embedded"
	reportIn(b, "start/answer", r.fill(answer, result{measure: "start to first answer" + against, unit: "ms"}))
	reportIn(b, "start/idle", r.fill(memory, result{measure: "memory after start and one request" + against, unit: "MB"}))
	size, baseSize := sizeOf(b, ourBinary(b)), sizeOf(b, base)
	reportIn(b, "start/binary", result{
		measure: "static binary against " + revision, unit: "MB",
		ours: size, baseline: baseSize, ratio: size / baseSize,
	})
}

// buildRevision builds the program as it was at a revision, and returns the path of the binary.
func buildRevision(b *testing.B, revision string) string {
	b.Helper()
	dir := b.TempDir()
	archive, source := filepath.Join(dir, "source.tar"), filepath.Join(dir, "source")
	binary := filepath.Join(dir, "image-streamer")
	for _, do := range []func() error{
		func() error { return os.Mkdir(source, 0o700) },
		func() error { return command("..", "git", "archive", "-o", archive, revision) },
		func() error { return command(source, "tar", "-xf", archive) },
		func() error { return build(source, binary) },
	} {
		if err := do(); err != nil {
			b.Fatal(err)
		}
	}
	return binary
}
