package queue

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeLister takes a second for each list, or as long as its context lasts.
type fakeLister struct {
	mu    sync.Mutex
	calls int
	fail  bool // the next list fails
	panic bool
}

func (l *fakeLister) Sessions(ctx context.Context) ([]Session, error) {
	l.mu.Lock()
	l.calls++
	calls, fail, broken := l.calls, l.fail, l.panic
	l.fail, l.panic = false, false
	l.mu.Unlock()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	switch {
	case broken:
		panic("a bug")
	case fail:
		return nil, ErrUnavailable
	}
	return []Session{{ID: "z"}, {ID: "a", Len: calls}}, nil
}

// listingTest runs a test in a time of its own, with a Listing that shares a list for a second.
func listingTest(t *testing.T, test func(t *testing.T, f *fakeLister, ask asker)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := new(fakeLister)
		l := NewListing(f, time.Second)
		test(t, f, func(ctx context.Context) <-chan string {
			answer := make(chan string, 1)
			go func() {
				defer func() {
					if recover() != nil {
						answer <- "panic"
					}
				}()
				sessions, err := l.Get(ctx)
				switch {
				case err != nil:
					answer <- err.Error()
				case !slices.IsSortedFunc(sessions, func(a, b Session) int { return int(a.ID[0]) - int(b.ID[0]) }):
					answer <- "not sorted"
				default:
					answer <- fmt.Sprint("list ", sessions[0].Len)
				}
			}()
			synctest.Wait()
			return answer
		})
	})
}

// asker asks for a list, and returns when it is on its way.
type asker func(ctx context.Context) (answer <-chan string)

func wantAnswer(t *testing.T, what string, answer <-chan string, want string) {
	t.Helper()
	if got := <-answer; got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// However many ask, one list is made at a time, and it is shared for a while.
func TestListingIsShared(t *testing.T) {
	listingTest(t, func(t *testing.T, f *fakeLister, ask asker) {
		var answers []<-chan string
		for range 16 {
			answers = append(answers, ask(t.Context()))
		}
		for i, answer := range answers {
			wantAnswer(t, fmt.Sprint("reader ", i), answer, "list 1")
		}
		time.Sleep(time.Second - 1)
		wantAnswer(t, "within a second", ask(t.Context()), "list 1")
		time.Sleep(time.Nanosecond)
		wantAnswer(t, "after a second", ask(t.Context()), "list 2")
		if f.calls != 2 {
			t.Errorf("got %d lists made, want 2", f.calls)
		}
	})
}

// A reader that hangs up gets no answer and takes it from nobody, whether or not it was the first.
func TestListingOutlivesReaders(t *testing.T) {
	listingTest(t, func(t *testing.T, f *fakeLister, ask asker) {
		ctx, cancel := context.WithCancel(t.Context())
		first, second, third := ask(ctx), ask(ctx), ask(t.Context())
		cancel()
		wantAnswer(t, "hung up, waiting", second, fmt.Errorf("%w: %w", ErrUnavailable, context.Canceled).Error())
		wantAnswer(t, "stayed", third, "list 1")
		<-first
		if f.calls != 1 {
			t.Errorf("got %d lists made, want 1", f.calls)
		}
	})
}

// A failure is shared as a list is. If the making panics, those who wait learn of it.
func TestListingFails(t *testing.T) {
	listingTest(t, func(t *testing.T, f *fakeLister, ask asker) {
		f.fail = true
		first, second := ask(t.Context()), ask(t.Context())
		wantAnswer(t, "first", first, ErrUnavailable.Error())
		wantAnswer(t, "second", second, ErrUnavailable.Error())
		wantAnswer(t, "within a second", ask(t.Context()), ErrUnavailable.Error())
		time.Sleep(time.Second)
		wantAnswer(t, "after a second", ask(t.Context()), "list 2")
		time.Sleep(time.Second)
		f.panic = true
		first, second = ask(t.Context()), ask(t.Context())
		wantAnswer(t, "the one that makes it", first, "panic")
		wantAnswer(t, "the one that waits", second, errCallPanicked.Error())
		time.Sleep(time.Second)
		wantAnswer(t, "later", ask(t.Context()), "list 4")
	})
}
