package testkit

import (
	"sync"
	"testing"
	"time"
)

// Stopwatch measures time without the delays of a busy machine. A goroutine sleeps in short steps; by how much it
// oversleeps is what the machine delays everything else in the process as well. On an idle machine that is next to
// nothing, so a bound on Elapsed says there what a bound on the real time would say.
type Stopwatch struct {
	begun time.Time

	mu    sync.Mutex
	woken time.Time     // when the goroutine woke up last
	delay time.Duration // by which it had overslept until then
}

const (
	stopwatchStep  = 5 * time.Millisecond
	stopwatchSlack = time.Millisecond // what a sleep takes too long on any machine
)

// StartStopwatch returns a Stopwatch that runs until the end of the test.
func StartStopwatch(t testing.TB) *Stopwatch {
	now := time.Now()
	s := &Stopwatch{begun: now, woken: now}
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(stopwatchStep):
				s.wake()
			}
		}
	}()
	return s
}

// wake ends a step.
func (s *Stopwatch) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.delay += s.overslept(now)
	s.woken = now
}

// overslept returns by how much the step under way is too long.
func (s *Stopwatch) overslept(now time.Time) time.Duration {
	return max(0, now.Sub(s.woken)-stopwatchStep-stopwatchSlack)
}

// Elapsed returns the time since the start, less the delays of the machine.
func (s *Stopwatch) Elapsed() time.Duration { return s.Lap().Since(Lap{at: s.begun}) }

// Lap is a moment on a Stopwatch.
type Lap struct {
	at    time.Time
	delay time.Duration
}

// Lap returns the present moment.
func (s *Stopwatch) Lap() Lap {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	return Lap{now, s.delay + s.overslept(now)}
}

// Since returns the time since an earlier moment, less the delays of the machine in between.
func (l Lap) Since(earlier Lap) time.Duration {
	return l.at.Sub(earlier.at) - l.DelayedSince(earlier)
}

// DelayedSince returns by how much the machine delayed everything since an earlier moment.
func (l Lap) DelayedSince(earlier Lap) time.Duration { return l.delay - earlier.delay }
