package redisqueue

import (
	"fmt"
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

// parseStats adds the sessions in the reply of stats.lua to found. It returns the number of index entries that the
// script has read.
func parseStats(reply *redis.Cmd, found map[string]int) (read int, err error) {
	values, err := reply.Slice()
	if err != nil {
		return 0, fmt.Errorf("stats.lua: %w", err)
	}
	unexpected := fmt.Errorf("stats.lua: unexpected reply of %d values", len(values)) // the values name sessions
	if len(values)%2 == 0 {
		return 0, unexpected
	}
	entries, ok := values[0].(int64)
	for pair := values[1:]; len(pair) > 0; pair = pair[2:] {
		session, isText := pair[0].(string)
		images, isCount := pair[1].(int64)
		ok = ok && isText && isCount
		found[session] = int(images)
	}
	if !ok {
		return 0, unexpected
	}
	return int(entries), nil
}

// parseDetails reads the reply of session_details.lua for a number of sessions.
func parseDetails(reply *redis.Cmd, sessions int) ([]queue.Details, error) {
	n, err := reply.Int64Slice()
	if err != nil {
		return nil, fmt.Errorf("session_details.lua: %w", err)
	}
	if len(n) != 6*sessions {
		return nil, fmt.Errorf("session_details.lua: unexpected reply of %d numbers for %d sessions", len(n), sessions)
	}
	details := make([]queue.Details, sessions)
	for i := range details {
		of := n[6*i : 6*i+6]
		live, sent, taken, dropped := of[0], of[3], of[4], of[5]
		details[i] = queue.Details{
			Bytes: of[1], Age: float64(of[2]) / 1e6,
			Sent: sent, Taken: taken, Expired: max(0, sent-taken-dropped-live), Dropped: dropped,
		}
	}
	return details, nil
}
