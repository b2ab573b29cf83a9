package redisqueue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
)

// errRetry asks retry for another attempt at once.
var errRetry = errors.New("try again")

// reply is a script's reply to a call.
type reply struct {
	text          string
	indeterminate bool // an attempt that was not answered may have run, or may still run
}

// call sends a pipeline with a script that replies in text, with as many attempts as retry makes. It takes along the
// unlinking of bytes that were delivered before, so that Redis has that memory, still warm, for the image to come.
func (q *Queue) call(
	ctx context.Context, m callMetrics, session string, send func(redis.Pipeliner) *redis.Cmd,
) (r reply, err error) {
	k := keysOf(session)
	delivered := q.cleaner.take(k)
	r.indeterminate, err = q.retry(ctx, m, func(ctx context.Context) error {
		pipeline := q.rdb.Pipeline()
		if len(delivered) > 0 {
			pipeline.Unlink(ctx, delivered...)
		}
		script := send(pipeline)
		pipeline.Exec(ctx) // each command has its own error
		text, err := script.Text()
		switch {
		case err != nil:
			return err
		case text == "shift_clock":
			return cmp.Or(q.shiftClock(ctx, session), errRetry)
		case text == "retry":
			return errRetry
		}
		r.text = text
		return nil
	})
	if err != nil {
		q.cleaner.putBack(k, delivered)
	}
	return r, err
}

// retry makes attempts until one succeeds or callTimeout has passed, and times them as one call. It repeats after lost
// connections and timeouts, whether or not the earlier attempt ran, because the scripts know a call that ran before. It
// loads the scripts where they are missing. It reports whether an attempt may have run without being answered; its
// error wraps queue.ErrUnavailable, or queue.ErrFull when Redis is out of memory.
//
// The end of ctx does not end the attempts: what has been sent runs anyway.
func (q *Queue) retry(
	ctx context.Context, m callMetrics, attempt func(context.Context) error,
) (indeterminate bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	start := time.Now()
	defer func() { m.observe(start, err) }()
	for delay := 10 * time.Millisecond; ; delay = min(2*delay, 200*time.Millisecond) {
		err := attempt(ctx)
		if redis.HasErrorPrefix(err, "NOSCRIPT") {
			err = cmp.Or(loadScripts(ctx, q.rdb), errRetry)
		}
		switch {
		case err == nil:
			return indeterminate, nil
		case errors.Is(err, errRetry) && ctx.Err() == nil:
			continue
		case redis.IsOOMError(err):
			return indeterminate, q.giveUp(indeterminate, queue.ErrFull, err)
		}
		indeterminate = indeterminate || mayHaveRun(err)
		late := time.Since(start) > callTimeout-attemptTimeout
		if late || !transient(err) || pause(ctx, delay) != nil {
			return indeterminate, q.giveUp(indeterminate, queue.ErrUnavailable, err)
		}
		q.metrics.repeats.Inc()
	}
}

// giveUp returns the error of a call that failed, and counts the call if its outcome is unknown.
func (q *Queue) giveUp(indeterminate bool, kind, cause error) error {
	if indeterminate {
		q.metrics.unknown.Inc()
	}
	return fmt.Errorf("%w: %w", kind, cause)
}

// transient reports whether another attempt makes sense: the connection broke, or Redis says that it cannot serve now.
func transient(err error) bool {
	if _, isReply := errors.AsType[redis.Error](err); !isReply {
		return !errors.Is(err, redis.ErrClosed)
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

// mayHaveRun reports whether a failed attempt can have reached Redis and run.
func mayHaveRun(err error) bool {
	if _, isReply := errors.AsType[redis.Error](err); isReply {
		return false
	}
	broken, ok := errors.AsType[*net.OpError](err)
	return !errors.Is(err, redis.ErrPoolTimeout) && !(ok && broken.Op == "dial")
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
