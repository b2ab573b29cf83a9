package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	// callTimeout bounds a call with all its repeats: the consumer has its
	// answer, if need be a 503, within three seconds.
	callTimeout = 2500 * time.Millisecond

	// attemptTimeout bounds one try, far above what a Redis that works needs. A
	// large image that is moving may take longer: see steadyConn.
	attemptTimeout = 1200 * time.Millisecond

	// connections is the pool size. No request holds one while it waits for
	// anything but Redis.
	connections = 64
)

// newRedisClient returns a client that never repeats anything by itself: call
// does, knowing what is safe.
func newRedisClient(opt *redis.Options) *redis.Client {
	o := *opt
	o.MaxRetries = -1
	o.DialerRetries = 1
	o.DialTimeout = attemptTimeout
	o.ReadTimeout = attemptTimeout
	o.WriteTimeout = attemptTimeout
	o.PoolTimeout = attemptTimeout
	o.PoolSize = connections
	o.PipelinePoolSize = -1 // everything is a pipeline: one pool serves
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.Dialer = steadyDialer(&o)
	return redis.NewClient(&o)
}

// newClusterClient is the same for a Cluster, of which the options name nodes in a
// comma list. It follows a slot that moves, and so may repeat a call: that is safe.
func newClusterClient(opt *redis.Options) *redis.ClusterClient {
	dial := *opt
	dial.DialTimeout = attemptTimeout
	return redis.NewClusterClient(&redis.ClusterOptions{
		Addrs:     strings.Split(opt.Addr, ","),
		Username:  opt.Username,
		Password:  opt.Password,
		TLSConfig: opt.TLSConfig,
		Dialer:    steadyDialer(&dial),

		DialerRetries:            1,
		DialTimeout:              attemptTimeout,
		ReadTimeout:              attemptTimeout,
		WriteTimeout:             attemptTimeout,
		PoolTimeout:              attemptTimeout,
		PoolSize:                 connections / 2, // for each node
		PipelinePoolSize:         -1,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// quietRedis drops what go-redis would print about its connections: what matters
// to a caller comes back as an error.
type quietRedis struct{}

func (quietRedis) Printf(context.Context, string, ...any) {}

// errAgain asks persist to try again at once.
var errAgain = errors.New("try again")

// answer is a script's reply.
type answer struct {
	text   string
	unsure bool // a try that was not answered may have run, or may still run
}

// call sends a pipeline with a script that answers in text, as often as
// persist wants. It takes along the freeing of what was delivered before, so that
// Redis has that memory, still warm, for the image that comes.
func (q *redisQueue) call(ctx context.Context, session string, send func(redis.Pipeliner) *redis.Cmd) (answer, error) {
	var a answer
	var err error
	delivered := q.settler.take(keysOf(session))
	a.unsure, err = q.persist(ctx, func(ctx context.Context) error {
		pipeline := q.rdb.Pipeline()
		if len(delivered) > 0 {
			pipeline.Unlink(ctx, delivered...)
		}
		reply := send(pipeline)
		pipeline.Exec(ctx) // each command has its own error
		text, err := reply.Text()
		switch {
		case err != nil:
			return err
		case text == "rebase":
			return cmp.Or(q.rebase(ctx, session), errAgain)
		case text == "again":
			return errAgain
		}
		a.text = text
		return nil
	})
	if err != nil {
		q.settler.later(keysOf(session), delivered)
	}
	return a, err
}

// persist runs try until it succeeds or callTimeout has passed. It repeats after
// lost connections and timeouts, whatever became of the earlier try: the scripts
// know a call that ran before, so it is not done again. It loads the scripts where they
// are missing. It returns whether a try may have run without being answered, and
// an error that wraps errUnavailable, or errFull when Redis is out of memory.
//
// The caller's context does not end it: what has been sent runs anyway.
func (q *redisQueue) persist(ctx context.Context, try func(context.Context) error) (unsure bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	start := time.Now()
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		err := try(ctx)
		if redis.HasErrorPrefix(err, "NOSCRIPT") {
			err = cmp.Or(q.loadScripts(ctx), errAgain)
		}
		switch {
		case err == nil:
			return unsure, nil
		case errors.Is(err, errAgain) && ctx.Err() == nil:
			continue
		case redis.IsOOMError(err):
			return q.gaveUp(unsure, errFull, err)
		}
		unsure = unsure || mayHaveRun(err)
		late := time.Since(start) > callTimeout-attemptTimeout
		if late || !transient(err) || pause(ctx, wait) != nil {
			return q.gaveUp(unsure, errUnavailable, err)
		}
		q.counts.repeats.Inc()
	}
}

// gaveUp is the end of a call that failed.
func (q *redisQueue) gaveUp(unsure bool, kind, cause error) (bool, error) {
	if unsure {
		q.counts.unknown.Inc()
	}
	return unsure, fmt.Errorf("%w: %w", kind, cause)
}

// transient tells whether it makes sense to try again: the connection broke, or
// Redis says that it cannot serve now.
func transient(err error) bool {
	if _, isReply := errors.AsType[redis.Error](err); !isReply {
		return !errors.Is(err, redis.ErrClosed)
	}
	for _, prefix := range []string{
		"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "BUSY", "MISCONF",
	} {
		if redis.HasErrorPrefix(err, prefix) {
			return true
		}
	}
	return strings.Contains(err.Error(), "max number of clients")
}

// mayHaveRun tells whether a try that failed can have reached Redis and run.
func mayHaveRun(err error) bool {
	if _, isReply := errors.AsType[redis.Error](err); isReply {
		return false
	}
	broken, ok := errors.AsType[*net.OpError](err)
	return !errors.Is(err, redis.ErrPoolTimeout) && !(ok && broken.Op == "dial")
}

// loadScripts loads every script on every node.
func (q *redisQueue) loadScripts(ctx context.Context) error {
	for _, s := range scripts {
		if err := s.Load(ctx, q.rdb).Err(); err != nil {
			return fmt.Errorf("load scripts: %w", err)
		}
	}
	return nil
}

// rebase repairs a session's queue after the clock of Redis stepped back.
func (q *redisQueue) rebase(ctx context.Context, session string) error {
	k := keysOf(session)
	q.log.Warn("the clock of redis stepped back")
	return rebaseScript.Run(
		ctx, q.rdb,
		[]string{
			k.queue(session),
			k.meta(session),
			k.sessions(),
		},
		session,
		k.image(""),
		q.ttl.Milliseconds(),
	).Err()
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
