package queue

import "sync"

// Subscribers informs the subscribers of each session. It is the part of Subscribe that every engine needs.
type Subscribers struct {
	sets *PerSession[*subscriberSet]
}

// subscriberSet has the subscribers of one session.
type subscriberSet struct {
	mu  sync.RWMutex
	all map[*Subscriber]bool // by pointer: a Subscriber may be added twice, and need not be comparable
}

// NewSubscribers returns an empty registry. first is called when a session gets its first subscriber, last when it
// has lost the last one.
func NewSubscribers(first, last func(session string)) *Subscribers {
	return &Subscribers{sets: NewPerSession(func(session string) (set *subscriberSet, stop func()) {
		first(session)
		return &subscriberSet{all: map[*Subscriber]bool{}}, func() { last(session) }
	})}
}

// Add registers a subscriber of a session until cancel is called.
func (ss *Subscribers) Add(session string, s Subscriber) (cancel func()) {
	set, leave := ss.sets.Join(session)
	set.mu.Lock()
	defer set.mu.Unlock()
	set.all[&s] = true
	return func() {
		set.mu.Lock()
		delete(set.all, &s)
		set.mu.Unlock()
		leave()
	}
}

// Pushed informs the subscribers of an image's session.
func (ss *Subscribers) Pushed(ref Ref) {
	ss.each(ref.Session, func(s Subscriber) { s.Pushed(ref) })
}

// Missed informs the subscribers of a session that it may have images they do not know.
func (ss *Subscribers) Missed(session string) { ss.each(session, Subscriber.Missed) }

func (ss *Subscribers) each(session string, inform func(Subscriber)) {
	set, ok := ss.sets.Find(session)
	if !ok {
		return
	}
	set.mu.RLock()
	defer set.mu.RUnlock()
	for s := range set.all {
		inform(*s)
	}
}

// Sessions returns the sessions that have subscribers.
func (ss *Subscribers) Sessions() []string { return ss.sets.Sessions() }
