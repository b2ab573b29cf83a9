package redisqueue

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
)

// statsSlice bounds the sessions in one slice of a list. Each costs Redis 10 to 20 us, so that a slice holds Redis for
// less than half a millisecond.
const statsSlice = 24

// Sessions lists the sessions that have live images. It reads the index in slices and awaits one before it asks for the
// next, so that Redis serves the calls of everybody else in between.
func (q *Queue) Sessions(ctx context.Context) ([]queue.Session, error) {
	var all []queue.Session
	for _, shard := range bucketKeys {
		for after := "0"; after != ""; {
			slice, next, err := q.readSlice(ctx, shard, after)
			if err != nil {
				return nil, fmt.Errorf("stats: %w", err)
			}
			all, after = append(all, slice...), next
		}
	}
	return unique(all), nil
}

// readSlice returns some sessions of an index shard, and what to ask for the next ones with, "" after the last one.
func (q *Queue) readSlice(
	ctx context.Context, shard keys, after string,
) (sessions []queue.Session, next string, err error) {
	var reply *redis.Cmd
	err = q.retry(ctx, q.metrics.stats, func(ctx context.Context) error {
		pipeline := q.rdb.Pipeline()
		reply = q.sendStats(ctx, pipeline, shard, after)
		_, err := pipeline.Exec(ctx)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	return parseStats(reply)
}

// unique removes all but the last entry of each session. A session to which an image comes while its shard is read
// moves to the end of the shard, and is met there again.
func unique(all []queue.Session) []queue.Session {
	last := make(map[string]int, len(all))
	for i, s := range all {
		last[s.ID] = i
	}
	kept := all[:0]
	for i, s := range all {
		if last[s.ID] == i {
			kept = append(kept, s)
		}
	}
	return kept
}
