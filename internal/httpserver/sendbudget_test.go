package httpserver

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// wantReserved checks how much of a budget is reserved.
func wantReserved(t *testing.T, b *SendBudget, what string, want int64) {
	t.Helper()
	if got := b.Reserved(); got != want {
		t.Errorf("%s: got %d bytes reserved, want %d", what, got, want)
	}
}

// wantNoRoom checks the error of an answer for which there is no room.
func wantNoRoom(t *testing.T, err error) {
	t.Helper()
	const want = "too much is being downloaded at once: allowed are 1000 bytes (DOWNLOAD_LIMIT); try again"
	if refused, ok := errors.AsType[*Error](err); !ok || refused.Status != 503 || refused.Text != want {
		t.Errorf("got error %v, want 503 and %q", err, want)
	}
}

func TestSendBudget(t *testing.T) {
	t.Parallel()
	b := NewSendBudget(SendBudgetOptions{Bytes: 1000})
	reserve := func(size int, fits bool) {
		t.Helper()
		if err := b.TryReplace(size, 0, nil); fits && err != nil {
			t.Errorf("%d bytes: got error %v", size, err)
		} else if !fits {
			wantNoRoom(t, err)
		}
	}
	reserve(600, true)
	reserve(401, false)
	reserve(400, true)
	reserve(1, false)
	reserve(0, true)
	b.Release(600)
	wantReserved(t, b, "600 released", 400)
	if got := b.ReserveUpTo(100); got != 100 {
		t.Errorf("up to 100: got %d", got)
	}
	if got := b.ReserveUpTo(1 << 40); got != 500 {
		t.Errorf("up to a lot: got %d, want the 500 that are left", got)
	}
	if got := b.ReserveUpTo(10); got != 0 {
		t.Errorf("up to 10 of nothing: got %d", got)
	}
	b.Return(500, 20)
	b.Shrink(400, 30)
	wantReserved(t, b, "given back in part", 100+20+30)
	b.Release(150)
	reserve(1<<40, true) // an answer of any size goes out, alone
	wantReserved(t, b, "more than there is", 1000)
	reserve(1, false)
	b.Shrink(1<<40, 2000)
	reserve(1, false)
	b.Release(2000)
	wantReserved(t, b, "at the end", 0)
}

// A wait ends with bytes, with the request, or when it has lasted long enough. Small answers overtake large ones.
func TestSendBudgetWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := NewSendBudget(SendBudgetOptions{Bytes: 1000})
		b.TryReplace(900, 0, nil)
		begun := time.Now()
		wantNoRoom(t, b.Reserve(t.Context(), 200))
		if took := time.Since(begun); took != 2*time.Second {
			t.Errorf("waited for %s, README says 2 seconds", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantNoRoom(t, b.Reserve(ctx, 200))
		if took := time.Since(begun); took != 3*time.Second {
			t.Errorf("waited for %s, want the second that the request lasted", took-2*time.Second)
		}
		large := make(chan error, 2)
		for range cap(large) {
			go func() { large <- b.Reserve(t.Context(), 400) }()
		}
		synctest.Wait()
		testkit.NoError(t, b.Reserve(t.Context(), 100))
		b.Release(100)
		b.Return(900, 600)
		testkit.NoError(t, <-large)
		wantReserved(t, b, "one of two served", 1000)
		b.Release(400)
		testkit.NoError(t, <-large)
	})
}

// Without a limit everything fits.
func TestSendBudgetWithoutLimit(t *testing.T) {
	t.Parallel()
	b := NewSendBudget(SendBudgetOptions{})
	for range 3 {
		testkit.NoError(t, b.TryReplace(1<<60, 0, nil))
	}
	if got := b.ReserveUpTo(100); got != 100 {
		t.Errorf("got %d bytes, want 100", got)
	}
}

func TestSendBudgetMetrics(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	b := NewSendBudget(SendBudgetOptions{Bytes: 1000, Registerer: registry})
	b.TryReplace(700, 0, nil)
	b.TryReplace(700, 0, nil)
	got := map[string]float64{}
	for _, family := range testkit.Must(registry.Gather())(t) {
		got[family.GetName()] = family.Metric[0].GetGauge().GetValue() + family.Metric[0].GetCounter().GetValue()
	}
	if got["imagestreamer_download_bytes"] != 700 || got["imagestreamer_refused_downloads_total"] != 1 {
		t.Errorf("got %v, want 700 bytes and one refusal", got)
	}
}

// What was released is collected before the budget lends more than its limit, unless the heap is small. No other test
// runs at the same time, whose memory would count.
func TestSendBudgetCollects(t *testing.T) {
	const size = 2 * smallHeap
	b := NewSendBudget(SendBudgetOptions{Bytes: size})
	for range 5 { // without a collection there would be 5 images in the heap
		testkit.NoError(t, b.TryReplace(size, 0, nil))
		if held := heapBytes(); held > 2*size {
			t.Errorf("%d bytes are in the heap before an image is loaded, want less than two images", held)
		}
		image := make([]byte, size)
		runtime.KeepAlive(image)
		b.Release(size)
	}
	before := b.garbage
	if b.Return(b.ReserveUpTo(1), 0); b.garbage > before {
		t.Errorf("bytes that were not loaded count as garbage")
	}
}

// A reservation gives way only where that makes the room, and only if its owner agrees.
func TestTryReplace(t *testing.T) {
	t.Parallel()
	const held = 600
	for _, row := range []struct {
		name     string
		size     int
		agrees   bool
		asked    bool
		reserved int64 // afterwards; held: the budget has no room
	}{
		{"beside it", 400, true, false, held + 400},
		{"in its place", 401, true, true, 401},
		{"all there is", 1 << 40, true, true, 1000},
		{"in use", 401, false, true, held},
	} {
		b := NewSendBudget(SendBudgetOptions{Bytes: 1000})
		testkit.NoError(t, b.TryReplace(held, 0, nil))
		asked := false
		err := b.TryReplace(row.size, held, func() bool { asked = true; return row.agrees })
		if asked != row.asked {
			t.Errorf("%s: asked to give up: %v", row.name, asked)
		}
		if row.reserved == held {
			wantNoRoom(t, err)
		} else {
			testkit.NoError(t, err)
		}
		wantReserved(t, b, row.name, row.reserved)
	}
	b := NewSendBudget(SendBudgetOptions{Bytes: 1000})
	testkit.NoError(t, b.TryReplace(500, 0, nil))
	testkit.NoError(t, b.TryReplace(500, 0, nil))
	wantNoRoom(t, b.TryReplace(501, 500, nil)) // 500 others would stay
}

// Where a large reservation gave way to a small one, those who wait get the rest.
func TestTryReplaceWakes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := NewSendBudget(SendBudgetOptions{Bytes: 1000})
		testkit.NoError(t, b.TryReplace(900, 0, nil))
		waiting := make(chan error, 1)
		go func() { waiting <- b.Reserve(t.Context(), 500) }()
		synctest.Wait()
		testkit.NoError(t, b.TryReplace(200, 900, func() bool { return true }))
		testkit.NoError(t, <-waiting)
		wantReserved(t, b, "both", 700)
	})
}
