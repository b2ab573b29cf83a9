package queuetest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/queue"
)

// Target is what an Audit pushes to and pops from: an engine, or a client of a server.
type Target interface {
	Push(ctx context.Context, session string, image []byte) (queue.Receipt, error)
	Pop(ctx context.Context, session string) (queue.Delivery, error)
}

// Audit records what was pushed and what was delivered, and finds the difference. A push that returns an error is
// refused: its image may be delivered once, or not at all.
type Audit struct {
	mu        sync.Mutex
	pushed    map[string]bool // image id -> acknowledged
	delivered map[string]int  // image id -> times
	damaged   int
	misplaced int
	failures  int // calls that returned an error
}

// NewAudit returns an Audit without records.
func NewAudit() *Audit {
	return &Audit{pushed: map[string]bool{}, delivered: map[string]int{}}
}

// Load says how to exercise a Target. Producers and consumers are spread evenly over the sessions.
type Load struct {
	Sessions  []string
	Producers int
	Consumers int
	Images    int           // of each producer
	Requeue   int           // one delivery in this many is requeued, at random; 0: none
	Size      int           // bytes of an image, beyond its id and checksum
	Pause     time.Duration // of each producer and consumer, between its calls
	Heal      func()        // called before the sessions are drained; nil: nothing to call
	Silence   time.Duration // after which images that have not come are missing; 0: so long that they surely are
}

// Run pushes and pops side by side, then drains the sessions.
func (a *Audit) Run(t *testing.T, target Target, load Load) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	var producing, consuming sync.WaitGroup
	var over atomic.Bool
	for p := range load.Producers {
		session := load.Sessions[p%len(load.Sessions)]
		producing.Go(func() {
			for n := range load.Images {
				a.Push(ctx, target, session, p, n, load.Size)
				time.Sleep(load.Pause)
			}
		})
	}
	for c := range load.Consumers {
		session := load.Sessions[c%len(load.Sessions)]
		chance := rand.New(rand.NewPCG(1, uint64(c)))
		consuming.Go(func() {
			for !over.Load() && ctx.Err() == nil {
				a.pop(ctx, target, session, load.Requeue > 0 && chance.IntN(load.Requeue) == 0)
				time.Sleep(load.Pause)
			}
		})
	}
	producing.Wait()
	over.Store(true)
	consuming.Wait()
	if load.Heal != nil {
		load.Heal()
	}
	a.drain(ctx, target, load.Sessions, cmp.Or(load.Silence, defaultSilence))
	if ctx.Err() != nil {
		t.Fatal("the load did not finish in time")
	}
}

// Drain pops until every acknowledged image was delivered, or nothing has come for a while, and then until each session
// is empty.
func (a *Audit) Drain(ctx context.Context, target Target, sessions []string) {
	a.drain(ctx, target, sessions, defaultSilence)
}

// defaultSilence is far more than the undoing of a call takes on a busy machine.
const defaultSilence = 20 * time.Second

func (a *Audit) drain(ctx context.Context, target Target, sessions []string, silence time.Duration) {
	for last := time.Now(); ctx.Err() == nil && time.Since(last) < silence && len(a.Missing()) > 0; {
		for _, session := range sessions {
			if a.pop(ctx, target, session, false) {
				last = time.Now()
			}
		}
		time.Sleep(time.Millisecond)
	}
	for _, session := range sessions { // until each is empty: a double would come now
		for a.pop(ctx, target, session, false) {
		}
	}
}

// Push pushes image n of a producer, of size bytes beyond its id and checksum.
func (a *Audit) Push(ctx context.Context, target Target, session string, producer, n, size int) {
	id := fmt.Sprintf("%s/%d/%d", session, producer, n)
	_, err := target.Push(ctx, session, Labelled(id, size))
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pushed[id] = err == nil
	if err != nil {
		a.failures++
	}
}

// pop takes an image, and reports whether it was delivered.
func (a *Audit) pop(ctx context.Context, target Target, session string, requeue bool) bool {
	d, err := target.Pop(ctx, session)
	if errors.Is(err, queue.ErrEmpty) {
		return false
	}
	if err != nil {
		a.mu.Lock()
		a.failures++
		a.mu.Unlock()
		return false
	}
	if requeue {
		d.Requeue()
		return false
	}
	a.record(session, d.Data)
	d.Ack()
	return true
}

