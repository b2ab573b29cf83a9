package redisqueue

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
)

// Buffer returns a buffer for an image that will be pushed. Push takes the buffer back.
func (q *Queue) Buffer(size int) []byte { return q.buffers.get(size) }

// Push appends an image to a session. A push that would open a session is refused by push.lua until the number of
// sessions is known to be below the limit: then the sessions are counted, and the push is made again.
func (q *Queue) Push(ctx context.Context, session string, image []byte) (queue.Receipt, error) {
	defer q.buffers.put(image)
	r, opened, err := q.push(ctx, session, image, q.sessions.allows(q.limits.Sessions))
	if err != queue.ErrTooManySessions {
		if opened {
			q.sessions.open()
		}
		return r, err
	}
	if q.sessions.mayRecount() {
		if err := q.countSessions(ctx); err != nil {
			return queue.Receipt{}, err
		}
	}
	if !q.sessions.allows(q.limits.Sessions) {
		return queue.Receipt{}, queue.ErrTooManySessions
	}
	r, opened, err = q.push(ctx, session, image, true)
	if opened {
		q.sessions.open()
	}
	return r, err
}

// push stores an image. Unless mayOpen is set, the session has to be open already.
func (q *Queue) push(
	ctx context.Context, session string, image []byte, mayOpen bool,
) (r queue.Receipt, opened bool, err error) {
	id := q.calls.begin(keysOf(session))
	var set *redis.StatusCmd
	err = q.call(ctx, q.metrics.push, request{
		session: session,
		client:  id.client,
		send: func(p redis.Pipeliner) (script *redis.Cmd) {
			set, script = q.sendPush(ctx, p, session, id, image, mayOpen)
			return script
		},
		read: func(text string) (err error) {
			switch text {
			case "lost":
				return lostBytes(set.Err())
			case "sessions":
				return nil // r stays empty
			}
			r, opened, err = parsePush(text)
			return err
		},
	})
	stored := err == nil && r.Sequence > 0
	if !stored && id.client.unanswered > 0 {
		q.metrics.unknown.Inc()
		q.undoPush(session, id) // an attempt may have stored the image, or could still store it
	} else {
		q.calls.end(id)
	}
	switch {
	case err != nil:
		return r, false, fmt.Errorf("push: %w", err)
	case !stored:
		return r, false, queue.ErrTooManySessions
	}
	q.cleaner.freeRetained(session, r.Sequence)
	return r, opened, nil
}

// errNoBytes is the cause of a push whose SET succeeded and whose script found nothing at the key all the same.
var errNoBytes = errors.New("they were evicted, or the image is empty")

// lostBytes returns the error of a push whose bytes were not in Redis when its script ran. The error of the SET is its
// cause, and decides whether the push is repeated.
func lostBytes(cause error) error {
	if errors.Is(cause, redis.Nil) { // there were bytes already, which have gone since
		cause = nil
	}
	return fmt.Errorf("the bytes are missing: %w", cmp.Or(cause, errNoBytes))
}

// undoPush withdraws a push, in the background.
func (q *Queue) undoPush(session string, id callID) {
	q.undoer.add(id, func(ctx context.Context, p redis.Pipeliner) redis.Cmder {
		return q.sendWithdraw(ctx, p, session, id)
	})
}
