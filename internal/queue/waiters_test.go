package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// waitersTest runs a test in a time of its own, in which nothing takes time but to sleep. What is seen before the test
// sleeps was not brought about by the poll.
func waitersTest(t *testing.T, test func(t *testing.T, w *waitersFixture)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQueue()
		w := &waitersFixture{fakeQueue: q, ws: NewWaiters(q, NewPoll(period)), served: new(recorder)}
		test(t, w)
		synctest.Wait()
		if n := w.ws.Len("s"); n != 0 || q.first != q.last || len(q.subscribers.Sessions()) > 0 {
			t.Errorf("at the end %d wait, %d subscriptions, %d of them canceled", n, q.first, q.last)
		}
	})
}

// waitersFixture is a queue with consumers that wait for session s.
type waitersFixture struct {
	*fakeQueue
	ws     *Waiters
	served *recorder // gets "<consumer> <image or error>"
}

// wait starts a consumer and returns when it waits or has been served.
func (w *waitersFixture) wait(ctx context.Context, consumer string) { w.start(ctx, consumer, w.ws.Pop) }

// try starts a consumer that does not wait, and returns when it has been served or waits for its turn.
func (w *waitersFixture) try(ctx context.Context, consumer string) {
	w.start(ctx, consumer, w.ws.TryPop)
}

func (w *waitersFixture) start(
	ctx context.Context, consumer string, pop func(ctx context.Context, session string) (Delivery, error),
) {
	go func() {
		d, err := pop(ctx, "s")
		if err != nil {
			w.served.add(consumer + " " + err.Error())
			return
		}
		w.served.add(consumer + " " + string(d.Data))
	}()
	synctest.Wait()
}

// want checks which consumers were served since the last want.
func (w *waitersFixture) want(t *testing.T, what string, served ...string) {
	t.Helper()
	synctest.Wait()
	w.served.want(t, what, served...)
}

func TestWaitersFindImage(t *testing.T) {
	waitersTest(t, func(t *testing.T, w *waitersFixture) {
		w.store("image")
		w.wait(t.Context(), "a")
		w.want(t, "an image is there", "a image")
		w.wantPops(t, 1)
	})
}

// Consumers are served in the order in which they came, and an image costs one pop, however many wait.
func TestWaitersOrder(t *testing.T) {
	waitersTest(t, func(t *testing.T, w *waitersFixture) {
		const consumers = 20
		for i := range consumers {
			w.wait(t.Context(), fmt.Sprint(i))
		}
		if n := w.ws.Len("s"); n != consumers {
			t.Errorf("%d wait, want %d", n, consumers)
		}
		w.wantPops(t, 1) // the first looked at once; a later one would overtake it
		for i := range consumers {
			w.push("s", fmt.Sprint("image", i))
			w.want(t, fmt.Sprint("push ", i), fmt.Sprintf("%d image%d", i, i))
			w.wantPops(t, 1+i+1)
		}
	})
}

// A consumer that comes while others wait does not look at the queue: it would overtake them.
func TestWaitersAreNotOvertaken(t *testing.T) {
	waitersTest(t, func(t *testing.T, w *waitersFixture) {
		w.wait(t.Context(), "a")
		w.store("image") // a will be woken for it in a moment
		w.wait(t.Context(), "b")
		w.want(t, "b came")
		w.push("s", "another")
		synctest.Wait()
		if served := w.served.take(); len(served) != 2 || served[0] != "a image" {
			t.Errorf("got %q, want a served first", served)
		}
	})
}

// A consumer that does not wait takes what nobody else waits for: it overtakes nobody, not even while an image is there
// for which nobody was woken yet.
func TestWaitersAreNotOvertakenByATry(t *testing.T) {
	waitersTest(t, func(t *testing.T, w *waitersFixture) {
		empty := " " + ErrEmpty.Error()
		w.store("0")
		w.try(t.Context(), "alone")
		w.want(t, "nobody waits", "alone 0")
		w.wantPops(t, 1)
		for _, consumer := range []string{"a", "b", "c"} {
			w.wait(t.Context(), consumer)
		}
		w.try(t.Context(), "x")
		w.want(t, "an empty queue", "x"+empty)
		w.wantPops(t, 1+1+1) // a at first, and a for x
		w.store("1")         // a will be woken for it in a moment
		w.try(t.Context(), "x")
		w.want(t, "one image", "a 1", "x"+empty)
		w.wantPops(t, 3+1)
		w.store("2", "3", "4", "5")
		w.try(t.Context(), "x")
		w.want(t, "more images than consumers", "b 2", "c 3", "x 4")
		w.try(t.Context(), "x")
		w.want(t, "nobody waits anymore", "x 5")
	})
}

