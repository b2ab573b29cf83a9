package queue

import (
	"fmt"
	"slices"
	"sync"
	"testing"
)

func TestSubscribers(t *testing.T) {
	t.Parallel()
	sessions := new(recorder)
	ss := NewSubscribers(
		func(session string) { sessions.add("first " + session) },
		func(session string) { sessions.add("last " + session) },
	)
	one, two, other := new(recorder), new(recorder), new(recorder)
	pushed := func(session string, sequence int64) { ss.Pushed(Ref{Session: session, Sequence: sequence}) }

	pushed("a", 1)
	ss.Missed("a")
	cancelOne := ss.Add("a", one)
	cancelTwo := ss.Add("a", two)
	cancelOther := ss.Add("b", other)
	sessions.want(t, "subscribed", "first a", "first b")
	if got := ss.Sessions(); len(got) != 2 {
		t.Errorf("got sessions %q, want a and b", got)
	}

	pushed("a", 2)
	ss.Missed("a")
	pushed("c", 1)
	for _, r := range []*recorder{one, two} {
		r.want(t, "subscribers of a", "pushed a/2", "missed")
	}
	other.want(t, "a subscriber of b")

	cancelOne()
	cancelOne() // again: harmless
	sessions.want(t, "one of two canceled")
	pushed("a", 3)
	one.want(t, "canceled")
	two.want(t, "the one that is left", "pushed a/3")
	cancelTwo()
	cancelOther()
	sessions.want(t, "all canceled", "last a", "last b")
	pushed("a", 4)
	ss.Missed("b")
	two.want(t, "canceled")
	other.want(t, "canceled")

	again, more := ss.Add("a", one), ss.Add("a", one)
	pushed("a", 5)
	one.want(t, "subscribed twice", "pushed a/5", "pushed a/5")
	again()
	pushed("a", 6)
	one.want(t, "subscribed once more", "pushed a/6")
	more()
	sessions.want(t, "subscribed again and canceled", "first a", "last a")
}

// A subscriber is informed of what is pushed between Add and cancel, whatever others do at the same time.
func TestSubscribersConcurrent(t *testing.T) {
	t.Parallel()
	ss := NewSubscribers(func(string) {}, func(string) {})
	var all sync.WaitGroup
	for user := range 8 {
		all.Go(func() {
			session := fmt.Sprint(user % 2)
			for round := range 200 {
				r := new(recorder)
				cancel := ss.Add(session, r)
				mine := int64(1000*user + round)
				ss.Pushed(Ref{Session: session, Sequence: mine})
				ss.Missed(fmt.Sprint((user + 1) % 2))
				cancel()
				if got, want := r.take(), fmt.Sprintf("pushed %s/%d", session, mine); !slices.Contains(got, want) {
					t.Errorf("got calls %q, want %q among them", got, want)
				}
			}
		})
	}
	all.Wait()
	if got := ss.Sessions(); len(got) > 0 {
		t.Errorf("got sessions %q, want none", got)
	}
}
