package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// settler does what no request waits for: it frees delivered images and undoes
// calls whose outcome is unknown, in batches, again and again until Redis answers.
type settler struct {
	q      *redisQueue
	wake   chan struct{}
	cancel context.CancelFunc
	done   chan struct{}

	mu        sync.Mutex
	todo      []settlement
	delivered map[keys][]string // the bytes of delivered images, by bucket
	kept      map[string]kept   // by session
}

// kept is the newest image of a session, delivered, and left in Redis until a
// newer one is: those who look without taking may want it.
type kept struct {
	sequence int64
	key      string
	until    time.Time // by when it is gone anyway
}

// settlement is one thing to do. It may run more than once.
type settlement struct {
	send   func(redis.Pipeliner) redis.Cmder
	until  time.Time // when it no longer matters
	ticket ticket    // of the call that is undone, if it is that
}

const (
	// gather is how long the settler lets work collect before it sends it.
	gather = 10 * time.Millisecond
	// settleRetry is how long it waits for a Redis that did not answer.
	settleRetry = 500 * time.Millisecond
	// lateness is how long it tries to undo a call at least. One that was sent
	// into a broken network can arrive minutes later.
	lateness = 5 * time.Minute
)

func newSettler(q *redisQueue) *settler {
	ctx, cancel := context.WithCancel(context.Background())
	s := &settler{
		q: q, wake: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{}),
		delivered: map[keys][]string{}, kept: map[string]kept{},
	}
	go s.run(ctx)
	return s
}

// free removes the bytes of a delivered image, with the next call of its bucket or
// soon. Those of a session's newest image stay, and those that stayed before go.
func (s *settler) free(f frame) {
	k := keysOf(f.session)
	s.mu.Lock()
	defer s.mu.Unlock()
	key := k.out(f.ticket.id())
	before := s.kept[f.session]
	gone := time.Now().After(before.until) // or there was none; a sequence may have begun again
	if f.left == 0 && (gone || f.sequence > before.sequence) {
		s.kept[f.session] = kept{f.sequence, key, time.Now().Add(s.q.ttl)}
		s.forgetKept()
		key = before.key
	}
	if key != "" {
		s.delivered[k] = append(s.delivered[k], key)
		s.kick()
	}
}

// later takes back keys of a bucket that could not be removed.
func (s *settler) later(k keys, out []string) {
	if len(out) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delivered[k] = append(s.delivered[k], out...)
	s.kick()
}

// forgetKept forgets what Redis has forgotten: two sessions looked at for each that
// is added keep the map as small as it can be.
func (s *settler) forgetKept() {
	looked := 0
	for session, image := range s.kept { // starts anywhere
		if time.Now().After(image.until) {
			delete(s.kept, session)
		}
		if looked++; looked == 2 {
			return
		}
	}
}

// supersede frees what a session has kept when a newer image has come. That may have
// been taken already, and is kept then.
func (s *settler) supersede(session string, sequence int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if image, ok := s.kept[session]; ok && image.sequence < sequence {
		delete(s.kept, session)
		k := keysOf(session)
		s.delivered[k] = append(s.delivered[k], image.key)
		s.kick()
	}
}

// take returns the keys of a bucket that are to be removed.
func (s *settler) take(k keys) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	freed := s.delivered[k]
	delete(s.delivered, k)
	return freed
}

// unpop undoes a pop.
func (s *settler) unpop(session string, t ticket) {
	s.add(t, func(p redis.Pipeliner) redis.Cmder { return s.q.sendUnpop(context.Background(), p, session, t) })
}

// unpush withdraws a push.
func (s *settler) unpush(session string, t ticket) {
	s.add(t, func(p redis.Pipeliner) redis.Cmder { return s.q.sendUnpush(context.Background(), p, session, t) })
}

// add takes on an undoing. The caller makes no other call before it is done.
func (s *settler) add(t ticket, send func(redis.Pipeliner) redis.Cmder) {
	until := time.Now().Add(max(s.q.ttl, lateness))
	s.mu.Lock()
	s.todo = append(s.todo, settlement{send, until, t})
	s.mu.Unlock()
	s.kick()
}

func (s *settler) kick() {
	select {
	case s.wake <- struct{}{}:
	default: // it is awake
	}
}

// close does what is left, for as long as a call may take.
func (s *settler) close() {
	s.cancel()
	<-s.done
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	rest := s.flush(ctx)
	for rest > 0 && pause(ctx, gather) == nil {
		rest = s.flush(ctx)
	}
	if rest > 0 {
		s.q.log.Warn("calls left unsettled", "count", rest)
	}
}

func (s *settler) run(ctx context.Context) {
	defer close(s.done)
	for {
		select {
		case <-s.wake:
		case <-ctx.Done():
			return
		}
		wait := gather
		for pause(ctx, wait) == nil && s.flush(ctx) > 0 {
			wait = settleRetry
		}
	}
}

// flush sends everything there is to do and returns how much has to be done again.
func (s *settler) flush(ctx context.Context) int {
	s.mu.Lock()
	batch := s.todo
	s.todo = nil
	for _, freed := range s.delivered {
		batch = append(batch, settlement{
			send:  func(p redis.Pipeliner) redis.Cmder { return p.Unlink(ctx, freed...) },
			until: time.Now().Add(s.q.ttl),
		})
	}
	clear(s.delivered)
	s.mu.Unlock()
	if len(batch) == 0 {
		return 0
	}
	pipeline := s.q.rdb.Pipeline()
	sent := make([]redis.Cmder, len(batch))
	for i, b := range batch {
		sent[i] = b.send(pipeline)
	}
	pipeline.Exec(ctx) // each command has its own error

	var again []settlement
	var cause error
	for i, cmd := range sent {
		if err := cmd.Err(); err != nil && time.Now().Before(batch[i].until) {
			again = append(again, batch[i])
			cause = err
			continue
		}
		if batch[i].ticket.caller != nil {
			s.q.callers.end(batch[i].ticket)
		}
	}
	if len(again) == 0 {
		return 0
	}
	if redis.HasErrorPrefix(cause, "NOSCRIPT") {
		cause = errors.Join(cause, s.q.loadScripts(ctx))
	}
	s.q.log.Debug("settle again", "count", len(again), "error", cause)
	s.mu.Lock()
	s.todo = append(again, s.todo...)
	s.mu.Unlock()
	return len(again)
}
