package redisqueue

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
)

// Ready returns an error that wraps queue.ErrUnavailable unless Redis takes pushes. Redis is asked once in a second at
// most: all who ask share the answer.
//
// A Redis that is out of memory is ready. It gives out the images that it has, which is what makes room again.
func (q *Queue) Ready(ctx context.Context) error { return q.ready.do(ctx, q.tryPush) }

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

// shared makes a call for all who ask, one at a time and one in maxAge at most, and gives its error to all of them.
type shared struct {
	maxAge time.Duration

	mu   sync.Mutex
	last *sharedCall // nil: none yet
}

type sharedCall struct {
	begun time.Time
	done  chan struct{} // closed when the call has ended
	err   error
}

// do returns the error of the last call if that is young enough, else that of a new one. The end of ctx ends the wait
// and not the call.
func (s *shared) do(ctx context.Context, call func(context.Context) error) error {
	c := s.join(context.WithoutCancel(ctx), call)
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", queue.ErrUnavailable, ctx.Err())
	}
}

// join returns the last call, or begins a new one.
func (s *shared) join(ctx context.Context, call func(context.Context) error) *sharedCall {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil && (time.Since(s.last.begun) < s.maxAge || s.last.isUnderWay()) {
		return s.last
	}
	c := &sharedCall{begun: time.Now(), done: make(chan struct{})}
	s.last = c
	go func() {
		defer close(c.done)
		c.err = call(ctx)
	}()
	return c
}

func (c *sharedCall) isUnderWay() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}
