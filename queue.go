package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"
)

// The scripts decide: order, age, index. The bytes travel beside them, as plain
// strings in the same pipeline, so that no image passes through Lua.
var (
	//go:embed lua/push.lua
	pushSource string
	//go:embed lua/withdraw.lua
	unpushSource string
	//go:embed lua/pop.lua
	popSource string
	//go:embed lua/requeue.lua
	unpopSource string
	//go:embed lua/peek.lua
	lookSource string
	//go:embed lua/stats.lua
	statsSource string
	//go:embed lua/shift_clock.lua
	rebaseSource string
	//go:embed lua/count_sessions.lua
	censusSource string
	//go:embed lua/session_details.lua
	detailsSource string

	pushScript    = redis.NewScript(pushSource)
	unpushScript  = redis.NewScript(unpushSource)
	popScript     = redis.NewScript(popSource)
	unpopScript   = redis.NewScript(unpopSource)
	lookScript    = redis.NewScript(lookSource)
	statsScript   = redis.NewScript(statsSource)
	rebaseScript  = redis.NewScript(rebaseSource)
	censusScript  = redis.NewScript(censusSource)
	detailsScript = redis.NewScript(detailsSource)

	scripts = []*redis.Script{
		pushScript, unpushScript, popScript, unpopScript, lookScript, statsScript, rebaseScript,
		censusScript, detailsScript,
	}
)

const (
	// buckets is how many index shards there are. The bucket is the hash tag of
	// all keys of its sessions, so a script finds them on one Cluster node.
	buckets = 64
)

// redisQueue is the engine on Redis. Push and Pop are one round trip each, and
// repeating either is harmless: see call.
type redisQueue struct {
	rdb     redis.UniversalClient
	ttl     time.Duration
	limits  limits
	log     *slog.Logger
	census  *census
	counts  redisCounts
	callers *callers
	buffers *buffers
	settler *settler
	wakes   *wakes
	stop    context.CancelFunc
}

func newRedisQueue(opt *redis.Options, ttl time.Duration, log *slog.Logger) *redisQueue {
	return newRedisQueueOn(newRedisClient(opt), ttl, log)
}

func newRedisQueueOn(rdb redis.UniversalClient, ttl time.Duration, log *slog.Logger) *redisQueue {
	q := &redisQueue{rdb: rdb, ttl: ttl, log: log, callers: newCallers(), buffers: new(buffers), census: new(census), counts: newRedisCounts()}
	q.settler = newSettler(q)
	q.wakes = newWakes(rdb)
	ctx, stop := context.WithCancel(context.Background())
	q.stop = stop
	go q.warmUp(ctx)
	return q
}

// Close finishes what is to be settled, then hangs up.
func (q *redisQueue) Close() {
	q.stop()
	q.settler.close()
	q.wakes.close()
	q.rdb.Close()
}

func (q *redisQueue) Describe() string { return "redis" }

func (q *redisQueue) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	if err := q.rdb.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("ping: %w: %w", errUnavailable, err)
	}
	return nil
}

func (q *redisQueue) Buffer(size int) []byte { return q.buffers.get(size) }

func (q *redisQueue) Push(ctx context.Context, session string, image []byte) (receipt, error) {
	defer q.buffers.put(image)
	r, err := q.push(ctx, session, image, q.census.room(q.limits.sessions))
	if err != errManySessions || q.limits.sessions == 0 {
		return r, err
	}
	if q.census.age() > recount {
		if err := q.count(ctx); err != nil {
			return receipt{}, err
		}
	}
	if !q.census.room(q.limits.sessions) {
		return receipt{}, errManySessions
	}
	return q.push(ctx, session, image, true)
}

// push stores an image. Unless it may open a session, the session must have one.
func (q *redisQueue) push(ctx context.Context, session string, image []byte, open bool) (receipt, error) {
	t := q.callers.begin()
	var set *redis.StatusCmd
	answer, err := q.call(ctx, session, func(p redis.Pipeliner) (reply *redis.Cmd) {
		set, reply = q.sendPush(ctx, p, session, t, image, open)
		return reply
	})
	if answer.unsure && (err != nil || answer.text == "lost" || answer.text == "sessions") {
		q.settler.unpush(session, t) // a try on its way could still store it
	} else {
		q.callers.end(t)
	}
	switch {
	case answer.text == "lost" && redis.IsOOMError(set.Err()):
		return receipt{}, fmt.Errorf("push: %w: %w", errFull, set.Err())
	case answer.text == "lost":
		return receipt{}, fmt.Errorf("push: the bytes are missing: %w", set.Err())
	case answer.text == "sessions":
		return receipt{}, errManySessions
	case err != nil:
		return receipt{}, fmt.Errorf("push: %w", err)
	}
	r, err := parseReceipt(answer.text)
	if err != nil {
		return receipt{}, fmt.Errorf("push: %w", err)
	}
	q.settler.supersede(session, r.sequence)
	if r.opened {
		q.census.opened.Add(1)
	}
	return r, nil
}

