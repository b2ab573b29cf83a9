package ingest

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// namedUpload is an upload that asks for bytes in TestBudgetOrder.
type namedUpload struct {
	*Upload
	name   string
	events chan string
}

// reserve asks for bytes, in the background. Its outcome is an event.
func (u namedUpload) reserve(n int64) {
	go func() {
		if u.Reserve(n) == nil {
			u.events <- u.name
		} else {
			u.events <- u.name + " gives up"
		}
	}()
	synctest.Wait()
}

// Waiters are served first come, first served, small requests too. An upload that holds bytes goes ahead of one that
// holds none. An upload that has waited 2 seconds for one image gives up, and what it held goes to the next one.
func TestBudgetOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		budget, events := NewBudget(BudgetOptions{Bytes: 10, Largest: 10, Buffer: bytesOf}), make(chan string, 10)
		begin := func(name string) namedUpload {
			return namedUpload{budget.Begin(t.Context(), ImageRate()), name, events}
		}
		want := func(want ...string) {
			t.Helper()
			synctest.Wait()
			var got []string
			for len(events) > 0 {
				got = append(got, <-events)
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		a, b, c, d, e := begin("a"), begin("b"), begin("c"), begin("d"), begin("e")
		a.reserve(6)
		b.reserve(3)
		want("a", "b")
		c.reserve(8) // waits
		d.reserve(1) // would fit, but waits behind c
		want()
		b.reserve(4) // holds some
		want("b")
		time.Sleep(time.Second)
		b.reserve(5)
		want()
		a.Release()
		want("b")
		b.Release()
		want("c", "d")
		time.Sleep(time.Hour)

		e.reserve(99) // the whole budget
		time.Sleep(1500 * time.Millisecond)
		c.Release()
		d.Release()
		want("e")
		a.reserve(1)
		time.Sleep(1900 * time.Millisecond)
		want()
		e.Release()
		want("a")
		b.reserve(9)
		want("b")
		a.reserve(2) // it has 0.1 seconds left
		time.Sleep(99 * time.Millisecond)
		want()
		c.reserve(1)
		time.Sleep(2 * time.Millisecond)
		want("a gives up", "c")
		b.reserve(10)
		time.Sleep(2001 * time.Millisecond)
		want("b gives up")
		if got := (Usage{Uploads: 5, Bytes: 1}); budget.Usage() != got {
			t.Errorf("got %+v, want %+v", budget.Usage(), got)
		}
	})
}

// An upload that changes to the other pool leaves bytes in its own, which serve the waiters at once.
func TestBudgetServesWhenPoolsChange(t *testing.T) {
	t.Parallel()
	const small = smallImage
	synctest.Test(t, func(t *testing.T) {
		budget := NewBudget(BudgetOptions{Bytes: 32 * small, Largest: small, Buffer: bytesOf}) // 4 are of the share
		begin := func(n int64) *Upload {
			u := budget.Begin(t.Context(), ImageRate())
			if err := u.Reserve(n); err != nil {
				t.Fatal(err)
			}
			return u
		}
		var all sync.WaitGroup
		reserve := func(u *Upload, n int64) {
			all.Go(func() {
				if err := u.Reserve(n); err != nil {
					t.Errorf("%d bytes: %v", n, err)
				}
			})
			synctest.Wait()
		}
		wantWaiting := func(when string, want int) {
			t.Helper()
			if got := budget.Usage().Waiting; got != want {
				t.Errorf("%s %d wait, want %d", when, got, want)
			}
		}

		most, last := begin(20*small), begin(6*small)
		grows, quick := begin(small), begin(small/2)
		reserve(grows, 2*small)
		wantWaiting("for bytes in common", 1)
		reserve(quick, small)
		wantWaiting("when a small one has gone from common to the share", 0)

		begin(small)
		begin(small)
		begin(small)
		reserve(budget.Begin(t.Context(), ImageRate()), 9*small)
		reserve(budget.Begin(t.Context(), ImageRate()), small)
		last.Release()
		wantWaiting("for bytes of the share, and many in common", 2)
		reserve(quick, 2*small)
		wantWaiting("when a small one has grown, and gone to common", 1)
		most.Release()
		all.Wait()
	})
}

// When all uploads hold bytes and all want more, as few give up as have to.
func TestBudgetSparesMost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		budget := NewBudget(BudgetOptions{Bytes: 100, Largest: 100, Buffer: bytesOf})
		var all sync.WaitGroup
		var mu sync.Mutex
		done := 0
		for range 10 {
			all.Go(func() {
				u := budget.Begin(t.Context(), ImageRate())
				defer u.End()
				var err error
				for n := int64(1); n <= 25 && err == nil; n++ {
					err = u.Reserve(n)
					time.Sleep(time.Millisecond)
				}
				if err == nil {
					mu.Lock()
					done++
					mu.Unlock()
				} else if statusOf(err) != http.StatusServiceUnavailable {
					t.Errorf("got error %v", err)
				}
			})
		}
		all.Wait()
		if got := budget.Usage(); done < 4 || got != (Usage{}) {
			t.Errorf("%d of 10 were done, 4 have room at once; the budget has %+v", done, got)
		}
	})
}

// The wait for bytes ends with the request.
func TestBudgetRequestEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		budget := NewBudget(BudgetOptions{Bytes: 10, Largest: 10, Buffer: bytesOf})
		first := budget.Begin(t.Context(), ImageRate())
		if err := first.Reserve(6); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		second := budget.Begin(ctx, ImageRate())
		begun := time.Now()
		err := second.Reserve(5)
		if statusOf(err) != http.StatusServiceUnavailable || time.Since(begun) != time.Second {
			t.Errorf("got error %v after %s, want status 503 after 1s", err, time.Since(begun))
		}
		second.End()
		if got, want := budget.Usage(), (Usage{Uploads: 1, Bytes: 6}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

// Metrics show the requests under way and the bytes that they hold.
func TestBudgetMetrics(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	budget := NewBudget(BudgetOptions{Bytes: 1000, Buffer: bytesOf, Registerer: registry})
	budget.Begin(t.Context(), ImageRate())
	u := budget.Begin(t.Context(), StreamRate())
	if image := testkit.Must(u.Buffer(700))(t); len(image) != 700 {
		t.Errorf("got a buffer of %d bytes, want 700", len(image))
	}
	got := map[string]float64{}
	for _, family := range testkit.Must(registry.Gather())(t) {
		got[family.GetName()] = family.GetMetric()[0].GetGauge().GetValue()
	}
	want := map[string]float64{"imagestreamer_uploads": 2, "imagestreamer_upload_bytes": 700}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// BenchmarkUpload is what the budget costs an image when no upload waits.
func BenchmarkUpload(b *testing.B) {
	room := make([]byte, 50_000)
	budget := NewBudget(BudgetOptions{Bytes: 64 << 20, Buffer: func(size int) []byte { return room[:size] }})
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		u := budget.Begin(ctx, ImageRate())
		if _, err := u.Buffer(len(room)); err != nil {
			b.Fatal(err)
		}
		u.End()
	}
}
