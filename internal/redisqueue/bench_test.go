package redisqueue

import (
	"fmt"
	"testing"

	"github.com/image-streamer/image-streamer/internal/redistest"
)

// benchmarkSizes are sizes of images in bytes. The smallest shows the bookkeeping.
var benchmarkSizes = []int{1 << 10, 50_000, 500_000}

// drainEvery bounds the images that a benchmark has in Redis.
const drainEvery = 100

func onSizes(b *testing.B, benchmark func(b *testing.B, h *harness, image []byte)) {
	for _, size := range benchmarkSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			h := openOn(b, redistest.Own(b))
			b.ReportAllocs()
			b.SetBytes(int64(size))
			benchmark(b, h, make([]byte, size))
		})
	}
}

// pushCopy pushes an image as the server does: in a buffer of the queue.
func pushCopy(b *testing.B, h *harness, image []byte) {
	own := append(h.Buffer(len(image))[:0], image...)
	if _, err := h.Push(b.Context(), "session", own); err != nil {
		b.Fatal(err)
	}
}

func popAndAck(b *testing.B, h *harness) {
	d, err := h.Pop(b.Context(), "session")
	if err != nil {
		b.Fatal(err)
	}
	d.Ack()
}

func BenchmarkPush(b *testing.B) {
	onSizes(b, func(b *testing.B, h *harness, image []byte) {
		pushed := 0
		for b.Loop() {
			pushCopy(b, h, image)
			if pushed++; pushed%drainEvery == 0 {
				b.StopTimer()
				for range drainEvery {
					popAndAck(b, h)
				}
				b.StartTimer()
			}
		}
	})
}

func BenchmarkPop(b *testing.B) {
	onSizes(b, func(b *testing.B, h *harness, image []byte) {
		popped := 0
		for b.Loop() {
			if popped%drainEvery == 0 {
				b.StopTimer()
				for range drainEvery {
					pushCopy(b, h, image)
				}
				b.StartTimer()
			}
			popAndAck(b, h)
			popped++
		}
	})
}
