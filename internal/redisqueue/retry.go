package redisqueue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
)

var (
	// errRetry asks retry for another attempt at once.
	errRetry = errors.New("try again")
	// errBehind puts a call off: see undoer.isBehind.
	errBehind = errors.New("too many calls have to be undone first")
	// errUnexpected says that a reply has not the form that a script gives it. Another attempt would get it again.
	errUnexpected = errors.New("unexpected reply")
)

// request is what a call sends in each of its attempts.
type request struct {
	client *client                          // nil: the call changes nothing
	send   func(redis.Pipeliner) *redis.Cmd // adds the commands, and returns that of the script
	read   func(text string) error          // reads the script's reply, and those to the other commands
}

// call makes a call, with as many attempts as retry makes. It takes along the unlinking of bytes that were delivered
// before, so that Redis has that memory, still warm, for the image to come.
func (q *Queue) call(ctx context.Context, m callMetrics, session string, r request) error {
	k := keysOf(session)
	delivered := q.cleaner.take(k)
	err := q.retry(ctx, m, func(ctx context.Context) error {
		switch {
		case r.client == nil:
			return q.attempt(ctx, session, r, delivered)
		case r.client.unanswered == 0 && q.undoer.isBehind(k):
			return errBehind
		}
		return r.client.attempt(func() error { return q.attempt(ctx, session, r, delivered) })
	})
	if err != nil {
		q.cleaner.putBack(k, delivered)
	}
	return err
}

// attempt sends a request in one pipeline, and reads the replies.
func (q *Queue) attempt(ctx context.Context, session string, r request, delivered []string) error {
	pipeline := q.rdb.Pipeline()
	if len(delivered) > 0 {
		pipeline.Unlink(ctx, delivered...)
	}
	script := r.send(pipeline)
	pipeline.Exec(ctx) // each command has its own error
	text, err := textOf(script)
	switch {
	case err != nil:
		return err
	case text == "shift_clock":
		return cmp.Or(q.shiftClock(ctx, session), errRetry)
	case text == "retry":
		return errRetry
	}
	return r.read(text)
}

// textOf returns the text that a script has replied.
func textOf(script *redis.Cmd) (string, error) {
	if err := script.Err(); err != nil && !errors.Is(err, redis.Nil) {
		return "", err
	}
	text, ok := script.Val().(string)
	if !ok {
		return "", fmt.Errorf("%w: a script replied with a value of type %T", errUnexpected, script.Val())
	}
	return text, nil
}

// retry makes attempts until one succeeds or callTimeout has passed, and times them as one call. It repeats after lost
// connections and timeouts, whether or not the earlier attempt ran, because the scripts know a call that ran before. It
// loads the scripts where they are missing. Its error wraps queue.ErrUnavailable, or queue.ErrFull when Redis is out of
// memory.
//
// The end of ctx does not end the attempts: what has been sent runs anyway.
func (q *Queue) retry(ctx context.Context, m callMetrics, attempt func(context.Context) error) (err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	start := time.Now()
	defer func() { m.observe(start, err) }()
	late := func() bool { return time.Since(start) > callTimeout-attemptTimeout } // for another attempt
	for delay := 10 * time.Millisecond; ; delay = min(2*delay, 200*time.Millisecond) {
		err := attempt(ctx)
		if redis.HasErrorPrefix(err, "NOSCRIPT") && !late() {
			_, loadErr := q.load.Get(ctx)
			err = cmp.Or(loadErr, errRetry)
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errRetry) && ctx.Err() == nil:
			continue
		case redis.IsOOMError(err):
			return fmt.Errorf("%w: %w", queue.ErrFull, err)
		}
		if late() || !transient(err) || pause(ctx, delay) != nil {
			return fmt.Errorf("%w: %w", queue.ErrUnavailable, err)
		}
		q.metrics.repeats.Inc()
	}
}

// transient reports whether another attempt makes sense: the connection broke, or Redis says that it cannot serve now.
func transient(err error) bool {
	if !refused(err) {
		return !errors.Is(err, redis.ErrClosed) && !errors.Is(err, errUnexpected)
	}
	for _, prefix := range []string{
		"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "MOVED", "ASK", "TRYAGAIN", "NOREPLICAS", "BUSY", "MISCONF",
	} {
		if redis.HasErrorPrefix(err, prefix) {
			return true
		}
	}
	return strings.Contains(err.Error(), "max number of clients")
}

// refused reports whether an error is a reply of Redis, which says that the command did not run.
func refused(err error) bool {
	_, isReply := errors.AsType[redis.Error](err)
	return isReply
}

// pause waits, or returns the error of a context that ends first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
