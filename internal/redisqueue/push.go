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

// Push appends an image to a session. It may open the session if it has a place for one more. Where places are scarce
// it has none at first: then push.lua refuses an image that would open a session, and pushNew looks for a place.
func (q *Queue) Push(ctx context.Context, session string, image []byte) (queue.Receipt, error) {
	defer q.buffers.put(image)
	reserved, opened := q.sessions.tryReserve()
	if reserved {
		return q.pushReserved(ctx, session, image)
	}
	r, _, err := q.push(ctx, session, image, false)
	if err == queue.ErrTooManySessions {
		return q.pushNew(ctx, session, image, opened)
	}
	return r, err
}

// pushNew pushes an image whose session was not open. Unless the count of another push has found plenty of places
// meanwhile, it counts the sessions, and opens one more if there is a place. Otherwise the image is pushed once more
// where another push may have opened its session meanwhile: where this process has opened sessions since tryReserve
// returned opened. One push at a time does all that, so that a process never exceeds the limit.
func (q *Queue) pushNew(ctx context.Context, session string, image []byte, opened int) (queue.Receipt, error) {
	if err := q.sessions.takeTurn(ctx); err != nil {
		return queue.Receipt{}, err
	}
	if reserved, _ := q.sessions.tryReserve(); reserved {
		q.sessions.endTurn()
		return q.pushReserved(ctx, session, image)
	}
	defer q.sessions.endTurn()
	if !q.sessions.isFull() {
		if err := q.countSessions(ctx); err != nil {
			return queue.Receipt{}, err
		}
	}
	switch {
	case q.sessions.reserve():
		return q.pushReserved(ctx, session, image)
	case q.sessions.isOpenedSince(opened):
		r, _, err := q.push(ctx, session, image, false)
		return r, err
	}
	return queue.Receipt{}, queue.ErrTooManySessions
}

// pushReserved pushes an image with a place for its session, and gives the place back if the session was open already.
func (q *Queue) pushReserved(ctx context.Context, session string, image []byte) (queue.Receipt, error) {
	r, opened, err := q.push(ctx, session, image, true)
	q.sessions.settle(opened)
	return r, err
}

// push stores an image. Unless mayOpen is set, the session has to be open already. opened reports whether the image has
// opened it, or may have.
func (q *Queue) push(
	ctx context.Context, session string, image []byte, mayOpen bool,
) (r queue.Receipt, opened bool, err error) {
	id := q.calls.begin(keysOf(session))
	var set *redis.StatusCmd
	err = q.call(ctx, q.metrics.push, session, request{
		client: id.client,
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
	unknown := !stored && id.client.unanswered > 0 // an attempt may have stored the image, or could still store it
	if unknown {
		q.metrics.unknown.Inc()
		q.undoPush(session, id)
	} else {
		q.calls.end(id)
	}
	switch {
	case err != nil:
		return queue.Receipt{}, unknown, fmt.Errorf("push: %w", err)
	case !stored:
		return queue.Receipt{}, unknown, queue.ErrTooManySessions
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
