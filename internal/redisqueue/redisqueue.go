// Package redisqueue is the queue on Redis, which any number of servers share.
//
// Push and Pop are one round trip each. The scripts of package lua decide order, age and index; the bytes of an image
// travel beside them as a plain string, so that no image passes through Lua. A call that got no answer is repeated
// under the same callID, which has no further effect if the call ran before. A call whose outcome stays unknown is
// undone in the background. Notifications of new images reach all servers through channels of Redis.
//
// Open does not wait for Redis: while Redis does not answer, calls fail with queue.ErrUnavailable.
package redisqueue

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
)

// Options say how to open a Queue.
type Options struct {
	Redis      *redis.UniversalOptions // not changed; Open uses timeouts, pools, retries and a dialer of its own
	TTL        time.Duration           // of an image
	Limits     queue.Limits
	MaxImage   int64 // size of the largest image that will be pushed; 0: not known
	Log        *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
}

// Queue implements queue.Queue on Redis.
type Queue struct {
	rdb      redis.UniversalClient
	ttl      time.Duration
	limits   queue.Limits
	maxImage int64
	log      *slog.Logger
	metrics  *metrics
	load     *queue.Shared[struct{}] // of the scripts, once for all who miss them at a time
	calls    *callIDs
	buffers  *buffers
	sessions *sessionCount
	cleaner  *cleaner
	undoer   *undoer
	pubsub   *pubsub
	ready    *queue.Shared[struct{}]
	logStep  *queue.Shared[struct{}]

	stop  context.CancelFunc
	ended chan struct{} // closed when what stop ends has ended
}

var (
	_ queue.Queue        = (*Queue)(nil)
	_ queue.Acknowledger = (*Queue)(nil)
)

// Open returns a queue on the Redis that the options name. The caller has to Close it.
func Open(o Options) *Queue { return open(newClient(o.Redis), o) }

// open is Open with a given client.
func open(rdb redis.UniversalClient, o Options) *Queue {
	ctx, stop := context.WithCancel(context.Background())
	calls := newCallIDs()
	load := queue.NewShared(0, func(ctx context.Context) (none struct{}, err error) {
		ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
		defer cancel()
		return none, loadScripts(ctx, rdb)
	})
	q := &Queue{
		rdb: rdb, ttl: o.TTL, limits: o.Limits, maxImage: o.MaxImage, log: o.Log,
		metrics:  newMetrics(o.Registerer, rdb),
		load:     load,
		calls:    calls,
		buffers:  new(buffers),
		sessions: newSessionCount(o.Limits.Sessions),
		cleaner:  newCleaner(rdb, o.TTL, o.Log),
		undoer:   newUndoer(rdb, load, calls, o.TTL, o.Log),
		pubsub:   newPubsub(rdb),
		stop:     stop,
		ended:    make(chan struct{}),
	}
	q.ready = queue.NewShared(time.Second, func(ctx context.Context) (none struct{}, err error) {
		return none, q.tryPush(ctx)
	})
	q.logStep = queue.NewShared(stepLogPeriod, func(context.Context) (none struct{}, err error) {
		q.log.Warn("the clock of redis stepped back, or EXPIRE was longer before")
		return none, nil
	})
	go func() {
		defer close(q.ended)
		q.prepare(ctx)
		q.repairClock(ctx)
	}()
	return q
}

// Close frees and undoes what is left, then closes the connections.
func (q *Queue) Close() {
	q.stop()
	q.finish()
	q.pubsub.close()
	<-q.ended
	q.rdb.Close()
}

// finish ends the workers, and then frees and undoes what they left, for as long as a call may take.
func (q *Queue) finish() {
	q.cleaner.worker.cancel() // both at once: each may be waiting for a Redis that does not answer
	q.undoer.worker.cancel()
	q.cleaner.worker.stop()
	q.undoer.worker.stop()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	left := q.flush(ctx)
	for left > 0 && pause(ctx, batchDelay) == nil {
		left = q.flush(ctx)
	}
	if left > 0 {
		q.log.Warn("calls left unsettled", "count", left)
	}
}

// flush frees and undoes what it can in one go. It returns how many commands have to be sent again.
func (q *Queue) flush(ctx context.Context) (left int) {
	return q.undoer.flush(ctx) + q.cleaner.flush(ctx)
}

// Describe names the engine for the log.
func (q *Queue) Describe() string { return "redis" }
