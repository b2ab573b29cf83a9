package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// parseReceipt reads what push.lua returns.
func parseReceipt(answer string) (receipt, error) {
	n, err := parseNumbers(answer, 5)
	if err != nil {
		return receipt{}, fmt.Errorf("push.lua: %w", err)
	}
	return receipt{sequence: n[0], queued: int(n[1]), dropped: int(n[2]), expired: int(n[3]), opened: n[4] == 1}, nil
}

// parseFrame reads what pop.lua returns; the bytes come in another reply.
func parseFrame(answer string) (frame, error) {
	n, err := parseNumbers(answer, 3)
	if err != nil {
		return frame{}, fmt.Errorf("pop.lua: %w", err)
	}
	return frame{sequence: n[0], arrival: time.UnixMicro(n[1]), left: int(n[2])}, nil
}

// parseLook reads what peek.lua returns.
func parseLook(answer string) (frame, error) {
	n, err := parseNumbers(answer, 4)
	if err != nil {
		return frame{}, fmt.Errorf("peek.lua: %w", err)
	}
	return frame{
		sequence: n[0], arrival: time.UnixMicro(n[1]), left: int(n[2]), size: int(n[3]),
		key: answer[strings.LastIndexByte(answer, ' ')+1:],
	}, nil
}

// parseWake reads what push.lua publishes; what it cannot read says only that
// something came.
func parseWake(session, message string) frame {
	n, err := parseNumbers(message, 2)
	if err != nil {
		return frame{session: session}
	}
	id := message[strings.LastIndexByte(message, ' ')+1:]
	return frame{session: session, sequence: n[0], arrival: time.UnixMicro(n[1]), key: keysOf(session).image(id)}
}

// parseStats reads what stats.lua returns into found, and how many entries of
// the index it had read.
func parseStats(reply *redis.Cmd, found map[string]int) (read int, err error) {
	values, err := reply.Slice()
	if err != nil || len(values)%2 == 0 {
		return 0, fmt.Errorf("stats.lua: unexpected reply of %d values: %w", len(values), err) // they name sessions
	}
	entries, ok := values[0].(int64)
	for pair := values[1:]; len(pair) > 0; pair = pair[2:] {
		session, isText := pair[0].(string)
		images, isCount := pair[1].(int64)
		ok = ok && isText && isCount
		found[session] = int(images)
	}
	if !ok {
		return 0, fmt.Errorf("stats.lua: unexpected reply of %d values", len(values))
	}
	return int(entries), nil
}

// parseDetails reads what session_details.lua returns into the sessions asked for.
func parseDetails(reply *redis.Cmd, sessions []*sessionStats) error {
	n, err := reply.Int64Slice()
	if err != nil || len(n) != 6*len(sessions) {
		return fmt.Errorf("session_details.lua: unexpected reply %v: %w", n, err)
	}
	for i, s := range sessions {
		of := n[6*i : 6*i+6]
		s.Bytes, s.Age = of[1], float64(of[2])/1e6
		s.Sent, s.Taken, s.Dropped = of[3], of[4], of[5]
		s.Expired = max(0, s.Sent-s.Taken-s.Dropped-of[0])
	}
	return nil
}

// parseNumbers reads the first count words of an answer, which are numbers.
func parseNumbers(answer string, count int) (numbers [5]int64, err error) {
	rest := answer
	for i := range count {
		var word string
		word, rest, _ = strings.Cut(rest, " ")
		if numbers[i], err = strconv.ParseInt(word, 10, 64); err != nil {
			return numbers, fmt.Errorf("unexpected reply %q", answer)
		}
	}
	return numbers, nil
}
