package redisqueue

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// checkName is the session that checks of Redis use. No other has a slash in its name.
const checkName = "/check"

// prepare loads the scripts as soon as Redis answers, and logs what is wrong with Redis. The server does not wait for
// that.
func (q *Queue) prepare(ctx context.Context) {
	for delay, warned := 100*time.Millisecond, false; ; delay = min(2*delay, 5*time.Second) {
		missing, err := q.checkPermissions(ctx)
		switch {
		case err == nil && len(missing) > 0:
			q.log.Error("the user of redis may not do all that is needed: see the ACL line in README",
				"missing", strings.Join(missing, " "))
			return
		case err == nil:
			q.checkSettings(ctx)
			return
		case ctx.Err() == nil && !warned:
			q.log.Warn("redis does not answer yet", "error", err)
			warned = true
		}
		if pause(ctx, delay) != nil {
			return
		}
	}
}

// checkPermissions loads the scripts and tries every command that the engine and its scripts use, on keys that no
// session has. It returns the commands that are forbidden.
func (q *Queue) checkPermissions(ctx context.Context) (missing []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err := q.load.Get(ctx); redis.HasErrorPrefix(err, "NOPERM") {
		missing = append(missing, "script|load")
	} else if err != nil {
		return nil, err
	}
	commands := usedCommands(bucketKeys[0], checkName)
	pipeline := q.rdb.Pipeline()
	for _, args := range commands {
		pipeline.Do(ctx, args...)
	}
	replies, _ := pipeline.Exec(ctx) // each has its own error
	for i, reply := range replies {
		switch err := reply.Err(); {
		case redis.HasErrorPrefix(err, "NOPERM"):
			missing = append(missing, commands[i][0].(string))
		case err != nil && transient(err):
			return nil, fmt.Errorf("check permissions: %w", err)
		}
	}
	if !q.maySubscribe(ctx, bucketKeys[0].notify(checkName)) {
		missing = append(missing, "subscribe")
	}
	slices.Sort(missing)
	return missing, nil
}

// usedCommands lists the commands that the engine and its scripts use, on keys that are called name. SUBSCRIBE is not
// among them, because it needs a connection of its own: see maySubscribe.
func usedCommands(k keys, name string) [][]any {
	return [][]any{
		{"set", k.image(name), "x", "px", 1000},
		{"get", k.image(name)},
		{"strlen", k.image(name)},
		{"pttl", k.image(name)},
		{"rename", k.image(name), k.delivered(name)},
		{"pexpire", k.delivered(name), 1000},
		{"unlink", k.delivered(name)},
		{"hset", k.meta(name), "field", 1},
		{"hget", k.meta(name), "field"},
		{"hmget", k.meta(name), "field"},
		{"hgetall", k.meta(name)},
		{"hlen", k.meta(name)},
		{"hincrby", k.meta(name), "field", 1},
		{"hdel", k.meta(name), "field"},
		{"zadd", k.queue(name), 1, "member"},
		{"zcard", k.queue(name)},
		{"zcount", k.queue(name), 0, 1},
		{"zrange", k.queue(name), 0, 0},
		{"zscore", k.queue(name), "member"},
		{"zpopmin", k.queue(name)},
		{"zrem", k.queue(name), "member"},
		{"zremrangebyscore", k.queue(name), 0, 1},
		{"time"},
		{"ping"},
		{"publish", k.notify(name), ""},
		{"evalsha", countSessionsScript.hash, 1, k.sessions()},
	}
}

// maySubscribe reports whether SUBSCRIBE is allowed. It returns true as well when Redis does not answer.
func (q *Queue) maySubscribe(ctx context.Context, channel string) bool {
	subscription := q.rdb.Subscribe(ctx, channel)
	defer subscription.Close()
	_, err := subscription.ReceiveTimeout(ctx, attemptTimeout)
	return !redis.HasErrorPrefix(err, "NOPERM")
}

// checkSettings warns of a Redis that takes no image of the largest size, and of one that drops acknowledged images
// when it is full. A user of Redis who may not read settings gets no warning.
func (q *Queue) checkSettings(ctx context.Context) {
	most, err := strconv.ParseInt(q.setting(ctx, "proto-max-bulk-len"), 10, 64)
	if err == nil && most < q.maxImage {
		q.log.Warn("redis takes no image as large as MAX_IMAGE_BYTES: set proto-max-bulk-len to that or more",
			"proto-max-bulk-len", most, "MAX_IMAGE_BYTES", q.maxImage)
	}
	if policy := q.setting(ctx, "maxmemory-policy"); policy != "" && policy != "noeviction" {
		q.log.Warn("a full redis would drop images that were acknowledged: set maxmemory-policy noeviction",
			"policy", policy)
	}
}

// setting returns a setting of Redis, or "" if it cannot be read.
func (q *Queue) setting(ctx context.Context, name string) string {
	settings, _ := q.rdb.ConfigGet(ctx, name).Result()
	return settings[name]
}
