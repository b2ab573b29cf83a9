package redisqueue

import "context"

// shiftClock repairs a session's queue after the clock of Redis stepped back.
func (q *Queue) shiftClock(ctx context.Context, session string) error {
	q.log.Warn("the clock of redis stepped back")
	pipeline := q.rdb.Pipeline()
	reply := q.sendShiftClock(ctx, pipeline, session)
	pipeline.Exec(ctx) // the command has the error
	return reply.Err()
}
