package config

import (
	"log/slog"
	"strings"

	"github.com/dustin/go-humanize"
)

// Summary returns the log attributes that describe the settings when the server starts: the mode of Redis, how long
// images live, which limits hold, which settings restrict access. The given version of the program is one of them. No
// attribute holds a secret.
func (c Config) Summary(version string) []any {
	attrs := []any{"expire", c.Expire, "version", version, "access", c.restrictions(), c.Limits.attr()}
	switch {
	case c.Redis == nil:
		return attrs
	case c.Redis.IsClusterMode:
		return append([]any{"mode", "cluster"}, attrs...)
	}
	return append([]any{"mode", "single"}, attrs...)
}

// attr names the limits as the settings do.
func (l Limits) attr() slog.Attr {
	return slog.Group("limits",
		"MAX_IMAGE_BYTES", bytesOrNone(l.ImageBytes),
		"MAX_IMAGES", countOrNone(l.Images),
		"MAX_SESSION_BYTES", bytesOrNone(l.SessionBytes),
		"MAX_SESSIONS", countOrNone(l.Sessions),
		"UPLOAD_LIMIT", bytesOrNone(l.UploadBytes),
		"MIN_UPLOAD_RATE", bytesOrNone(l.UploadRate),
		"DOWNLOAD_LIMIT", bytesOrNone(l.DownloadBytes),
		"MAX_VIEWERS", countOrNone(l.Viewers),
	)
}

// restrictions names the settings that restrict access.
func (c Config) restrictions() string {
	var on []string
	for _, rule := range []struct {
		name string
		on   bool
	}{
		{"SESSION_SECRET", c.Access.SessionSecret != ""},
		{"REQUIRE_KEY", c.Access.RequireKey},
		{"PRIVATE", c.Access.Private},
		{"OPERATOR_TOKEN", c.Access.OperatorToken != ""},
		{"TLS", c.TLS.Enabled()},
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
