package main

import (
	"crypto/rand"
	"strconv"
	"sync"
)

// caller numbers the calls that it makes, one at a time. Redis remembers the last
// one of each caller and its answer, for each session: so it knows a call that
// arrives again, and one that arrives late.
type caller struct {
	name string
	call int64
	idle bool
}

// ticket is one call of a caller.
type ticket struct {
	caller *caller
	call   int64
}

// id names the image that the call pushes, or the bytes that it pops.
func (t ticket) id() string { return t.caller.name + "-" + strconv.FormatInt(t.call, 10) }

// callers lends callers to calls: as many as calls are open at once, the same ones
// again and again, so that a session has few of them to remember.
type callers struct {
	prefix string // no other process has it

	mu   sync.Mutex
	idle []*caller
	made int
}

func newCallers() *callers { return &callers{prefix: rand.Text()[:8]} }

// begin starts a call of an idle caller.
func (cs *callers) begin() ticket {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if len(cs.idle) == 0 {
		cs.made++
		cs.idle = append(cs.idle, &caller{name: cs.prefix + strconv.Itoa(cs.made)})
	}
	last := len(cs.idle) - 1
	c := cs.idle[last]
	cs.idle = cs.idle[:last]
	c.idle = false
	c.call++
	return ticket{c, c.call}
}

// end takes the caller back: its call is answered and settled, or undone. Ending a
// call twice does nothing.
func (cs *callers) end(t ticket) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c := t.caller; !c.idle && c.call == t.call {
		c.idle = true
		cs.idle = append(cs.idle, c)
	}
}
