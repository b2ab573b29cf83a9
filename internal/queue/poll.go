package queue

import (
	"container/list"
	"sync"
	"time"
)

// Poll calls functions once in a period each. It makes up for notifications that got lost: one Poll serves all who
// wait in a process, with one timer, and spreads their calls over the period.
type Poll struct {
	period time.Duration

	mu    sync.Mutex
	turns list.List   // of *Turn, the next one first
	timer *time.Timer // nil while there are no turns
}

// Turn is one function of a Poll.
type Turn struct {
	poll  *Poll
	call  func()
	due   time.Time
	place *list.Element // nil once it has stopped
}

// NewPoll returns a Poll without functions.
func NewPoll(period time.Duration) *Poll { return &Poll{period: period} }

// Every calls a function once in a period, the first time when one has passed, until Stop is called. The function
// must not block.
func (p *Poll) Every(call func()) *Turn {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := &Turn{poll: p, call: call, due: time.Now().Add(p.period)}
	t.place = p.turns.PushBack(t)
	if p.timer == nil {
		p.timer = time.AfterFunc(p.period, p.run)
	}
	return t
}

// Reset puts the next call off: a whole period passes before it.
func (t *Turn) Reset() {
	t.poll.mu.Lock()
	defer t.poll.mu.Unlock()
	t.reset(time.Now())
}

func (t *Turn) reset(now time.Time) {
	if t.place != nil {
		t.due = now.Add(t.poll.period)
		t.poll.turns.MoveToBack(t.place)
	}
}

// Stop ends the calls. A call that is due already may still be made.
func (t *Turn) Stop() {
	t.poll.mu.Lock()
	defer t.poll.mu.Unlock()
	if t.place != nil {
		t.poll.turns.Remove(t.place)
		t.place = nil
	}
}

// run makes the calls that are due.
func (p *Poll) run() {
	for _, call := range p.next() {
		call()
	}
}

// next returns the calls that are due, and sets the timer for those that are not.
func (p *Poll) next() (calls []func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for e := p.turns.Front(); e != nil; e = p.turns.Front() {
		t := e.Value.(*Turn)
		if early := t.due.Sub(now); early > 0 {
			p.timer.Reset(early)
			return calls
		}
		calls = append(calls, t.call)
		t.reset(now)
	}
	p.timer = nil
	return calls
}
