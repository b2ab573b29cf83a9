package redisqueue

import (
	"crypto/rand"
	"strconv"
	"sync"
)

// client is an identity under which this process calls Redis: it makes one call at a time, and numbers its calls. For
// each session Redis remembers the last call of a client with its reply: a call that arrives again has no further
// effect, and a call that arrives after a later one has none at all.
type client struct {
	name string
	call int64 // the number of its last call
	idle bool
}

// callID is one call of a client. A call that is repeated under its callID is idempotent.
type callID struct {
	client *client
	call   int64
}

// String names the image that the call pushes, or the bytes that it takes.
func (id callID) String() string { return id.client.name + "-" + strconv.FormatInt(id.call, 10) }

// callIDs lends clients to calls. It makes a new client only when all others are lent, so that a session has to keep
// few records.
type callIDs struct {
	prefix string // no other process has it

	mu   sync.Mutex
	idle []*client
	made int
}

func newCallIDs() *callIDs { return &callIDs{prefix: rand.Text()[:8]} }

// begin starts a call of an idle client.
func (cs *callIDs) begin() callID {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if len(cs.idle) == 0 {
		cs.made++
		cs.idle = append(cs.idle, &client{name: cs.prefix + strconv.Itoa(cs.made)})
	}
	last := len(cs.idle) - 1
	c := cs.idle[last]
	cs.idle = cs.idle[:last]
	c.idle = false
	c.call++
	return callID{c, c.call}
}

// end takes the client back: its call has been answered and its delivery has ended, or the call has been undone.
// Ending a call twice does nothing.
func (cs *callIDs) end(id callID) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c := id.client; !c.idle && c.call == id.call {
		c.idle = true
		cs.idle = append(cs.idle, c)
	}
}
