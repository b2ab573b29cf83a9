package redisqueue

import (
	"crypto/rand"
	"errors"
	"strconv"
	"sync"
)

// client is an identity under which this process calls Redis: it makes one call at a time, and numbers its calls. For
// each session Redis remembers the last call of a client with its reply: a call that arrives again has no further
// effect, and a call that arrives after a later one has none at all.
type client struct {
	name string
	wire []byte // the name, as it is written
	home keys   // the bucket in whose sessions it makes its calls
	call int64  // the number of its last call
	idle bool
	// unanswered is how many attempts of its last call were written to a connection and got no reply. Such an attempt
	// may have run, or may still run. One that found no connection, or whose connection was not opened to the end of
	// the handshake, is not among them.
	unanswered int
}

// MarshalBinary returns the client's name as an argument of a script. go-redis calls it when it writes a call to a
// connection, and that is how an attempt is known to be on its way.
func (c *client) MarshalBinary() ([]byte, error) {
	c.unanswered++
	return c.wire, nil
}

// attempt makes an attempt of the client's last call, and notes whether it was answered.
func (c *client) attempt(send func() error) error {
	before := c.unanswered
	err := send()
	if c.unanswered > before && (err == nil || errors.Is(err, errRetry) || refused(err)) {
		c.unanswered--
	}
	return err
}

// callID is one call of a client. A call that is repeated under its callID is idempotent.
type callID struct {
	client *client
	call   int64
}

// String names the image that the call pushes, or the bytes that it takes.
func (id callID) String() string { return id.client.name + "-" + strconv.FormatInt(id.call, 10) }

// callIDs lends clients to calls. A session remembers a call of each client that has ever called it, so there should be
// few: a client keeps to one bucket, and a new one is made only when all others of the bucket are lent.
type callIDs struct {
	prefix string // no other process has it

	mu   sync.Mutex
	idle map[keys][]*client
	made int
}

func newCallIDs() *callIDs { return &callIDs{prefix: rand.Text()[:8], idle: map[keys][]*client{}} }

// reserved returns a call of a client of its own, which changes nothing and is never undone.
func (cs *callIDs) reserved() callID {
	name := cs.prefix + "0" // the others count from 1
	return callID{&client{name: name, wire: []byte(name)}, 1}
}

// begin starts a call of an idle client, to a session of a bucket.
func (cs *callIDs) begin(bucket keys) callID {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	idle := cs.idle[bucket]
	if len(idle) == 0 {
		cs.made++
		name := cs.prefix + strconv.Itoa(cs.made)
		idle = append(idle, &client{name: name, wire: []byte(name), home: bucket})
	}
	last := len(idle) - 1
	c := idle[last]
	cs.idle[bucket] = idle[:last]
	c.idle = false
	c.call++
	c.unanswered = 0
	return callID{c, c.call}
}

// end takes the client back: its call has been answered and its delivery has ended, or the call has been undone.
// Ending a call twice does nothing.
func (cs *callIDs) end(id callID) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c := id.client; !c.idle && c.call == id.call {
		c.idle = true
		cs.idle[c.home] = append(cs.idle[c.home], c)
	}
}
