package main

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// statsPage bounds the sessions one run of the stats script looks at.
const statsPage = 1000

// Stats asks every index shard in one pipeline, and again those that have more
// than a page.
func (q *redisQueue) Stats(ctx context.Context) ([]sessionStats, error) {
	found := map[string]int{}
	shards := make([]keys, buckets)
	for b := range shards {
		shards[b] = bucketKeys[b]
	}
	for offset := 0; len(shards) > 0; offset += statsPage {
		var err error
		if shards, err = q.statsPages(ctx, shards, offset, found); err != nil {
			return nil, fmt.Errorf("stats: %w", err)
		}
	}
	stats := make([]sessionStats, 0, len(found))
	for id, images := range found {
		stats = append(stats, sessionStats{ID: id, Len: images})
	}
	return stats, nil
}

// statsPages adds one page of each shard to found and returns the shards that
// have more.
func (q *redisQueue) statsPages(ctx context.Context, shards []keys, offset int, found map[string]int) ([]keys, error) {
	pages := make([]*redis.Cmd, len(shards))
	_, err := q.persist(ctx, func(ctx context.Context) error {
		pipeline := q.rdb.Pipeline()
		for i, k := range shards {
			pages[i] = pipeline.EvalSha(
				ctx, statsScript.Hash(),
				[]string{k.sessions()},
				k.queue(""),
				q.ttl.Milliseconds(),
				offset,
				statsPage,
			)
		}
		_, err := pipeline.Exec(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	var more []keys
	for i, page := range pages {
		read, err := parseStats(page, found)
		if err != nil {
			return nil, err
		}
		if read == statsPage {
			more = append(more, shards[i])
		}
	}
	return more, nil
}