// What a pop found does not count for a consumer that came after the pop began.
func TestWaitersTryDuringAPop(t *testing.T) {
	waitersTest(t, func(t *testing.T, w *waitersFixture) {
		w.wait(t.Context(), "a")
		w.store("1")
		w.hold = make(chan struct{})
		w.subscribers.Missed("s") // a pops, and takes the only image
		synctest.Wait()
		w.store("2")
		w.try(t.Context(), "x")
		w.want(t, "the pop of a is on its way")
		close(w.hold)
		w.want(t, "both have one", "a 1", "x 2")
	})
}

// A consumer that does not wait is served although all before it leave without a pop, or with an error.
func TestWaitersTryIsNotForgotten(t *testing.T) {
	waitersTest(t, func(t *testing.T, w *waitersFixture) {
		ctx, cancel := context.WithCancel(t.Context())
		w.wait(ctx, "a")
		w.hold = make(chan struct{})
		w.subscribers.Missed("s")
		synctest.Wait()
		w.try(t.Context(), "x")
		w.store("1")
		w.fail(fmt.Errorf("pop: %w", ErrUnavailable))
		cancel()
		close(w.hold)
		synctest.Wait()
		for _, served := range w.served.take() {
			if served != "a "+ErrEmpty.Error() && served != "x pop: "+ErrUnavailable.Error() {
				t.Errorf("got %q", served)
			}
		}
		if n := w.ws.Len("s"); n != 0 {
			t.Errorf("%d wait, want none", n)
		}
	})
}

