package config

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

func TestConfigDefaults(t *testing.T) {
	t.Parallel()
	got := testkit.Must(Load(unset))(t)
	want := Config{
		Port: 3000, Expire: 2 * time.Minute, MIMEType: "image/jpeg",
		NoData: NoData{AspectRatio: 0.5625, Height: 720, Status: 200},
		Limits: Limits{
			ImageBytes: 10 << 20, MemoryBytes: 256 << 20, Images: 1000, SessionBytes: 64 << 20, Sessions: 10000,
			UploadBytes: 64 << 20, UploadRate: 1 << 10, DownloadBytes: 128 << 20, Viewers: 1000,
		},
		Access: Access{CORSOrigins: "*"},
		Test:   Test{Interval: 2 * time.Second},
		Log:    Log{Format: "text", Level: slog.LevelInfo},
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if width := got.NoData.Width(); width != 1280 {
		t.Errorf("got width %d, want 1280", width)
	}
	if empty := load(t, "EXPIRE=", "PORT=", "SESSION_SECRET="); empty != want {
		t.Errorf("of empty variables: got %+v, want the defaults", empty)
	}
}

// A variable that is set, even to nothing, wins over the file.
func TestLookupOver(t *testing.T) {
	t.Parallel()
	set := Lookup(func(name string) (string, bool) {
		value, ok := map[string]string{"A": "set", "B": ""}[name]
		return value, ok
	})
	over := set.Over(map[string]string{"A": "file", "B": "file", "C": "file"})
	for name, want := range map[string]string{"A": "set true", "B": " true", "C": "file true", "D": " false"} {
		value, ok := over(name)
		if got := fmt.Sprint(value, " ", ok); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// Height and ratio can each be allowed, and the width that follows from them out of bounds.
func TestConfigWidth(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		height, ratio, err string
		width              int
	}{
		{"90", "9/16", "", 160},
		{"1000", "3 / 4", "", 1333}, // rounded down
		{"1001", "0.75", "", 1335},  // rounded up
		{
			"4320", "0.1",
			"NODATA_ASPECT_RATIO=0.1: with NODATA_HEIGHT=4320 the image is 43200 pixels wide: allowed is 16 to 16384", 0,
		},
		{
			"16", "10",
			"NODATA_ASPECT_RATIO=10: with NODATA_HEIGHT=16 the image is 2 pixels wide: allowed is 16 to 16384", 0,
		},
	} {
		c, err := Load(environment("NODATA_HEIGHT="+row.height, "NODATA_ASPECT_RATIO="+row.ratio))
		width := c.NoData.Width()
		if row.err != "" && fmt.Sprint(err) != row.err || row.err == "" && (err != nil || width != row.width) {
			t.Errorf("%s, %s: got width %d, error %v, want %d, %q", row.height, row.ratio, width, err, row.width, row.err)
		}
	}
}

// Settings that are each allowed can exclude one another.
func TestConfigConflicts(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ vars, want string }{
		{"REDIS_HOST=a,b", "REDIS_HOST=a:6379,b:6379: a list of hosts: allowed is one, or a list with REDIS_MODE=cluster"},
		{"REDIS_HOST=a,b REDIS_MODE=cluster", "<nil>"},
		{"REDIS_MODE=cluster", "REDIS_MODE=cluster: without REDIS_HOST there is no Redis: allowed is single"},
		{
			"REDIS_MODE=cluster REDIS_HOST=redis://a/1",
			"REDIS_MODE=cluster: REDIS_HOST names a db: allowed is 0, a Cluster has no other",
		},
		{
			"REDIS_HOST=redis://a?ca=ca.pem",
			"REDIS_HOST: cert, key and ca of a URL that does not use TLS: allowed are they with rediss://",
		},
		{"REDIS_HOST=rediss://:p@a?cert=a.pem", "REDIS_HOST: cert=a.pem, key=: allowed is both or none"},
		{"REDIS_HOST=rediss://:p@a?key=a.pem&ca=b", "REDIS_HOST: cert=, key=a.pem: allowed is both or none"},
		{"REQUIRE_KEY=true", "REQUIRE_KEY=true: without SESSION_SECRET there are no keys: allowed is false"},
		{"PRIVATE=true", "PRIVATE=true: without SESSION_SECRET there are no links: allowed is false"},
		{"TLS_CERT=a", "TLS_CERT=a, TLS_KEY=: allowed is both or none"},
		{"TLS_KEY=a", "TLS_CERT=, TLS_KEY=a: allowed is both or none"},
	} {
		if _, err := Load(environment(strings.Fields(row.vars)...)); fmt.Sprint(err) != row.want {
			t.Errorf("%s: got %q, want %q", row.vars, fmt.Sprint(err), row.want)
		}
	}
	for vars, want := range map[string]int64{
		"MEMORY_LIMIT=4MiB": 4 << 20, "UPLOAD_LIMIT=5MiB": 5 << 20, "MEMORY_LIMIT=4MiB REDIS_HOST=a": 10 << 20,
		"UPLOAD_LIMIT=0": 10 << 20,
	} {
		if c := load(t, strings.Fields(vars)...); c.Limits.ImageBytes != want {
			t.Errorf("%s: the largest image is %d, want %d", vars, c.Limits.ImageBytes, want)
		}
	}
}

func TestConfigReportsEachMistake(t *testing.T) {
	t.Parallel()
	_, err := Load(environment("PORT=x", "EXPIRE=y", "LOG_LEVEL=z", "NODATA_HEIGHT=90"))
	lines := strings.Split(fmt.Sprint(err), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "PORT=x: ") || !strings.HasPrefix(lines[1], "EXPIRE=y: ") ||
		!strings.HasPrefix(lines[2], "LOG_LEVEL=z: ") {
		t.Errorf("got %q, want a line for each of three", lines)
	}
}

func TestConfigHidesPasswords(t *testing.T) {
	t.Parallel()
	for _, value := range []string{
		"redis://user:hunter2@host:port", "redis://:hunter2@host/x", "redis://user:hunter2/x@host",
		"redis://u:hunter2#@host/x", "redis://u:hunter2?@host", "redis://u:a@hunter2@ho st", "http://u:hunter2@host",
		"u:hunter2@host", "redis:/u:hunter2@host",
		"redis://u:hunter2@host?nonsense=1", "rediss://hunter2@host/x/y",
	} {
		for _, name := range []string{"REDIS_HOST", "TEST_URL"} {
			_, err := Load(environment(name + "=" + value))
			if text := fmt.Sprint(err); strings.Contains(text, "hunter2") {
				t.Errorf("%s=%s: got %q", name, value, text)
			} else if err != nil && !strings.HasPrefix(text, name+"=") {
				t.Errorf("%s=%s: got %q, want the rest of the value shown", name, value, text)
			}
		}
	}
}
