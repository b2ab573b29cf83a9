package redisqueue

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
)

const (
	// statsShards is the number of index shards that one slice of a list is read from.
	statsShards = 4
	// statsEntries bounds the entries of each shard in a slice. An entry costs Redis about 10 us, so a slice of 48 holds
	// it for half a millisecond.
	statsEntries = 12
	// statsPause lies between two slices, for the calls of everybody else.
	statsPause = time.Millisecond
)

// shardCursor is how far an index shard has been read.
type shardCursor struct {
	shard keys
	after string // what stats.lua named as the begin of the next slice; "": all is read
}

// Sessions lists the sessions that have live images. It reads the index in slices and awaits one before it asks for the
// next, so that Redis serves other calls in between.
func (q *Queue) Sessions(ctx context.Context) ([]queue.Session, error) {
	var all []queue.Session
	for shards := range slices.Chunk(bucketKeys[:], statsShards) {
		cursors := make([]shardCursor, len(shards))
		for i, shard := range shards {
			cursors[i] = shardCursor{shard, "0"}
		}
		for len(cursors) > 0 {
			slice, err := q.readSlice(ctx, cursors)
			if err != nil {
				return nil, fmt.Errorf("stats: %w", err)
			}
			all = append(all, slice...)
			cursors = slices.DeleteFunc(cursors, func(c shardCursor) bool { return c.after == "" })
			time.Sleep(statsPause)
		}
	}
	return unique(all), nil
}

// readSlice returns the next sessions of some shards, and moves the cursors on.
func (q *Queue) readSlice(ctx context.Context, cursors []shardCursor) (sessions []queue.Session, err error) {
	replies := make([]*redis.Cmd, len(cursors))
	err = q.retry(ctx, q.metrics.stats, func(ctx context.Context) error {
		pipeline := q.rdb.Pipeline()
		for i, c := range cursors {
			replies[i] = q.sendStats(ctx, pipeline, c.shard, c.after)
		}
		_, err := pipeline.Exec(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	for i, reply := range replies {
		var some []queue.Session
		if some, cursors[i].after, err = parseStats(reply); err != nil {
			return nil, err
		}
		sessions = append(sessions, some...)
	}
	return sessions, nil
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
