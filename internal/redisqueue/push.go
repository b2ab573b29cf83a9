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
	r, err := q.push(ctx, session, image, q.sessions.allows(q.limits.Sessions))
	if err != queue.ErrTooManySessions {
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
	return q.push(ctx, session, image, true)
}

// push stores an image. Unless mayOpen is set, the session has to be open already.
func (q *Queue) push(ctx context.Context, session string, image []byte, mayOpen bool) (queue.Receipt, error) {
	id := q.calls.begin()
	var set *redis.StatusCmd
	r, err := q.call(ctx, q.metrics.push, session, func(p redis.Pipeliner) (script *redis.Cmd) {
		set, script = q.sendPush(ctx, p, session, id, image, mayOpen)
		return script
	})
	if r.indeterminate && (err != nil || r.text == "lost" || r.text == "sessions") {
		q.undoPush(session, id) // an attempt on its way could still store the image
	} else {
		q.calls.end(id)
	}
	switch {
	case err != nil:
		return queue.Receipt{}, fmt.Errorf("push: %w", err)
	case r.text == "lost":
		return queue.Receipt{}, lostBytes(set.Err())
	case r.text == "sessions":
		return queue.Receipt{}, queue.ErrTooManySessions
	}
	receipt, opened, err := parsePush(r.text)
	if err != nil {
		return queue.Receipt{}, fmt.Errorf("push: %w", err)
	}
	q.cleaner.freeRetained(session, receipt.Sequence)
	if opened {
		q.sessions.open()
	}
	return receipt, nil
}

// errNoBytes is the cause of a push whose SET succeeded and whose script found nothing at the key all the same.
var errNoBytes = errors.New("they were evicted, or the image is empty")

// lostBytes returns the error of a push whose bytes were not in Redis when its script ran. cause is that of the SET.
func lostBytes(cause error) error {
	if redis.IsOOMError(cause) {
		return fmt.Errorf("push: %w: %w", queue.ErrFull, cause)
	}
	return fmt.Errorf("push: the bytes are missing: %w", cmp.Or(cause, errNoBytes))
}

// undoPush withdraws a push, in the background.
func (q *Queue) undoPush(session string, id callID) {
	q.undoer.add(id, func(ctx context.Context, p redis.Pipeliner) redis.Cmder {
		return q.sendWithdraw(ctx, p, session, id)
	})
}
