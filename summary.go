package main

import (
	"log/slog"
	"strings"

	"github.com/dustin/go-humanize"
)

// summary is what the log says of the settings when the server starts: where the
// queues are, what is bounded, who may do what. It never has a secret's value.
func (c config) summary() []any {
	line := []any{"expire", c.expire, "version", version(), "access", c.access(), c.bounds()}
	if c.redis != nil {
		return append([]any{"mode", c.redisMode}, line...)
	}
	return line
}

// bounds names the limits as the settings do.
func (c config) bounds() slog.Attr {
	return slog.Group("limits",
		"MAX_IMAGE_BYTES", bytesOrNone(c.maxImage),
		"MAX_IMAGES", countOrNone(c.maxImages),
		"MAX_SESSION_BYTES", bytesOrNone(c.maxSessionBytes),
		"MAX_SESSIONS", countOrNone(c.maxSessions),
		"UPLOAD_LIMIT", bytesOrNone(c.uploadLimit),
		"MAX_VIEWERS", countOrNone(c.maxViewers),
	)
}

// access names the settings that keep someone out.
func (c config) access() string {
	var on []string
	for _, rule := range []struct {
		name string
		on   bool
	}{
		{"SESSION_SECRET", c.sessionSecret != ""},
		{"REQUIRE_KEY", c.requireKey},
		{"PRIVATE", c.private},
		{"OPERATOR_TOKEN", c.operatorToken != ""},
		{"TLS", c.tlsCert != ""},
	} {
		if rule.on {
			on = append(on, rule.name)
		}
	}
	if len(on) == 0 {
		return "open"
	}
	return strings.Join(on, ", ")
}

func bytesOrNone(n int64) any {
	if n == 0 {
		return "none"
	}
	return humanize.IBytes(uint64(n))
}

func countOrNone(n int) any {
	if n == 0 {
		return "none"
	}
	return n
}
