package queue

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const period = 10 * time.Second

// pollTest runs a test in a time of its own, in which nothing takes time but to sleep. Its recorder gets a call of a
// turn as "<name> <seconds since the start>".
func pollTest(t *testing.T, test func(t *testing.T, p *Poll, r *recorder, call func(name string) func())) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, begun := new(recorder), time.Now()
		test(t, NewPoll(period), r, func(name string) func() {
			return func() { r.add(fmt.Sprint(name, " ", int(time.Since(begun).Seconds()))) }
		})
	})
}

// sleepUntil sleeps until so many seconds after the start, and until the calls that are due have been made.
func sleepUntil(begun time.Time, seconds int) {
	time.Sleep(time.Until(begun.Add(time.Duration(seconds) * time.Second)))
	synctest.Wait()
}

// Each function has its own place in the period, and is called once in each.
func TestPollSpreads(t *testing.T) {
	pollTest(t, func(t *testing.T, p *Poll, r *recorder, call func(string) func()) {
		begun := time.Now()
		p.Every(call("a"))
		sleepUntil(begun, 3)
		p.Every(call("b"))
		sleepUntil(begun, 7)
		p.Every(call("c"))
		sleepUntil(begun, 9)
		r.want(t, "before the first period has passed")
		sleepUntil(begun, 20)
		r.want(t, "until 20 s", "a 10", "b 13", "c 17", "a 20")
		sleepUntil(begun, 39)
		r.want(t, "until 39 s", "b 23", "c 27", "a 30", "b 33", "c 37")
	})
}

func TestPollReset(t *testing.T) {
	pollTest(t, func(t *testing.T, p *Poll, r *recorder, call func(string) func()) {
		begun := time.Now()
		a := p.Every(call("a"))
		sleepUntil(begun, 2)
		p.Every(call("b"))
		sleepUntil(begun, 6)
		a.Reset()
		sleepUntil(begun, 15)
		r.want(t, "until 15 s", "b 12")
		a.Reset()
		sleepUntil(begun, 36)
		r.want(t, "until 36 s", "b 22", "a 25", "b 32", "a 35")
	})
}

func TestPollStop(t *testing.T) {
	pollTest(t, func(t *testing.T, p *Poll, r *recorder, call func(string) func()) {
		begun := time.Now()
		a, b := p.Every(call("a")), p.Every(call("b"))
		sleepUntil(begun, 10)
		r.want(t, "both", "a 10", "b 10")
		a.Stop()
		a.Stop()  // again: harmless
		a.Reset() // does not start it again
		sleepUntil(begun, 25)
		r.want(t, "a stopped", "b 20")
		b.Stop()
		sleepUntil(begun, 55)
		r.want(t, "both stopped")
		if p.timer != nil {
			t.Error("there is a timer, and nobody to call")
		}
		c := p.Every(call("c"))
		sleepUntil(begun, 66)
		r.want(t, "a new one", "c 65")
		c.Stop()
		sleepUntil(begun, 70) // the timer of c still runs
		p.Every(call("d"))
		sleepUntil(begun, 91)
		r.want(t, "the next one", "d 80", "d 90")
	})
}

// A function may stop its own turn and add others.
func TestPollFromWithin(t *testing.T) {
	pollTest(t, func(t *testing.T, p *Poll, r *recorder, call func(string) func()) {
		begun, turn := time.Now(), make(chan *Turn, 1)
		turn <- p.Every(func() {
			call("a")()
			(<-turn).Stop()
			p.Every(call("b"))
		})
		sleepUntil(begun, 35)
		r.want(t, "until 35 s", "a 10", "b 20", "b 30")
	})
}

func TestPollConcurrent(t *testing.T) {
	t.Parallel()
	p := NewPoll(time.Millisecond)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				called := make(chan struct{}, 1)
				turn := p.Every(func() {
					select {
					case called <- struct{}{}:
					default:
					}
				})
				<-called
				turn.Reset()
				<-called
				turn.Stop()
			}
		})
	}
	all.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.turns.Len(); n != 0 {
		t.Errorf("%d turns are left", n)
	}
}
