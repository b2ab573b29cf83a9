package redisqueue

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
)

// Pop takes the oldest live image of a session, or returns queue.ErrEmpty.
func (q *Queue) Pop(ctx context.Context, session string) (queue.Delivery, error) {
	return q.PopAtMost(ctx, session, math.MaxInt)
}

// PopAtMost takes the oldest live image of a session if it has at most size bytes. It takes another one if the image
// expired before its bytes were read.
func (q *Queue) PopAtMost(ctx context.Context, session string, size int) (queue.Delivery, error) {
	for {
		image, err := q.pop(ctx, session, size)
		if err != nil {
			return queue.Delivery{}, err
		}
		if image.Size > 0 {
			return queue.NewDelivery(image, q), nil
		}
		q.calls.end(callOf(image))
	}
}

// pop takes an image. Its bytes are missing if it has just expired.
func (q *Queue) pop(ctx context.Context, session string, most int) (image queue.Image, err error) {
	id := q.calls.begin(keysOf(session))
	var get *redis.StringCmd
	var large *queue.TooLargeError
	asked, taken := time.Now(), false
	err = q.call(ctx, q.metrics.pop, session, request{
		client: id.client,
		send: func(p redis.Pipeliner) (script *redis.Cmd) {
			script, get = q.sendPop(ctx, p, session, id, most)
			return script
		},
		read: func(text string) (err error) {
			if large = parseTooLarge(text); large != nil || text == "" {
				return nil
			}
			taken = true
			image, err = q.readPop(text, get, asked)
			return err
		},
	})
	if taken && err == nil {
		image.Session, image.Handle = session, id.client
		return image, nil
	}
	if taken || id.client.unanswered > 0 { // an attempt has taken an image, or may still take one
		q.metrics.unknown.Inc()
		q.undoPop(session, id)
	} else {
		q.calls.end(id)
	}
	if err != nil {
		return queue.Image{}, fmt.Errorf("pop: %w", err)
	}
	if large != nil {
		return queue.Image{}, large
	}
	return queue.Image{}, queue.ErrEmpty
}

// readPop reads the replies to pop.lua, which took an image, and to the GET of its bytes. The image has no session and
// no handle yet. Data is empty if the bytes have just expired. The expiry is counted from the time before the call, so
// that it is never too late.
func (q *Queue) readPop(text string, get *redis.StringCmd, asked time.Time) (queue.Image, error) {
	ref, age, err := parsePop(text)
	if err != nil {
		return queue.Image{}, err
	}
	data, err := get.Bytes()
	if err != nil && !errors.Is(err, redis.Nil) {
		return queue.Image{}, err
	}
	ref.Size = len(data)
	return queue.Image{Ref: ref, Data: data, Expires: asked.Add(q.ttl - age)}, nil
}

// Ack frees an image that has reached its consumer.
func (q *Queue) Ack(image queue.Image) {
	id := callOf(image)
	q.cleaner.free(image.Ref, keysOf(image.Session).delivered(id.String()))
	q.calls.end(id)
}

// Requeue puts an image back at its place in the queue, in the background.
func (q *Queue) Requeue(image queue.Image) { q.undoPop(image.Session, callOf(image)) }

// callOf returns the pop that took an image. Its client is lent to that pop until the delivery has ended, so the number
// of the client's last call is that of the pop. After the end of the delivery callOf would name another call.
func callOf(image queue.Image) callID {
	c := image.Handle.(*client)
	return callID{c, c.call}
}

// undoPop undoes a pop, in the background.
func (q *Queue) undoPop(session string, id callID) {
	q.undoer.add(id, func(ctx context.Context, p redis.Pipeliner) redis.Cmder {
		return q.sendRequeue(ctx, p, session, id)
	})
}
