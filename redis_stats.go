package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

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

// detailsAtOnce bounds the sessions one run of the details script looks at.
const detailsAtOnce = 200

// Detail asks each index shard for its sessions.
func (q *redisQueue) Detail(ctx context.Context, some []sessionStats) error {
	shards := map[keys][]*sessionStats{}
	for i := range some {
		k := keysOf(some[i].ID)
		shards[k] = append(shards[k], &some[i])
	}
	type question struct {
		shard    keys
		sessions []*sessionStats
		reply    *redis.Cmd
	}
	var questions []question
	for k, sessions := range shards {
		for part := range slices.Chunk(sessions, detailsAtOnce) {
			questions = append(questions, question{shard: k, sessions: part})
		}
	}
	_, err := q.persist(ctx, func(ctx context.Context) error {
		pipeline := q.rdb.Pipeline()
		for i := range questions {
			questions[i].reply = q.sendDetails(ctx, pipeline, questions[i].shard, questions[i].sessions)
		}
		_, err := pipeline.Exec(ctx)
		return err
	})
	for i := 0; err == nil && i < len(questions); i++ {
		err = parseDetails(questions[i].reply, questions[i].sessions)
	}
	if err != nil {
		return fmt.Errorf("details: %w", err)
	}
	return nil
}

func (q *redisQueue) sendDetails(ctx context.Context, p redis.Pipeliner, k keys, sessions []*sessionStats) *redis.Cmd {
	names := make([]string, len(sessions))
	for i, s := range sessions {
		names[i] = s.ID
	}
	return p.EvalSha(
		ctx, detailsScript.Hash(),
		[]string{k.sessions()},
		k.queue(""),
		k.meta(""),
		q.ttl.Milliseconds(),
		strings.Join(names, " "),
	)
}
