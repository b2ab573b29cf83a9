package memqueue

import (
	"cmp"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/queuetest"
)

// newHarness makes a queue with a memory limit of 64 MiB and a clock that the test moves.
func newHarness(t *testing.T, o queuetest.Options) *queuetest.Harness {
	clock, ttl := queuetest.NewClock(), cmp.Or(o.TTL, time.Minute)
	q := New(Options{TTL: ttl, MemoryLimit: 64 << 20, Limits: o.Limits, Now: clock.Now})
	t.Cleanup(q.Close)
	return &queuetest.Harness{
		Queue: q, TTL: ttl, Elapse: clock.Move,
		StepBack: func(_ string, d time.Duration) { clock.Move(-d) },
	}
}

// newQueue makes a queue whose images do not expire during the test.
func newQueue(t testing.TB, memoryLimit int64, limits queue.Limits) (*Queue, *queuetest.Harness) {
	q := New(Options{TTL: time.Hour, MemoryLimit: memoryLimit, Limits: limits, Registerer: prometheus.NewRegistry()})
	t.Cleanup(q.Close)
	return q, &queuetest.Harness{Queue: q, TTL: time.Hour}
}

// wantHeld checks how many bytes count against the memory limit.
func wantHeld(t *testing.T, q *Queue, what string, want int64) {
	t.Helper()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.held != want {
		t.Errorf("%s: got %d bytes held, want %d", what, q.held, want)
	}
}
