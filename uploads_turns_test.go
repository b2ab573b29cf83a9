package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// turn is one who asks for bytes in TestUploadTurns.
type turn struct {
	*upload
	name string
	said chan string
}

func (u turn) ask(n int64) {
	go func() {
		if u.hold(n) == nil {
			u.said <- u.name
		} else {
			u.said <- u.name + " gives up"
		}
	}()
	synctest.Wait()
}

// Those who wait are served in turn, small ones too; who holds something goes before
// who holds nothing; who has waited 2 seconds for one image gives up, and what he
// held goes to the next.
func TestUploadTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		us, said := newUploads(10, bytesOf), make(chan string, 10)
		begin := func(name string) turn { return turn{&upload{uploads: us, ctx: t.Context()}, name, said} }
		want := func(want ...string) {
			t.Helper()
			synctest.Wait()
			var got []string
			for len(said) > 0 {
				got = append(got, <-said)
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		a, b, c, d, e := begin("a"), begin("b"), begin("c"), begin("d"), begin("e")
		a.ask(6)
		b.ask(3)
		want("a", "b")
		c.ask(8) // waits
		d.ask(1) // would fit, but waits behind it
		want()
		b.ask(4) // holds some
		want("b")
		time.Sleep(time.Second)
		b.ask(5)
		want()
		a.release()
		want("b")
		b.release()
		want("c", "d")
		time.Sleep(time.Hour)

		e.ask(99) // the most there can be
		time.Sleep(1500 * time.Millisecond)
		c.release()
		d.release()
		want("e")
		a.ask(1)
		time.Sleep(1900 * time.Millisecond)
		want()
		e.release()
		want("a")
		b.ask(9)
		want("b")
		a.ask(2) // it has 0.1 seconds left
		time.Sleep(99 * time.Millisecond)
		want()
		c.ask(1)
		time.Sleep(2 * time.Millisecond)
		want("a gives up", "c")
		b.ask(10)
		time.Sleep(2001 * time.Millisecond)
		want("b gives up")
		if us.leased != 1 || len(us.waiting) != 0 {
			t.Errorf("%d bytes held, %d wait, want 1, 0", us.leased, len(us.waiting))
		}
	})
}

// When all hold some and all want more, as few give up as have to.
func TestUploadLimitSparesMost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		us := newUploads(100, bytesOf)
		var all sync.WaitGroup
		var mu sync.Mutex
		done := 0
		for range 10 {
			all.Go(func() {
				u := &upload{uploads: us, ctx: t.Context()}
				defer u.release()
				var err error
				for n := int64(1); n <= 25 && err == nil; n++ {
					err = u.hold(n)
					time.Sleep(time.Millisecond)
				}
				if refused, ok := errors.AsType[*refusal](err); err == nil {
					mu.Lock()
					done++
					mu.Unlock()
				} else if !ok || refused.status != http.StatusServiceUnavailable {
					t.Errorf("got error %v", err)
				}
			})
		}
		all.Wait()
		if done < 4 || us.leased != 0 {
			t.Errorf("%d of 10 were done, 4 have room at once; %d bytes are held", done, us.leased)
		}
	})
}

// BenchmarkUpload is what the budget costs an image when nobody waits.
func BenchmarkUpload(b *testing.B) {
	room := make([]byte, 50_000)
	s := &server{uploads: newUploads(64<<20, func(size int) []byte { return room[:size] })}
	r := httptest.NewRequest("POST", "/", nil)
	b.ReportAllocs()
	for b.Loop() {
		up := s.begin(r, imagePace())
		if _, err := up.room(len(room)); err != nil {
			b.Fatal(err)
		}
		up.end()
	}
}
