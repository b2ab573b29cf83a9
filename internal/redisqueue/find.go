package redisqueue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
)

// Find returns the image that a query asks for, without its bytes, or queue.ErrEmpty.
func (q *Queue) Find(ctx context.Context, session string, which queue.Query) (queue.Ref, error) {
	var ref queue.Ref
	found := false
	err := q.call(ctx, q.metrics.look, session, request{
		send: func(p redis.Pipeliner) *redis.Cmd { return q.sendPeek(ctx, p, session, which) },
		read: func(text string) (err error) {
			if found = text != ""; found {
				ref, err = parsePeek(text)
			}
			return err
		},
	})
	switch {
	case err != nil:
		return queue.Ref{}, fmt.Errorf("find: %w", err)
	case !found:
		return queue.Ref{}, queue.ErrEmpty
	}
	ref.Session = session
	return ref, nil
}

// Load returns the image of a Ref from Find or a notification, or queue.ErrEmpty if its bytes have moved or are gone.
// It reads the key's remaining TTL along with the bytes, so that the expiry is right by this process's clock, whatever
// the clock of Redis says.
func (q *Queue) Load(ctx context.Context, ref queue.Ref) (queue.Image, error) {
	key, ok := ref.Handle.(string)
	if !ok {
		return queue.Image{}, queue.ErrEmpty
	}
	var rest *redis.DurationCmd
	var bytes *redis.StringCmd
	asked := time.Now()
	err := q.retry(ctx, q.metrics.read, func(ctx context.Context) error {
		pipeline := q.rdb.Pipeline()
		rest = pipeline.PTTL(ctx, key)
		bytes = pipeline.Get(ctx, key)
		_, err := pipeline.Exec(ctx)
		if errors.Is(err, redis.Nil) {
			return nil
		}
		return err
	})
	if err != nil {
		return queue.Image{}, fmt.Errorf("load: %w", err)
	}
	data, err := bytes.Bytes()
	if err != nil || rest.Val() <= 0 {
		return queue.Image{}, queue.ErrEmpty
	}
	ref.Size = len(data)
	return queue.Image{Ref: ref, Data: data, Expires: asked.Add(rest.Val())}, nil
}

// Release does nothing: the bytes of an image that was loaded are those of the caller alone.
func (q *Queue) Release(queue.Image) {}

// Subscribe informs a subscriber of the images of a session, whichever server they were pushed through.
func (q *Queue) Subscribe(session string, s queue.Subscriber) (cancel func()) {
	return q.pubsub.subscribe(session, s)
}