// record records an image that was delivered.
func (a *Audit) record(session string, image []byte) {
	id, whole := LabelOf(image)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.delivered[id]++
	if !whole {
		a.damaged++
	}
	if len(id) < len(session) || id[:len(session)] != session {
		a.misplaced++
	}
}

// Labelled makes an image that carries its id, size further bytes, and a checksum of itself.
func Labelled(id string, size int) []byte {
	image := binary.BigEndian.AppendUint16(nil, uint16(len(id)))
	image = append(image, id...)
	for i := range size {
		image = append(image, byte(i*7))
	}
	sum := sha256.Sum256(image)
	return append(image, sum[:]...)
}

// LabelOf returns the id of a labelled image, and whether the image is whole.
func LabelOf(image []byte) (id string, whole bool) {
	body := len(image) - sha256.Size
	if body < 2 || 2+int(binary.BigEndian.Uint16(image)) > body {
		return "", false
	}
	return string(image[2 : 2+binary.BigEndian.Uint16(image)]), sha256.Sum256(image[:body]) == [32]byte(image[body:])
}

// Missing returns the ids of images that were acknowledged and not delivered.
func (a *Audit) Missing() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return idsIn(a.pushed, func(id string, acknowledged bool) bool { return acknowledged && a.delivered[id] == 0 })
}

// Doubled returns the ids of images that were delivered more than once.
func (a *Audit) Doubled() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return idsIn(a.delivered, func(_ string, times int) bool { return times > 1 })
}

// RefusedAndDelivered returns the ids of images whose push was refused and that were delivered.
func (a *Audit) RefusedAndDelivered() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return idsIn(a.delivered, func(id string, _ int) bool { return !a.pushed[id] })
}

// idsIn returns the keys that fit, in order.
func idsIn[V any](records map[string]V, fits func(id string, value V) bool) (ids []string) {
	for id, value := range records {
		if fits(id, value) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Counts says how many images and calls an Audit has recorded.
type Counts struct {
	Pushed       int // images, refused ones included
	Acknowledged int // images
	Delivered    int // images, each counted once
	Damaged      int // deliveries
	Misplaced    int // deliveries, to another session than the image's
	Failures     int // calls that returned an error, other than for an empty queue
}

// Counts returns what has been recorded so far.
func (a *Audit) Counts() Counts {
	a.mu.Lock()
	defer a.mu.Unlock()
	return Counts{
		Pushed:       len(a.pushed),
		Acknowledged: len(idsIn(a.pushed, func(_ string, acknowledged bool) bool { return acknowledged })),
		Delivered:    len(a.delivered),
		Damaged:      a.damaged,
		Misplaced:    a.misplaced,
		Failures:     a.failures,
	}
}

// Summary says in one line what was seen.
func (a *Audit) Summary() string {
	c := a.Counts()
	return fmt.Sprintf("pushed %d, acknowledged %d, delivered %d, lost %d, doubled %d, failed calls %d",
		c.Pushed, c.Acknowledged, c.Delivered, len(a.Missing()), len(a.Doubled()), c.Failures)
}

// WantExactlyOnce checks that every acknowledged image was delivered once, whole and in its session, and logs what was
// seen.
func (a *Audit) WantExactlyOnce(t *testing.T) {
	t.Helper()
	t.Log(a.Summary())
	c, lost, doubled := a.Counts(), a.Missing(), a.Doubled()
	if c.Pushed == 0 || c.Delivered == 0 {
		t.Error("nothing was pushed or delivered: the test shows nothing")
	}
	if len(lost) > 0 || len(doubled) > 0 || c.Damaged > 0 || c.Misplaced > 0 {
		t.Errorf("lost %q, doubled %q, damaged %d, in the wrong session %d", lost, doubled, c.Damaged, c.Misplaced)
	}
}

// WantRefusedAtMostOnce checks that no image whose push was refused was delivered more than once.
func (a *Audit) WantRefusedAtMostOnce(t *testing.T) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, acknowledged := range a.pushed {
		if !acknowledged && a.delivered[id] > 1 {
			t.Errorf("%s was refused and then delivered %d times", id, a.delivered[id])
		}
	}
}
