package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// ledger notes what was pushed and what was delivered, and finds the difference.
type ledger struct {
	mu        sync.Mutex
	pushed    map[string]bool // payload id -> acknowledged
	delivered map[string]int
	damaged   int
	misplaced int
	failures  int // calls that returned an error
}

func newLedger() *ledger {
	return &ledger{pushed: map[string]bool{}, delivered: map[string]int{}}
}

// load says how to exercise an engine.
type load struct {
	sessions  []string
	producers int
	consumers int
	images    int // of each producer
	refuse    int // one delivery in so many is given back; 0: none
	size      int // bytes of an image, beyond its label
	think     time.Duration
	heal      func() // called before the queues are drained
}

// run pushes and pops side by side, then drains the queues.
func (l *ledger) run(t *testing.T, e engine, d load) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	var producing, consuming sync.WaitGroup
	var over atomic.Bool
	for p := range d.producers {
		producing.Go(func() {
			for n := range d.images {
				session := d.sessions[p%len(d.sessions)]
				l.push(ctx, e, session, p, n, d.size)
				time.Sleep(d.think)
			}
		})
	}
	for c := range d.consumers {
		session := d.sessions[c%len(d.sessions)]
		chance := rand.New(rand.NewPCG(1, uint64(c)))
		consuming.Go(func() {
			for !over.Load() && ctx.Err() == nil {
				l.pop(ctx, e, session, d.refuse > 0 && chance.IntN(d.refuse) == 0)
				time.Sleep(d.think)
			}
		})
	}
	producing.Wait()
	over.Store(true)
	consuming.Wait()
	if d.heal != nil {
		d.heal()
	}
	l.drain(ctx, t, e, d.sessions)
	if ctx.Err() != nil {
		t.Fatal("the load did not finish in time")
	}
}

// drain pops until everything that was acknowledged is there, or nothing has
// come for three seconds.
func (l *ledger) drain(ctx context.Context, t *testing.T, e engine, sessions []string) {
	for quiet := time.Now(); ctx.Err() == nil && time.Since(quiet) < 3*time.Second && len(l.missing()) > 0; {
		for _, session := range sessions {
			if l.pop(ctx, e, session, false) {
				quiet = time.Now()
			}
		}
		time.Sleep(time.Millisecond)
	}
	for _, session := range sessions { // one more each: a double would come now
		for l.pop(ctx, e, session, false) {
		}
	}
}

func (l *ledger) push(ctx context.Context, e engine, session string, producer, n, size int) {
	id := fmt.Sprintf("%s/%d/%d", session, producer, n)
	_, err := e.Push(ctx, session, labelled(id, size))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pushed[id] = err == nil
	if err != nil {
		l.failures++
	}
}

// pop takes an image and returns whether it was delivered.
func (l *ledger) pop(ctx context.Context, e engine, session string, refuse bool) bool {
	f, err := e.Pop(ctx, session)
	if errors.Is(err, errEmpty) {
		return false
	}
	if err != nil {
		l.mu.Lock()
		l.failures++
		l.mu.Unlock()
		return false
	}
	id, whole := labelOf(f.data)
	if refuse {
		e.Settle(f, false)
		return false
	}
	l.mu.Lock()
	l.delivered[id]++
	if !whole {
		l.damaged++
	}
	if len(id) < len(session) || id[:len(session)] != session {
		l.misplaced++
	}
	l.mu.Unlock()
	e.Settle(f, true)
	return true
}

// labelled makes an image that carries its id and a checksum of itself.
func labelled(id string, size int) []byte {
	image := binary.BigEndian.AppendUint16(nil, uint16(len(id)))
	image = append(image, id...)
	for i := range size {
		image = append(image, byte(i*7))
	}
	sum := sha256.Sum256(image)
	return append(image, sum[:]...)
}

// labelOf returns the id of an image, and whether the image is whole.
func labelOf(image []byte) (id string, whole bool) {
	body := len(image) - sha256.Size
	if body < 2 || 2+int(binary.BigEndian.Uint16(image)) > body {
		return "", false
	}
	return string(image[2 : 2+binary.BigEndian.Uint16(image)]), sha256.Sum256(image[:body]) == [32]byte(image[body:])
}

// missing lists what was acknowledged and not delivered.
func (l *ledger) missing() (ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, acknowledged := range l.pushed {
		if acknowledged && l.delivered[id] == 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// doubled lists what was delivered more than once.
func (l *ledger) doubled() (ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, times := range l.delivered {
		if times > 1 {
			ids = append(ids, id)
		}
	}
	return ids
}

func (l *ledger) acknowledged() (n int) {
	for _, ok := range l.pushed {
		if ok {
			n++
		}
	}
	return n
}

// wantExactlyOnce checks that every acknowledged image was delivered once, whole
// and in its session, and says what was seen.
func (l *ledger) wantExactlyOnce(t *testing.T) {
	t.Helper()
	missing, doubled := l.missing(), l.doubled()
	t.Logf("sent %d, acknowledged %d, delivered %d, lost %d, doubled %d, failed calls %d",
		len(l.pushed), l.acknowledged(), len(l.delivered), len(missing), len(doubled), l.failures)
	if len(l.pushed) == 0 || len(l.delivered) == 0 {
		t.Error("nothing was sent or delivered: the test shows nothing")
	}
	if len(missing) > 0 || len(doubled) > 0 || l.damaged > 0 || l.misplaced > 0 {
		t.Errorf("lost %q, doubled %q, damaged %d, in the wrong session %d", missing, doubled, l.damaged, l.misplaced)
	}
}
