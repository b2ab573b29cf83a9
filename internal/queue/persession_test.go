package queue

import (
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

func TestPerSessionStartsAndStops(t *testing.T) {
	t.Parallel()
	r, made := new(recorder), 0
	p := NewPerSession(func(session string) (value int, stop func()) {
		made++
		value = made
		r.add("start " + session)
		return value, func() { r.add("stop " + session + " " + strconv.Itoa(value)) }
	})
	wantFind := func(session string, value int) {
		t.Helper()
		if got, ok := p.Find(session); got != value || ok != (value > 0) {
			t.Errorf("find %s: got %d, %v, want %d", session, got, ok, value)
		}
	}
	wantFind("a", 0)
	first, leaveFirst := p.Join("a")
	r.want(t, "the first user", "start a")
	second, leaveSecond := p.Join("a")
	r.want(t, "the second user")
	other, leaveOther := p.Join("b")
	r.want(t, "another session", "start b")
	if first != 1 || second != 1 || other != 2 {
		t.Errorf("got values %d, %d of a and %d of b, want 1, 1, 2", first, second, other)
	}
	wantFind("a", 1)
	wantFind("b", 2)
	if got := slices.Sorted(slices.Values(p.Sessions())); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("got sessions %q, want a and b", got)
	}

	leaveFirst()
	leaveFirst() // again: harmless
	r.want(t, "one user left")
	wantFind("a", 1)
	leaveSecond()
	r.want(t, "the last user left", "stop a 1")
	wantFind("a", 0)
	third, leaveThird := p.Join("a")
	r.want(t, "a user comes again", "start a")
	leaveFirst()
	leaveSecond() // both have left already: harmless to the new value
	wantFind("a", third)
	leaveThird()
	leaveOther()
	r.want(t, "the last users left", "stop a 3", "stop b 2")
	if got := p.Sessions(); len(got) > 0 {
		t.Errorf("got sessions %q, want none", got)
	}
}

// However users come and go, a session has one value at a time, and each user has the value that is current.
func TestPerSessionConcurrent(t *testing.T) {
	t.Parallel()
	const users, rounds, sessions = 8, 500, 3
	var current [sessions]atomic.Pointer[atomic.Bool] // whether the value has stopped
	var starts, stops atomic.Int64
	p := NewPerSession(func(session string) (value *atomic.Bool, stop func()) {
		starts.Add(1)
		value = new(atomic.Bool)
		i := session[0] - '0'
		if !current[i].CompareAndSwap(nil, value) {
			t.Errorf("session %s: started twice", session)
		}
		return value, func() {
			stops.Add(1)
			value.Store(true)
			if !current[i].CompareAndSwap(value, nil) {
				t.Errorf("session %s: stopped another value", session)
			}
		}
	})
	var all sync.WaitGroup
	for user := range users {
		all.Go(func() {
			for round := range rounds {
				session := strconv.Itoa((user + round) % sessions)
				value, leave := p.Join(session)
				if found, ok := p.Find(session); !ok || found != value || value.Load() {
					t.Errorf("session %s: the value of a user is not current", session)
				}
				leave()
			}
		})
	}
	all.Wait()
	if starts.Load() != stops.Load() || len(p.Sessions()) > 0 {
		t.Errorf("got %d starts, %d stops, sessions %q, want as many stops and no session",
			starts.Load(), stops.Load(), p.Sessions())
	}
}
