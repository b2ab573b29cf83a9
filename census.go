package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// censusLife is how long a count of the sessions is good for. Other servers may
// open some in that time: then there are a few more than the limit.
const censusLife = time.Second

// recount is how soon the sessions are counted again for a push that finds no room:
// many may want what there is not.
const recount = 100 * time.Millisecond

// census is what a process knows of how many sessions there are: the index lies in
// as many places as there are buckets, so no script can know.
type census struct {
	counted atomic.Int64 // when, Unix ns; 0: never
	found   atomic.Int64 // then
	opened  atomic.Int64 // since then, here
}

// room tells whether one more session may be opened, as far as is known: what is
// not known is not allowed before it has been counted.
func (c *census) room(most int) bool {
	if most == 0 {
		return true
	}
	return c.age() < censusLife && c.found.Load()+c.opened.Load() < int64(most)
}

// age returns how old the count is.
func (c *census) age() time.Duration { return time.Since(time.Unix(0, c.counted.Load())) }

// count counts the sessions of all index shards.
func (q *redisQueue) count(ctx context.Context) error {
	shards := make([]*redis.Cmd, buckets)
	_, err := q.persist(ctx, func(ctx context.Context) error {
		pipeline := q.rdb.Pipeline()
		for i, k := range bucketKeys {
			shards[i] = pipeline.EvalSha(ctx, censusScript.Hash(), []string{k.sessions()})
		}
		_, err := pipeline.Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("count sessions: %w", err)
	}
	var found int64
	for _, shard := range shards {
		n, err := shard.Int64()
		if err != nil {
			return fmt.Errorf("count_sessions.lua: %w", err)
		}
		found += n
	}
	q.census.found.Store(found)
	q.census.opened.Store(0)
	q.census.counted.Store(time.Now().UnixNano())
	return nil
}
