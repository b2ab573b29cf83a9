package redisqueue

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// minRepairPeriod bounds how often the index is searched for sessions that are ahead.
	minRepairPeriod = 10 * time.Second
	// aheadSlice bounds the sessions of an index shard that are repaired in one go.
	aheadSlice = 100
	// stepLogPeriod bounds how often a step of the clock is logged: every session meets it.
	stepLogPeriod = time.Minute
)

// shiftClock repairs a session's queue after the clock of Redis stepped back.
func (q *Queue) shiftClock(ctx context.Context, session string) error {
	_, _ = q.logStep.Get(ctx) // logs at most once in a period
	pipeline := q.rdb.Pipeline()
	reply := q.sendShiftClock(ctx, pipeline, session)
	pipeline.Exec(ctx) // the command has the error
	return reply.Err()
}

// repairClock repairs sessions that are ahead, and that nobody pushes to or reads, once in a quarter of a TTL.
func (q *Queue) repairClock(ctx context.Context) {
	for pause(ctx, max(q.ttl/4, minRepairPeriod)) == nil {
		q.repairAhead(ctx)
	}
}

// repairAhead repairs all sessions of the index that are ahead. What fails is left to the next time.
func (q *Queue) repairAhead(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for _, session := range q.findAhead(ctx) {
		if q.shiftClock(ctx, session) != nil {
			return
		}
	}
}

// findAhead returns sessions that are ahead.
func (q *Queue) findAhead(ctx context.Context) (sessions []string) {
	pipeline := q.rdb.Pipeline()
	shards := make([]*redis.Cmd, buckets)
	for i, k := range bucketKeys {
		shards[i] = q.sendFindAhead(ctx, pipeline, k)
	}
	pipeline.Exec(ctx) // each command has its own error
	missing := false
	for _, shard := range shards {
		some, err := shard.StringSlice()
		missing = missing || redis.HasErrorPrefix(err, "NOSCRIPT")
		sessions = append(sessions, some...)
	}
	if missing {
		_, _ = q.load.Get(ctx) // for the next time
	}
	return sessions
}
