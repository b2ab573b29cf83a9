package testkit

import (
	"sync/atomic"
	"testing"
	"time"
)

// Stopwatch measures time without the delays of a busy machine. A goroutine sleeps in short steps; by how much it
// oversleeps is what the machine delays everything else in the process as well. On an idle machine that is next to
// nothing, so a bound on Elapsed says there what a bound on the real time would say.
type Stopwatch struct {
	begun time.Time
	delay atomic.Int64 // by which the goroutine has overslept so far
}

const (
	stopwatchStep  = 5 * time.Millisecond
	stopwatchSlack = time.Millisecond // what a sleep takes too long on any machine
)

// StartStopwatch returns a Stopwatch that runs until the end of the test.
func StartStopwatch(t testing.TB) *Stopwatch {
	s := &Stopwatch{begun: time.Now()}
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	go func() {
		for before := time.Now(); ; {
			select {
			case <-done:
				return
			case <-time.After(stopwatchStep):
			}
			now := time.Now()
			if late := now.Sub(before) - stopwatchStep - stopwatchSlack; late > 0 {
				s.delay.Add(int64(late))
			}
			before = now
		}
	}()
	return s
}

// Elapsed returns the time since the start, less the delays of the machine.
func (s *Stopwatch) Elapsed() time.Duration {
	return time.Since(s.begun) - time.Duration(s.delay.Load())
}

// Lap is a moment on a Stopwatch.
type Lap struct {
	at    time.Time
	delay time.Duration
}

// Lap returns the present moment.
func (s *Stopwatch) Lap() Lap { return Lap{time.Now(), time.Duration(s.delay.Load())} }

// Since returns the time since an earlier moment, less the delays of the machine in between.
func (l Lap) Since(earlier Lap) time.Duration {
	return l.at.Sub(earlier.at) - (l.delay - earlier.delay)
}
