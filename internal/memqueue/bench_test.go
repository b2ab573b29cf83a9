package memqueue

import (
	"testing"

	"github.com/image-streamer/image-streamer/internal/queue"
)

// benchmarkImage is small: the benchmarks measure the bookkeeping.
var benchmarkImage = make([]byte, 1<<10)

func BenchmarkPush(b *testing.B) {
	q, _ := newQueue(b, 64<<20, queue.Limits{Images: 100})
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := q.Push(ctx, "session", benchmarkImage); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPop(b *testing.B) {
	q, _ := newQueue(b, 1<<50, queue.Limits{})
	ctx := b.Context()
	for range b.N {
		if _, err := q.Push(ctx, "session", benchmarkImage); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		d, err := q.Pop(ctx, "session")
		if err != nil {
			b.Fatal(err)
		}
		d.Ack()
	}
}
