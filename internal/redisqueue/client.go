package redisqueue

import (
	"context"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	// callTimeout bounds a call with all its repeats: the consumer is answered within three seconds, with a 503 if
	// need be.
	callTimeout = 2500 * time.Millisecond

	// attemptTimeout bounds one attempt, far above what a healthy Redis needs. A large image that moves may take
	// longer: see progressConn.
	attemptTimeout = 1200 * time.Millisecond

	// connections is the size of the pool. A request holds a connection only while it waits for Redis.
	connections = 64
)

// newClient returns a client for the server or the Cluster that the options name. The client of a server repeats no
// call by itself, because retry does. The client of a Cluster does: it follows a slot that has moved, and it sends a
// pipeline again after a lost connection or a timeout. That is safe, because calls are idempotent. It may do so once,
// so that an attempt stays within callTimeout; retry does the rest.
func newClient(options *redis.UniversalOptions) redis.UniversalClient {
	o := *options
	o.MaxRetries = -1
	o.DialerRetries = 1
	o.DialTimeout = attemptTimeout
	o.ReadTimeout = attemptTimeout
	o.WriteTimeout = attemptTimeout
	o.PoolTimeout = attemptTimeout
	o.PoolSize = connections
	if o.IsClusterMode {
		o.PoolSize = connections / 2 // for each node
		o.MaxRedirects = 1
	}
	o.PipelinePoolSize = -1 // everything is a pipeline: one pool is enough
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.Dialer = progressDialer(o.Simple())
	rdb := redis.NewUniversalClient(&o)
	rdb.AddHook(unsentPipelines{})
	return rdb
}

// unsentPipelines gives the commands of a pipeline its error if it was not sent. go-redis leaves them with neither
// error nor reply where Redis refused the connection by an error reply: a wrong password, too many clients.
type unsentPipelines struct{}

func (unsentPipelines) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (unsentPipelines) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (unsentPipelines) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if err == nil || slices.ContainsFunc(cmds, func(cmd redis.Cmder) bool { return cmd.Err() != nil }) {
			return err
		}
		for _, cmd := range cmds {
			cmd.SetErr(err)
		}
		return err
	}
}

// DiscardClientLog silences go-redis, for the whole process. What matters of its log reaches the callers as errors.
func DiscardClientLog() { redis.SetLogger(discard{}) }

type discard struct{}

func (discard) Printf(context.Context, string, ...any) {}
