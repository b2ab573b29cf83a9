package config

import (
	"fmt"
	"testing"
)

// The attributes have a fixed order, and no secret among them.
func TestSummary(t *testing.T) {
	t.Parallel()
	const limits = "limits=[MAX_IMAGE_BYTES=10 MiB MAX_IMAGES=1000 MAX_SESSION_BYTES=64 MiB MAX_SESSIONS=10000 " +
		"UPLOAD_LIMIT=64 MiB MIN_UPLOAD_RATE=1.0 KiB DOWNLOAD_LIMIT=128 MiB MAX_VIEWERS=1000]"
	const noLimits = "limits=[MAX_IMAGE_BYTES=10 MiB MAX_IMAGES=none MAX_SESSION_BYTES=none MAX_SESSIONS=none " +
		"UPLOAD_LIMIT=none MIN_UPLOAD_RATE=none DOWNLOAD_LIMIT=none MAX_VIEWERS=none]"
	for _, row := range []struct {
		vars []string
		want string
	}{
		{nil, "[expire 2m0s version 1.2.3 access open " + limits + "]"},
		{
			[]string{"REDIS_HOST=redis://hunter2:hunter2@a"},
			"[mode single expire 2m0s version 1.2.3 access open " + limits + "]",
		},
		{
			[]string{"REDIS_HOST=a,b", "REDIS_MODE=cluster", "OPERATOR_TOKEN=hunter2hunter2hunter2"},
			"[mode cluster expire 2m0s version 1.2.3 access OPERATOR_TOKEN " + limits + "]",
		},
		{
			[]string{
				"MAX_IMAGES=0", "MAX_SESSION_BYTES=0", "MAX_SESSIONS=0", "UPLOAD_LIMIT=0", "MIN_UPLOAD_RATE=0",
				"DOWNLOAD_LIMIT=0", "MAX_VIEWERS=0",
			},
			"[expire 2m0s version 1.2.3 access open " + noLimits + "]",
		},
		{
			[]string{
				"SESSION_SECRET=hunter2hunter2hunter2", "REQUIRE_KEY=true", "PRIVATE=true",
				"OPERATOR_TOKEN=hunter2hunter2hunter2", "TLS_CERT=c", "TLS_KEY=k",
			},
			"[expire 2m0s version 1.2.3 access SESSION_SECRET, REQUIRE_KEY, PRIVATE, OPERATOR_TOKEN, TLS " + limits + "]",
		},
	} {
		if got := fmt.Sprint(load(t, row.vars...).Summary("1.2.3")); got != row.want {
			t.Errorf("%s: got %s, want %s", row.vars, got, row.want)
		}
	}
	if got := (Config{TLS: TLS{Cert: "c", Key: "k"}}).restrictions(); got != "TLS" {
		t.Errorf("got access %q, want TLS", got)
	}
}