func (q *redisQueue) sendPush(ctx context.Context, p redis.Pipeliner, session string, t ticket, image []byte, open bool) (*redis.StatusCmd, *redis.Cmd) {
	k := keysOf(session)
	return p.Set(ctx, k.image(t.id()), image, q.ttl), p.EvalSha(
		ctx, pushScript.Hash(),
		[]string{
			k.queue(session),
			k.meta(session),
			k.sessions(),
			k.image(t.id()),
			k.wake(session),
		},
		session,
		t.caller.name,
		t.call,
		q.ttl.Milliseconds(),
		(q.ttl + sequenceMemory).Milliseconds(),
		k.image(""),
		q.limits.images,
		q.limits.bytes,
		open,
	)
}

// Pop asks again when the image it took expired between the script and the
// reading of its bytes.
func (q *redisQueue) Pop(ctx context.Context, session string) (frame, error) {
	for {
		f, err := q.pop(ctx, session)
		if err != nil || len(f.data) > 0 {
			return f, err
		}
		q.callers.end(f.ticket)
	}
}

func (q *redisQueue) pop(ctx context.Context, session string) (frame, error) {
	t := q.callers.begin()
	var get *redis.StringCmd
	answer, err := q.call(ctx, session, func(p redis.Pipeliner) (reply *redis.Cmd) {
		reply, get = q.sendPop(ctx, p, session, t)
		return reply
	})
	if answer.text == "" { // nothing was taken, but a try on its way could still take an image
		if answer.unsure {
			q.settler.unpop(session, t)
		} else {
			q.callers.end(t)
		}
		if err == nil {
			return frame{}, errEmpty
		}
		return frame{}, fmt.Errorf("pop: %w", err)
	}
	f, err := parseFrame(answer.text)
	f.session, f.ticket = session, t
	if err == nil {
		f.data, err = get.Bytes()
		f.size = len(f.data)
	}
	if err != nil && !errors.Is(err, redis.Nil) {
		q.settler.unpop(session, t)
		return frame{}, fmt.Errorf("pop: %w: %w", errUnavailable, err)
	}
	return f, nil
}

func (q *redisQueue) sendPop(ctx context.Context, p redis.Pipeliner, session string, t ticket) (*redis.Cmd, *redis.StringCmd) {
	k := keysOf(session)
	return p.EvalSha(
		ctx, popScript.Hash(),
		[]string{
			k.queue(session),
			k.meta(session),
			k.out(t.id()),
		},
		t.caller.name,
		t.call,
		k.image(""),
		q.ttl.Milliseconds(),
	), p.Get(ctx, k.out(t.id()))
}

func (q *redisQueue) Settle(f frame, delivered bool) {
	if delivered {
		q.settler.free(f)
		q.callers.end(f.ticket)
	} else {
		q.settler.unpop(f.session, f.ticket)
	}
}

func (q *redisQueue) sendUnpop(ctx context.Context, p redis.Pipeliner, session string, t ticket) *redis.Cmd {
	k := keysOf(session)
	return p.EvalSha(
		ctx, unpopScript.Hash(),
		[]string{
			k.queue(session),
			k.meta(session),
			k.out(t.id()),
			k.wake(session),
		},
		t.caller.name,
		t.call,
		k.image(""),
		sequenceMemory.Milliseconds(),
		q.ttl.Milliseconds(),
	)
}

func (q *redisQueue) sendUnpush(ctx context.Context, p redis.Pipeliner, session string, t ticket) *redis.Cmd {
	k := keysOf(session)
	return p.EvalSha(
		ctx, unpushScript.Hash(),
		[]string{
			k.queue(session),
			k.meta(session),
			k.image(t.id()),
		},
		t.caller.name,
		t.call,
		sequenceMemory.Milliseconds(),
	)
}
