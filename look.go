package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

func (q *redisQueue) Look(ctx context.Context, session string, which pick) (frame, error) {
	k := keysOf(session)
	after, popped := "", 0
	if !which.newest {
		after = strconv.FormatInt(which.after, 10)
	}
	if which.popped {
		popped = 1
	}
	life := q.ttl
	if which.within > 0 {
		life = min(life, which.within)
	}
	answer, err := q.call(ctx, session, func(p redis.Pipeliner) *redis.Cmd {
		return p.EvalSha(
			ctx, lookScript.Hash(),
			[]string{
				k.queue(session),
				k.meta(session),
			},
			k.image(""),
			life.Milliseconds(),
			after,
			popped,
		)
	})
	switch {
	case err != nil:
		return frame{}, fmt.Errorf("look: %w", err)
	case answer.text == "":
		return frame{}, errEmpty
	}
	f, err := parseLook(answer.text)
	f.session = session
	return f, err
}

// Read asks how long the image lives along with its bytes: so its expiry is known
// by this process's clock, whatever the clock of Redis says.
func (q *redisQueue) Read(ctx context.Context, f frame) (frame, error) {
	var bytes *redis.StringCmd
	var life *redis.DurationCmd
	asked := time.Now()
	_, err := q.persist(ctx, func(ctx context.Context) error {
		pipeline := q.rdb.Pipeline()
		life = pipeline.PTTL(ctx, f.key)
		bytes = pipeline.Get(ctx, f.key)
		_, err := pipeline.Exec(ctx)
		if errors.Is(err, redis.Nil) {
			return nil
		}
		return err
	})
	if err != nil {
		return frame{}, fmt.Errorf("read: %w", err)
	}
	if f.data, err = bytes.Bytes(); err != nil || life.Val() <= 0 {
		return frame{}, errEmpty
	}
	f.size = len(f.data)
	f.expiry = asked.Add(life.Val())
	return f, nil
}

func (q *redisQueue) Watch(session string, tell func(frame)) (stop func()) {
	return q.wakes.watch(session, tell)
}
