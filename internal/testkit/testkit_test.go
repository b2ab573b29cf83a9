package testkit

import (
	"errors"
	"testing"
	"time"
)

// On an idle machine a Stopwatch shows the real time, and it never shows more.
func TestStopwatch(t *testing.T) {
	t.Parallel()
	s, begun := StartStopwatch(t), time.Now()
	first := s.Lap()
	time.Sleep(50 * time.Millisecond)
	second, got, real := s.Lap(), s.Elapsed(), time.Since(begun)
	if got <= 0 || got > real+time.Millisecond {
		t.Errorf("got %s after %s", got, real)
	}
	if lap := second.Since(first); lap <= 0 || lap > real {
		t.Errorf("got a lap of %s within %s", lap, real)
	}
}

// A delay of the machine does not count, neither one that is over nor one that lasts.
func TestStopwatchLeavesOutDelays(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for what, s := range map[string]*Stopwatch{
		"over":  {begun: now.Add(-time.Minute), woken: now, delay: 59 * time.Second},
		"lasts": {begun: now.Add(-time.Minute), woken: now.Add(-59 * time.Second)},
	} {
		before := s.Lap()
		if got := s.Elapsed(); got < time.Second || got > 2*time.Second {
			t.Errorf("%s: got %s, want 1 s and a little", what, got)
		}
		s.wake()
		if got := s.Lap().Since(before); got > time.Second {
			t.Errorf("%s: the end of the step took %s", what, got)
		}
	}
}

func TestMust(t *testing.T) {
	t.Parallel()
	if got := Must(7, nil)(t); got != 7 {
		t.Errorf("got %d, want 7", got)
	}
	var r recorder
	Must(7, errors.New("an error"))(&r)
	if !r.ended {
		t.Error("an error did not end the test")
	}
}

// recorder is a test that records whether it was ended.
type recorder struct {
	testing.TB
	ended bool
}

func (r *recorder) Helper()      {}
func (r *recorder) Fatal(...any) { r.ended = true }