// A consumer whose pop fails leaves the image to the next one, which gets it at once. Who takes a turn behind both is
// not forgotten either.
func TestWaitersPassOnAfterAnError(t *testing.T) {
	waitersTest(t, func(t *testing.T, w *waitersFixture) {
		refused := errors.New("no room")
		w.wait(t.Context(), "a")
		w.wait(t.Context(), "b")
		w.hold = make(chan struct{})
		w.fail(refused)
		w.try(t.Context(), "x") // a pops
		w.fail(nil)
		w.store("1")
		close(w.hold)
		synctest.Wait()
		got := slices.Sorted(slices.Values(w.served.take()))
		if want := []string{"a no room", "b 1", "x " + ErrEmpty.Error()}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// While the engine does not answer, those who do not wait are told so at once, and not after one pop each.
func TestWaitersTryIsToldOfAnOutage(t *testing.T) {
	waitersTest(t, func(t *testing.T, w *waitersFixture) {
		w.wait(t.Context(), "a")
		w.hold = make(chan struct{})
		w.fail(fmt.Errorf("pop: %w", ErrUnavailable))
		w.subscribers.Missed("s")
		synctest.Wait()
		var want []string
		for i := range 20 {
			w.try(t.Context(), fmt.Sprint("x", i))
			want = append(want, fmt.Sprintf("x%d pop: %s", i, ErrUnavailable))
		}
		want = slices.Sorted(slices.Values(append(want, "a pop: "+ErrUnavailable.Error())))
		close(w.hold)
		synctest.Wait()
		if got := slices.Sorted(slices.Values(w.served.take())); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		w.wantPops(t, 1+1) // a's
	})
}

// A consumer that finds more than its image wakes the next one.
func TestWaitersWakeNextForMore(t *testing.T) {
	waitersTest(t, func(t *testing.T, w *waitersFixture) {
		for _, consumer := range []string{"a", "b", "c"} {
			w.wait(t.Context(), consumer)
		}
		w.store("1", "2")
		w.push("s", "3") // one notification for three images
		synctest.Wait()
		w.wantPops(t, 1+3)
		if served := w.served.take(); len(served) != 3 {
			t.Errorf("got %q, want three consumers served", served)
		}
	})
}

// A consumer that was woken and leaves passes that on. Nobody but the first is woken.
func TestWaitersPassOn(t *testing.T) {
	t.Parallel()
	l := new(waitList)
	a, b, c := l.add(true), l.add(true), l.add(true)
	want := func(what string, woken ...int) {
		t.Helper()
		if got := []int{len(a.ready), len(b.ready), len(c.ready)}; !slices.Equal(got, woken) {
			t.Errorf("%s: got %v woken, want %v", what, got, woken)
		}
	}
	want("at first", 1, 0, 0)
	<-a.ready // used
	l.wakeFirst()
	l.wakeFirst()
	want("two wakes", 1, 0, 0)
	l.remove(b)
	want("the second left", 1, 0, 0)
	l.remove(a)
	want("the first left", 1, 0, 1)
	<-a.ready
	<-c.ready // used
	l.remove(c)
	want("all left", 0, 0, 0)
	l.wakeFirst() // nobody to wake
	want("nobody waits", 0, 0, 0)
}

// ending is a context that has ended before its Done channel is closed: a consumer sees it only when it is woken.
type ending struct {
	context.Context
	ended atomic.Bool
}

func (c *ending) Err() error {
	if c.ended.Load() {
		return context.Canceled
	}
	return c.Context.Err()
}

// A consumer whose time is up as it is woken passes that on too.
func TestWaitersPassOnAtTheEnd(t *testing.T) {
	waitersTest(t, func(t *testing.T, w *waitersFixture) {
		ctx := &ending{Context: t.Context()}
		w.wait(ctx, "a")
		w.wait(t.Context(), "b")
		ctx.ended.Store(true)
		w.push("s", "image")
		synctest.Wait()
		got := slices.Sorted(slices.Values(w.served.take()))
		if want := []string{"a " + ErrEmpty.Error(), "b image"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// No image waits together with a consumer, though others leave as it comes.
func TestWaitersLeave(t *testing.T) {
	waitersTest(t, func(t *testing.T, w *waitersFixture) {
		for range 200 {
			ctx, cancel := context.WithCancel(t.Context())
			w.wait(ctx, "left")
			w.wait(t.Context(), "stayed")
			go cancel()
			go w.push("s", "image")
			synctest.Wait()
			if len(w.images) > 0 {
				t.Fatal("an image waits, and so does a consumer")
			}
			if w.ws.Len("s") > 0 { // the image went to the one that left
				w.push("s", "another")
				synctest.Wait()
			}
			if n := w.ws.Len("s"); n != 0 {
				t.Fatalf("%d wait, want none", n)
			}
		}
	})
}

// The poll makes up for a notification that got lost.
func TestWaitersPoll(t *testing.T) {
	waitersTest(t, func(t *testing.T, w *waitersFixture) {
		w.wait(t.Context(), "a")
		w.wait(t.Context(), "b")
		w.store("1")
		w.want(t, "nobody was notified")
		time.Sleep(period)
		w.want(t, "after a period", "a 1")
		w.wantPops(t, 2)
		w.store("2")
		time.Sleep(period)
		w.want(t, "after another one", "b 2")
		w.wantPops(t, 3)
	})
}

// Missed wakes a consumer, as an image does.
func TestWaitersMissed(t *testing.T) {
	waitersTest(t, func(t *testing.T, w *waitersFixture) {
		w.wait(t.Context(), "a")
		w.store("1")
		w.subscribers.Missed("s")
		w.want(t, "one may have come", "a 1")
	})
}

func TestWaitersEnd(t *testing.T) {
	waitersTest(t, func(t *testing.T, w *waitersFixture) {
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		w.wait(ended, "late")
		w.want(t, "no time", "late "+ErrEmpty.Error())
		w.wantPops(t, 0)

		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w.wait(short, "short")
		w.want(t, "waiting")
		time.Sleep(time.Second)
		w.want(t, "its time is up", "short "+ErrEmpty.Error())
	})
}

// Another error than ErrEmpty ends the wait.
func TestWaitersError(t *testing.T) {
	waitersTest(t, func(t *testing.T, w *waitersFixture) {
		w.wait(t.Context(), "a")
		w.fail(fmt.Errorf("pop: %w", ErrUnavailable))
		w.push("s", "image")
		w.want(t, "the engine is away", "a pop: "+ErrUnavailable.Error())
		if _, err := w.ws.Pop(t.Context(), "s"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("got error %v, want ErrUnavailable", err)
		}
	})
}

// All who wait for a session share a subscription, which ends with the last of them.
func TestWaitersSubscribeOnce(t *testing.T) {
	waitersTest(t, func(t *testing.T, w *waitersFixture) {
		for round := range 3 {
			for _, consumer := range []string{"a", "b", "c"} {
				w.wait(t.Context(), consumer)
			}
			if w.first != round+1 || w.last != round {
				t.Errorf("round %d: got %d subscriptions, %d canceled", round, w.first, w.last)
			}
			for i, consumer := range []string{"a", "b", "c"} {
				w.push("s", fmt.Sprint(i))
				w.want(t, "push", consumer+" "+fmt.Sprint(i))
			}
			time.Sleep(period) // the turn has stopped: nothing is popped
			w.wantPops(t, (1+3)*(round+1))
		}
	})
}
