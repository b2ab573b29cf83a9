package redisqueue

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
)

// The replies of push.lua and pop.lua are text, because Redis keeps them in the records of calls and returns them
// again when a call is repeated. The reply of peek.lua has the same form.

// parsePush reads the reply of push.lua. opened reports whether the image has opened its session.
func parsePush(text string) (r queue.Receipt, opened bool, err error) {
	n, _, err := parseNumbers(text, " ", 5)
	if err != nil {
		return queue.Receipt{}, false, fmt.Errorf("push.lua: %w", err)
	}
	return queue.Receipt{
		Sequence: n[0], Queued: int(n[1]), Dropped: int(n[2]), Expired: int(n[3]),
	}, n[4] == 1, nil
}

// parsePop reads the reply of pop.lua: the place of an image in its session, and its age. The bytes come in another
// reply.
func parsePop(text string) (ref queue.Ref, age time.Duration, err error) {
	n, _, err := parseNumbers(text, " ", 4)
	if err != nil {
		return queue.Ref{}, 0, fmt.Errorf("pop.lua: %w", err)
	}
	ref = queue.Ref{Sequence: n[0], Arrived: time.UnixMicro(n[1]), Behind: int(n[2])}
	return ref, time.Duration(n[3]) * time.Microsecond, nil
}

// parseTooLarge reads the reply of pop.lua for an image that is too large. It returns nil for any other reply.
func parseTooLarge(text string) *queue.TooLargeError {
	size, found := strings.CutPrefix(text, "large ")
	if n, err := strconv.Atoi(size); found && err == nil {
		return &queue.TooLargeError{Size: n}
	}
	return nil
}

// parsePeek reads the reply of peek.lua.
func parsePeek(text string) (queue.Ref, error) {
	n, key, err := parseNumbers(text, " ", 4)
	if err != nil {
		return queue.Ref{}, fmt.Errorf("peek.lua: %w", err)
	}
	return queue.Ref{
		Sequence: n[0], Arrived: time.UnixMicro(n[1]), Behind: int(n[2]), Size: int(n[3]), Handle: key,
	}, nil
}

// parseStats reads the reply of stats.lua: the sessions of a slice, and where the next one begins. No error quotes the
// reply, because it names sessions.
func parseStats(reply *redis.Cmd) (sessions []queue.Session, next string, err error) {
	const fields = 7 // of a session
	values, err := reply.Slice()
	if err != nil {
		return nil, "", fmt.Errorf("stats.lua: %w", err)
	}
	unexpected := fmt.Errorf("stats.lua: unexpected reply of %d values", len(values))
	if len(values)%fields != 1 {
		return nil, "", unexpected
	}
	next, ok := values[0].(string)
	for of := range slices.Chunk(values[1:], fields) {
		session, isText := of[0].(string)
		var n [fields]int64
		for i := 1; i < fields; i++ {
			number, isNumber := of[i].(int64)
			n[i], ok = number, ok && isNumber
		}
		ok = ok && isText
		live, sent, taken, dropped := n[1], n[4], n[5], n[6]
		sessions = append(sessions, queue.Session{
			ID: session, Len: int(live), Bytes: n[2], Age: queue.Seconds(time.Duration(n[3]) * time.Microsecond),
			Sent: sent, Taken: taken, Expired: max(0, sent-taken-dropped-live), Dropped: dropped,
		})
	}
	if !ok {
		return nil, "", unexpected
	}
	return sessions, next, nil
}
