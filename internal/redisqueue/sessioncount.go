package redisqueue

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
)

const (
	// countMaxAge is how long places are given out by a count of the sessions.
	countMaxAge = time.Second

	// recountAfter is how old a count that found no place has to be before it is repeated. Without it each of many
	// pushes that would exceed the limit would count again.
	recountAfter = 100 * time.Millisecond

	// countShare is the part of the free places, one in so many, that a process gives out by one count. Other servers
	// count too, and do not see what this one is about to open: so many of them stay within the limit.
	countShare = 16
)

// sessionCount is what a process knows of the number of open sessions. The index is sharded over buckets, so no single
// script can count all sessions. A push may open a session if it holds a place, which is reserved before the push and
// given back if the push did not use it.
type sessionCount struct {
	limit int           // 0: none
	turn  chan struct{} // holds a value while a push counts the sessions and opens one

	mu       sync.Mutex
	counted  time.Time // when the last count began; zero: never
	found    int       // at that time
	opened   int       // by this process, ever
	before   int       // how many of those before the last count began
	reserved int       // places of pushes that are under way
}

func newSessionCount(limit int) *sessionCount {
	return &sessionCount{limit: limit, turn: make(chan struct{}, 1)}
}

// tryReserve takes a place if there are plenty. opened is for isOpenedSince.
func (c *sessionCount) tryReserve() (ok bool, opened int) {
	if c.limit == 0 {
		return true, 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	given := c.opened - c.before + c.reserved
	ok = time.Since(c.counted) < countMaxAge && given < (c.limit-c.found)/countShare
	if ok {
		c.reserved++
	}
	return ok, c.opened
}

// reserve takes a place if there is one. The caller has counted just before.
func (c *sessionCount) reserve() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.found+c.opened-c.before+c.reserved >= c.limit {
		return false
	}
	c.reserved++
	return true
}

// settle ends a reservation: a session was opened by it, or its place is free again.
func (c *sessionCount) settle(opened bool) {
	if c.limit == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reserved--
	if opened {
		c.opened++
	}
}

// isFull reports whether a recent count has found no place.
func (c *sessionCount) isFull() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.counted) < recountAfter && c.found+c.opened-c.before >= c.limit
}

// isOpenedSince reports whether this process has opened a session since tryReserve.
func (c *sessionCount) isOpenedSince(opened int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.opened > opened
}

// begin starts a count, and returns what set needs at its end.
func (c *sessionCount) begin() (begun time.Time, opened int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now(), c.opened
}

// set notes a count. The sessions that were opened while it ran count once more, since it may have missed them.
func (c *sessionCount) set(begun time.Time, opened, found int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counted, c.before, c.found = begun, opened, found
}

// takeTurn waits until no other push of this process opens a session by a count of its own.
func (c *sessionCount) takeTurn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	select {
	case c.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait to open a session: %w: %w", queue.ErrUnavailable, ctx.Err())
	}
}

func (c *sessionCount) endTurn() { <-c.turn }

// countSessions counts the sessions of all index shards.
func (q *Queue) countSessions(ctx context.Context) error {
	begun, opened := q.sessions.begin()
	groups := q.shardGroups()
	counts := make([]*redis.Cmd, len(groups))
	err := q.retry(ctx, q.metrics.stats, func(ctx context.Context) error {
		pipeline := q.rdb.Pipeline()
		for i, shards := range groups {
			counts[i] = q.sendCountSessions(ctx, pipeline, shards)
		}
		_, err := pipeline.Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("count sessions: %w", err)
	}
	found := 0
	for _, count := range counts {
		n, err := count.Int()
		if err != nil {
			return fmt.Errorf("count_sessions.lua: %w", err)
		}
		found += n
	}
	q.sessions.set(begun, opened, found)
	return nil
}

// shardGroups returns the index shards by what one script can read: all at once, but each alone on a Cluster.
func (q *Queue) shardGroups() [][]keys {
	size := buckets
	if _, ok := q.rdb.(*redis.ClusterClient); ok {
		size = 1
	}
	return slices.Collect(slices.Chunk(bucketKeys[:], size))
}
