package redisqueue

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// countMaxAge is how long a count of the sessions is used. Other servers may open sessions in that time, so that
	// there can be a few more than the limit.
	countMaxAge = time.Second

	// recountAfter is how old a count has to be before it is repeated for a push that would exceed the limit. Without it
	// each of many such pushes would count again.
	recountAfter = 100 * time.Millisecond
)

// sessionCount is what a process knows of the number of open sessions. The index is sharded over buckets, so no single
// script can count all sessions.
type sessionCount struct {
	mu      sync.Mutex
	counted time.Time // zero: never
	found   int       // at that time
	opened  int       // since then, by this process
}

// allows reports whether one more session may be opened. It returns false while the count is stale, so the caller
// recounts first.
func (c *sessionCount) allows(limit int) bool {
	if limit == 0 {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.counted) < countMaxAge && c.found+c.opened < limit
}

// mayRecount reports whether the count is old enough to be repeated.
func (c *sessionCount) mayRecount() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.counted) > recountAfter
}

// open counts a session that this process has opened.
func (c *sessionCount) open() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opened++
}

// set notes a fresh count.
func (c *sessionCount) set(found int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counted, c.found, c.opened = time.Now(), found, 0
}

// countSessions counts the sessions of all index shards.
func (q *Queue) countSessions(ctx context.Context) error {
	shards := make([]*redis.Cmd, buckets)
	err := q.retry(ctx, q.metrics.stats, func(ctx context.Context) error {
		pipeline := q.rdb.Pipeline()
		for i, k := range bucketKeys {
			shards[i] = q.sendCountSessions(ctx, pipeline, k)
		}
		_, err := pipeline.Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("count sessions: %w", err)
	}
	found := 0
	for _, shard := range shards {
		n, err := shard.Int()
		if err != nil {
			return fmt.Errorf("count_sessions.lua: %w", err)
		}
		found += n
	}
	q.sessions.set(found)
	return nil
}
