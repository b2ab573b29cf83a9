package httpserver

import (
	"cmp"
	"context"
	"math"
	"net/http"
	"runtime"
	runtimemetrics "runtime/metrics"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// SendBudget bounds the bytes that all answers under way together hold. Bytes are reserved before they are loaded. What
// finds none waits a moment; small answers go ahead of large ones for which there is no room. A size beyond the limit
// counts as the limit, so that one answer of any size always fits.
//
// Bytes that were released are memory until Go's collector has run. So the budget has it run before it lends more than
// the limit from one run to the next.
type SendBudget struct {
	limit   int64
	maxWait time.Duration
	heap    int64 // what the heap may hold besides the reserved bytes
	refused prometheus.Counter

	mu       sync.Mutex
	reserved int64
	garbage  int64         // released since collect was called
	freed    chan struct{} // closed when bytes are released; nil while nobody waits
}

// SendBudgetOptions describe a SendBudget.
type SendBudgetOptions struct {
	Bytes      int64                 // limit of all answers together; 0: none
	MaxWait    time.Duration         // how long an answer waits at most for bytes that others hold; 0 means 2 s
	OtherHeap  int64                 // what the heap may hold of other images
	Registerer prometheus.Registerer // of the metrics; nil: none
}

// NewSendBudget returns a SendBudget of which nothing is reserved.
func NewSendBudget(o SendBudgetOptions) *SendBudget {
	auto := promauto.With(o.Registerer)
	b := &SendBudget{
		limit:   cmp.Or(o.Bytes, math.MaxInt64),
		maxWait: cmp.Or(o.MaxWait, 2*time.Second),
		heap:    smallHeap + o.OtherHeap,
		refused: auto.NewCounter(prometheus.CounterOpts{
			Namespace: "imagestreamer", Name: "refused_downloads_total",
			Help: "Answers and frames of streams that found no room within DOWNLOAD_LIMIT.",
		}),
	}
	auto.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "imagestreamer", Name: "download_bytes",
		Help: "Bytes that answers under way hold, as DOWNLOAD_LIMIT counts them.",
	}, func() float64 { return float64(b.Reserved()) })
	return b
}

// Reserved returns how many bytes are reserved now.
func (b *SendBudget) Reserved() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reserved
}

// Reserve reserves bytes for an answer, and waits for them if need be. They have to be released. The error is an *Error
// which says that there is no room.
func (b *SendBudget) Reserve(ctx context.Context, size int) error {
	freed := b.reserve(size)
	if freed == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, b.maxWait)
	defer cancel()
	for freed != nil {
		select {
		case <-freed:
			freed = b.reserve(size)
		case <-ctx.Done():
			return b.refuse()
		}
	}
	return nil
}

// TryReplace reserves bytes that are not worth a wait, and may take the place of a reservation that is held. If there
// is room in its place, and not beside it, giveWay is called. Where that returns true the reservation has ended, and
// must not be released. giveWay must not use the budget.
func (b *SendBudget) TryReplace(size, held int, giveWay func() bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	bytes, free := b.charge(size), b.limit-b.reserved
	if bytes > free {
		released := b.charge(held)
		if bytes > free+released || !giveWay() {
			return b.refuse()
		}
		b.reserved -= released
		b.garbage += released
		defer b.wake() // what gave way may have been larger
	}
	b.lend(bytes)
	return nil
}

// ReserveUpTo reserves what there is of size bytes, and returns how many these are.
func (b *SendBudget) ReserveUpTo(size int) (reserved int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	reserved = int(min(int64(size), b.limit-b.reserved))
	b.lend(int64(reserved))
	return reserved
}

// Release gives back bytes that were reserved.
func (b *SendBudget) Release(size int) { b.Shrink(size, 0) }

// Shrink gives back what a reservation holds above a size.
func (b *SendBudget) Shrink(from, to int) { b.free(b.charge(from)-b.charge(to), true) }

// Return is Shrink for bytes that were reserved and never loaded.
func (b *SendBudget) Return(from, to int) { b.free(b.charge(from)-b.charge(to), false) }

func (b *SendBudget) free(bytes int64, used bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reserved -= bytes
	if used {
		b.garbage += bytes
	}
	b.wake()
}

// wake lets all who wait for bytes look again.
func (b *SendBudget) wake() {
	if b.freed != nil {
		close(b.freed)
		b.freed = nil
	}
}

func (b *SendBudget) charge(size int) int64 { return min(int64(size), b.limit) }

// reserve returns nil if it has reserved the bytes, and otherwise a channel that is closed when more may be free.
func (b *SendBudget) reserve(size int) (freed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	bytes := b.charge(size)
	if bytes <= b.limit-b.reserved {
		b.lend(bytes)
		return nil
	}
	if b.freed == nil {
		b.freed = make(chan struct{})
	}
	return b.freed
}

func (b *SendBudget) lend(bytes int64) {
	if b.garbage > b.limit-b.reserved-bytes {
		b.collect()
	}
	b.reserved += bytes
}

// smallHeap is what the heap may hold besides images before the garbage is looked for in it.
const smallHeap = 16 << 20

// collect has the collector run if the garbage is still in the heap. It mostly is not: while little is reserved the
// heap is small, and is collected often.
func (b *SendBudget) collect() {
	if heapBytes() > b.reserved+b.heap {
		runtime.GC()
	}
	b.garbage = 0
}

// heapBytes returns how much memory live objects have, and dead ones that were not collected.
func heapBytes() int64 {
	sample := []runtimemetrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	runtimemetrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}

func (b *SendBudget) refuse() error {
	b.refused.Inc()
	return Errorf(http.StatusServiceUnavailable, "too much is being downloaded at once: "+
		"allowed are %d bytes (DOWNLOAD_LIMIT); try again", b.limit)
}
