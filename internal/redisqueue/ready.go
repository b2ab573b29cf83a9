package redisqueue

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Ready returns an error that wraps queue.ErrUnavailable unless Redis takes pushes. Redis is asked once in a second at
// most: all who ask share the answer.
//
// A Redis that is out of memory is ready. It gives out the images that it has, which is what makes room again.
func (q *Queue) Ready(ctx context.Context) error {
	_, err := q.ready.Get(ctx)
	return err
}

// tryPush makes a push to a session that nobody has, on each node. The push may not open the session, so that it leaves
// nothing; until push.lua finds that out, it meets everything that keeps Redis from taking images.
func (q *Queue) tryPush(ctx context.Context) error {
	shards := bucketKeys[:1]
	if _, ok := q.rdb.(*redis.ClusterClient); ok {
		shards = bucketKeys[:] // they are spread over the nodes
	}
	sets, scripts := make([]*redis.StatusCmd, len(shards)), make([]*redis.Cmd, len(shards))
	err := q.retry(ctx, q.metrics.ready, func(ctx context.Context) error {
		pipeline := q.rdb.Pipeline()
		for i, k := range shards {
			sets[i], scripts[i] = q.sendPushTo(ctx, pipeline, k, checkName, q.calls.reserved(), []byte("x"), false)
		}
		pipeline.Exec(ctx) // each command has its own error
		for i := range shards {
			if err := readTriedPush(sets[i], scripts[i]); err != nil && !redis.IsOOMError(err) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("ready: %w", err)
	}
	return nil
}

// readTriedPush reads the replies to a push that may not open its session.
func readTriedPush(set *redis.StatusCmd, script *redis.Cmd) error {
	text, err := textOf(script)
	switch {
	case err != nil:
		return err
	case text == "lost":
		return lostBytes(set.Err())
	case text != "sessions":
		return fmt.Errorf("push.lua: %w: %.80q", errUnexpected, text)
	}
	return nil
}
