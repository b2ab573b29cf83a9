package redisqueue

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/lua"
)

// script is one that Redis runs.
type script struct{ source, hash string }

// newScript returns a script with the hash by which Redis knows it once it is loaded.
func newScript(source string) *script {
	sum := sha1.Sum([]byte(source))
	return &script{source, hex.EncodeToString(sum[:])}
}

var (
	pushScript          = newScript(lua.Push)
	withdrawScript      = newScript(lua.Withdraw)
	popScript           = newScript(lua.Pop)
	requeueScript       = newScript(lua.Requeue)
	peekScript          = newScript(lua.Peek)
	statsScript         = newScript(lua.Stats)
	countSessionsScript = newScript(lua.CountSessions)
	findAheadScript     = newScript(lua.FindAhead)
	shiftClockScript    = newScript(lua.ShiftClock)

	scripts = []*script{
		pushScript, withdrawScript, popScript, requeueScript, peekScript, statsScript, countSessionsScript,
		findAheadScript, shiftClockScript,
	}
)

// loadScripts loads every script on every node.
func loadScripts(ctx context.Context, rdb redis.UniversalClient) (err error) {
	if cluster, ok := rdb.(*redis.ClusterClient); ok {
		err = cluster.ForEachShard(ctx, func(ctx context.Context, node *redis.Client) error {
			return loadScriptsOn(ctx, node)
		})
	} else {
		err = loadScriptsOn(ctx, rdb)
	}
	if err != nil {
		return fmt.Errorf("load scripts: %w", err)
	}
	return nil
}

func loadScriptsOn(ctx context.Context, node redis.Cmdable) error {
	_, err := node.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, s := range scripts {
			p.ScriptLoad(ctx, s.source)
		}
		return nil
	})
	return err
}

// Each send function adds a script to a pipeline, with the keys and arguments in the order of the script's header. A
// call that may have to be undone has its client as an argument: it notes that the call is written.

// sendPush adds the SET of an image's bytes and push.lua.
func (q *Queue) sendPush(
	ctx context.Context, p redis.Pipeliner, session string, id callID, image []byte, mayOpen bool,
) (*redis.StatusCmd, *redis.Cmd) {
	return q.sendPushTo(ctx, p, keysOf(session), session, id, image, mayOpen)
}

// sendPushTo is sendPush for a session in a given bucket.
func (q *Queue) sendPushTo(
	ctx context.Context, p redis.Pipeliner, k keys, session string, id callID, image []byte, mayOpen bool,
) (*redis.StatusCmd, *redis.Cmd) {
	bytes := k.image(id.String())
	// With NX a push that is repeated does not prolong the life of bytes that are there already.
	set := redis.NewStatusCmd(ctx, "set", bytes, image, "px", q.ttl.Milliseconds(), "nx")
	_ = p.Process(ctx, set) // it has its own error
	return set, p.EvalSha(
		ctx, pushScript.hash,
		[]string{
			k.queue(session),
			k.meta(session),
			k.sessions(),
			bytes,
			k.notify(session),
		},
		session,
		id.client,
		id.call,
		q.ttl.Milliseconds(),
		(q.ttl + queue.SequenceRetention).Milliseconds(),
		k.image(""),
		q.limits.Images,
		q.limits.Bytes,
		mayOpen,
	)
}

func (q *Queue) sendWithdraw(ctx context.Context, p redis.Pipeliner, session string, id callID) *redis.Cmd {
	k := keysOf(session)
	return p.EvalSha(
		ctx, withdrawScript.hash,
		[]string{
			k.queue(session),
			k.meta(session),
			k.image(id.String()),
		},
		id.client.name,
		id.call,
		queue.SequenceRetention.Milliseconds(),
	)
}

// sendPop adds pop.lua and the GET of the bytes that it takes.
func (q *Queue) sendPop(
	ctx context.Context, p redis.Pipeliner, session string, id callID, most int,
) (*redis.Cmd, *redis.StringCmd) {
	k := keysOf(session)
	delivered := k.delivered(id.String())
	return p.EvalSha(
		ctx, popScript.hash,
		[]string{
			k.queue(session),
			k.meta(session),
			delivered,
		},
		id.client,
		id.call,
		k.image(""),
		q.ttl.Milliseconds(),
		most,
	), p.Get(ctx, delivered)
}

func (q *Queue) sendRequeue(ctx context.Context, p redis.Pipeliner, session string, id callID) *redis.Cmd {
	k := keysOf(session)
	return p.EvalSha(
		ctx, requeueScript.hash,
		[]string{
			k.queue(session),
			k.meta(session),
			k.delivered(id.String()),
			k.notify(session),
		},
		id.client.name,
		id.call,
		k.image(""),
		queue.SequenceRetention.Milliseconds(),
		q.ttl.Milliseconds(),
	)
}

func (q *Queue) sendPeek(ctx context.Context, p redis.Pipeliner, session string, which queue.Query) *redis.Cmd {
	k := keysOf(session)
	ttl := q.ttl
	if which.MaxAge > 0 {
		ttl = min(ttl, which.MaxAge)
	}
	return p.EvalSha(
		ctx, peekScript.hash,
		[]string{
			k.queue(session),
			k.meta(session),
		},
		k.image(""),
		ttl.Milliseconds(),
		which.Newest,
		which.After,
		which.Taken,
	)
}

func (q *Queue) sendStats(ctx context.Context, p redis.Pipeliner, shard keys, after string) *redis.Cmd {
	return p.EvalSha(
		ctx, statsScript.hash,
		[]string{
			shard.sessions(),
		},
		shard.queue(""),
		shard.meta(""),
		q.ttl.Milliseconds(),
		after,
		statsSlice,
	)
}

func (q *Queue) sendCountSessions(ctx context.Context, p redis.Pipeliner, shards []keys) *redis.Cmd {
	indexes := make([]string, len(shards))
	for i, shard := range shards {
		indexes[i] = shard.sessions()
	}
	return p.EvalSha(ctx, countSessionsScript.hash, indexes, q.ttl.Milliseconds())
}

func (q *Queue) sendFindAhead(ctx context.Context, p redis.Pipeliner, shard keys) *redis.Cmd {
	return p.EvalSha(
		ctx, findAheadScript.hash,
		[]string{
			shard.sessions(),
		},
		q.ttl.Milliseconds(),
		aheadSlice,
	)
}

func (q *Queue) sendShiftClock(ctx context.Context, p redis.Pipeliner, session string) *redis.Cmd {
	k := keysOf(session)
	return p.EvalSha(
		ctx, shiftClockScript.hash,
		[]string{
			k.queue(session),
			k.meta(session),
			k.sessions(),
		},
		session,
		k.image(""),
		q.ttl.Milliseconds(),
	)
}
