package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// warmUp makes Redis ready as soon as it answers, and says what is wrong with it.
// The server does not wait for that.
func (q *redisQueue) warmUp(ctx context.Context) {
	for wait, told := 100*time.Millisecond, false; ; wait = min(2*wait, 5*time.Second) {
		missing, err := q.selfTest(ctx)
		switch {
		case err == nil && len(missing) > 0:
			q.log.Error("the user of redis may not do all that is needed: see the ACL line in README",
				"missing", strings.Join(missing, " "))
			return
		case err == nil:
			q.warnOfEviction(ctx)
			return
		case ctx.Err() == nil && !told:
			q.log.Warn("redis does not answer yet", "error", err)
			told = true
		}
		if pause(ctx, wait) != nil {
			return
		}
	}
}

// selfTest loads the scripts and tries every command that the engine and its
// scripts use, on keys that no session has. It returns those that are forbidden.
func (q *redisQueue) selfTest(ctx context.Context) (missing []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	const name = "self:test" // no session has a colon
	k := bucketKeys[0]
	tries := [][]any{
		{"set", k.image(name), "x", "px", 1000},
		{"get", k.image(name)},
		{"strlen", k.image(name)},
		{"pttl", k.image(name)},
		{"rename", k.image(name), k.out(name)},
		{"pexpire", k.out(name), 1000},
		{"unlink", k.out(name)},
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
		{"publish", k.wake(name), ""},
		{"evalsha", censusScript.Hash(), 1, k.sessions()},
	}
	if err := q.loadScripts(ctx); redis.HasErrorPrefix(err, "NOPERM") {
		missing = append(missing, "script|load")
	} else if err != nil {
		return nil, err
	}
	pipeline := q.rdb.Pipeline()
	for _, args := range tries {
		pipeline.Do(ctx, args...)
	}
	replies, _ := pipeline.Exec(ctx) // each has its own error
	for i, reply := range replies {
		switch err := reply.Err(); {
		case redis.HasErrorPrefix(err, "NOPERM"):
			missing = append(missing, tries[i][0].(string))
		case transient(err) && err != nil:
			return nil, fmt.Errorf("self-test: %w", err)
		}
	}
	if !q.maySubscribe(ctx, k.wake(name)) {
		missing = append(missing, "subscribe")
	}
	slices.Sort(missing)
	return missing, nil
}

func (q *redisQueue) maySubscribe(ctx context.Context, channel string) bool {
	subscription := q.rdb.Subscribe(ctx, channel)
	defer subscription.Close()
	_, err := subscription.ReceiveTimeout(ctx, attemptTimeout)
	return !redis.HasErrorPrefix(err, "NOPERM")
}

// warnOfEviction looks, where it may, whether a full Redis would drop images that
// were acknowledged.
func (q *redisQueue) warnOfEviction(ctx context.Context) {
	settings, err := q.rdb.ConfigGet(ctx, "maxmemory-policy").Result()
	if policy := settings["maxmemory-policy"]; err == nil && policy != "noeviction" {
		q.log.Warn("a full redis would drop images that were acknowledged: set maxmemory-policy noeviction", "policy", policy)
	}
}
