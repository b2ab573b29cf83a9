package main

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/joho/godotenv"
)

func TestConfigDefaults(t *testing.T) {
	t.Parallel()
	got := must(loadConfig(func(string) (string, bool) { return "", false }))(t)
	want := config{
		port: 3000, expire: 2 * time.Minute, mimeType: "image/jpeg", aspectRatio: 0.5625, height: 720,
		noDataStatus: 200, maxImage: 10 << 20, memoryLimit: 256 << 20, redisMode: "single",
		maxImages: 1000, maxSessionBytes: 64 << 20, maxSessions: 10000, uploadLimit: 64 << 20, maxViewers: 1000, corsOrigins: "*",
		testInterval: 2 * time.Second, logFormat: "text",
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got.width() != 1280 {
		t.Errorf("got width %d, want 1280", got.width())
	}
	if blank := must(loadConfig(vary("EXPIRE=  ", "PORT=")))(t); blank != want {
		t.Errorf("of blank variables: got %+v, want the defaults", blank)
	}
}

// settingCases are good values of every setting, with what comes of them, and
// bad values. What is allowed is told in the words of the table.
var settingCases = []struct {
	name    string
	read    func(c config) any
	good    map[string]any
	bad     []string
	allowed string
}{
	{
		"PORT", func(c config) any { return c.port },
		map[string]any{"0": 0, "80": 80, " 65535 ": 65535},
		[]string{"-1", "65536", "80.5", "http", "80 81", "0x50", "99999999999999999999"},
		"a whole number from 0 to 65535 (0 picks a free port)",
	},
	{
		"REDIS_HOST", func(c config) any {
			return fmt.Sprint(c.redis.Network, " ", c.redis.Addr, " ", c.redis.Username, " ", c.redis.Password, " ", c.redis.DB, " ", c.redis.TLSConfig != nil)
		},
		map[string]any{
			"redis": " redis:6379   0 false", "10.0.0.1:7000": " 10.0.0.1:7000   0 false",
			"::1": " [::1]:6379   0 false", "[::1]": " [::1]:6379   0 false", "[::1]:7000": " [::1]:7000   0 false",
			"redis://u:p@h:7000/3": "tcp h:7000 u p 3 false", "rediss://h": "tcp h:6379   0 true", "unix:///run/r.sock?db=2": "unix /run/r.sock   2 false",
		},
		[]string{"a b", "host:port", "host:0", "host:65536", ":6379", "host:", "[::1", "a]b", "[::1]:x", "a:b:c", "redis://h:0", "redis://h:99999", "rediss://:6379x", "host/1", "http://host", "redis://h/x", "redis://h?nonsense=1", "unix://"},
		"host, host:port, or a redis://, rediss:// or unix:// URL; a comma list of hosts with REDIS_MODE=cluster",
	},
	{
		"REDIS_MODE", func(c config) any { return c.redisMode + " " + c.redisAddr() },
		map[string]any{"single": "single a:6379", "cluster": "cluster a:6379"},
		[]string{"sentinel", "Single", "a"},
		"single or cluster",
	},
	{
		"EXPIRE", func(c config) any { return c.expire },
		map[string]any{"1": time.Second, "0.25": 250 * time.Millisecond, "0.01": 10 * time.Millisecond, "31536000": 8760 * time.Hour},
		[]string{"0", "-1", "0.009", "31536001", "NaN", "Inf", "1e99", "2m", "1,5", "two"},
		"a number from 0.01 to 31536000",
	},
	{
		"MIMETYPE", func(c config) any { return c.mimeType },
		map[string]any{"image/png": "image/png", "Image/WebP": "image/webp", "image/x-portable-pixmap": "image/x-portable-pixmap"},
		[]string{"png", "image", "image/", "text/html", "image/svg+xml", "image/x+xml", "image/xml", "image/*", "image/png; a=b", "image/jpeg, image/png", "image/a\r\nX-Evil: 1"},
		"image/ and a subtype that cannot script, such as image/jpeg, image/png or image/webp",
	},
	{
		"NODATA_ASPECT_RATIO", func(c config) any { return c.aspectRatio },
		map[string]any{"0.75": 0.75, "9/16": 0.5625, "3 / 4": 0.75, "1": 1.0, "10": 10.0, "0.1": 0.1, "1.5/2": 0.75},
		[]string{"0", "-1", "0.09", "11", "1/0", "0/0", "0/1", "1/", "/2", "1/2/3", "4:3", "NaN", "Inf", "1/Inf", "wide"},
		"a decimal or a fraction from 0.1 to 10, such as 0.75, 9/16 or 3 / 4",
	},
	{
		"NODATA_HEIGHT", func(c config) any { return c.height },
		map[string]any{"16": 16, "90": 90, "4320": 4320},
		[]string{"0", "-90", "15", "4321", "720p", "90.5"},
		"a whole number from 16 to 4320",
	},
	{
		"NODATA_STATUS", func(c config) any { return c.noDataStatus },
		map[string]any{"200": 200, "203": 203, "204": 204, "404": 404, "503": 503, "599": 599},
		[]string{"0", "101", "199", "205", "206", "301", "304", "600", "404 Not Found", "-200"},
		"a status from 200 to 599 that can come with an image, such as 200, 404 or 503, or 204 for no image",
	},
	{
		"MAX_IMAGE_BYTES", func(c config) any { return c.maxImage },
		map[string]any{"1": int64(1), "500k": int64(500000), "5MB": int64(5000000), "10 MiB": int64(10 << 20), "512MiB": int64(512 << 20)},
		[]string{"0", "-1", "513MiB", "1,5 MiB", ",5", "10 MiBs", "lots", "1 QiB", "NaN"},
		"a size from 1 to 512 MiB, in bytes or with a unit, such as 500k or 10 MiB",
	},
	{
		"MEMORY_LIMIT", func(c config) any { return c.memoryLimit },
		map[string]any{"1": int64(1), "64MiB": int64(64 << 20), "2 GiB": int64(2 << 30), "1TiB": int64(1 << 40)},
		[]string{"0", "-1", "2TiB", "all"},
		"a size from 1 to 1 TiB, in bytes or with a unit, such as 64MiB or 2 GiB",
	},
	{
		"MAX_IMAGES", func(c config) any { return c.maxImages },
		map[string]any{"0": 0, "1": 1, "2147483647": 2147483647},
		[]string{"-1", "2147483648", "1k", "many"},
		"a whole number; 0: no limit",
	},
	{
		"MAX_SESSION_BYTES", func(c config) any { return c.maxSessionBytes },
		map[string]any{"0": int64(0), "1": int64(1), "500k": int64(500000), "64MiB": int64(64 << 20), "1TiB": int64(1 << 40)},
		[]string{"-1", "2TiB", "0 MiB", "lots"},
		"a size up to 1 TiB, in bytes or with a unit; 0: no limit",
	},
	{
		"MAX_SESSIONS", func(c config) any { return c.maxSessions },
		map[string]any{"0": 0, "1": 1, "10000": 10000},
		[]string{"-1", "1.5", "many"},
		"a whole number; 0: no limit",
	},
	{
		"UPLOAD_LIMIT", func(c config) any { return c.uploadLimit },
		map[string]any{"0": int64(0), "64MiB": int64(64 << 20), "2 GB": int64(2000000000)},
		[]string{"-1", "2TiB"},
		"a size up to 1 TiB, in bytes or with a unit; 0: no limit",
	},
	{
		"MAX_VIEWERS", func(c config) any { return c.maxViewers },
		map[string]any{"0": 0, "1": 1, "1000": 1000},
		[]string{"-1", "all"},
		"a whole number; 0: no limit",
	},
	{
		"CHECK_IMAGES", func(c config) any { return c.checkImages },
		map[string]any{"true": true, "false": false, "TRUE": true},
		[]string{"1", "yes", "on"},
		"true or false",
	},
	{
		"SESSION_SECRET", func(c config) any { return c.sessionSecret },
		map[string]any{"sixteen chars ok": "sixteen chars ok"},
		[]string{"short", "fifteen chars.."},
		"at least 16 characters",
	},
	{
		"REQUIRE_KEY", func(c config) any { return c.requireKey },
		map[string]any{"true": true, "false": false},
		[]string{"1"},
		"true or false",
	},
	{
		"PRIVATE", func(c config) any { return c.private },
		map[string]any{"true": true, "false": false},
		[]string{"1"},
		"true or false",
	},
	{
		"OPERATOR_TOKEN", func(c config) any { return c.operatorToken },
		map[string]any{"0123456789abcdef": "0123456789abcdef"},
		[]string{"short"},
		"at least 16 characters",
	},
	{
		"CORS_ORIGINS", func(c config) any { return c.corsOrigins },
		map[string]any{
			"*": "*", "https://example.org": "https://example.org", "http://Cam.local:8080 , https://b:443,http://b:80": "http://cam.local:8080,https://b,http://b",
		},
		[]string{"example.org", "*,https://a", "https://a/", "https://a/b", "https://a,", "ftp://a", "null", "https://a:0", "https://a?b"},
		"* or a comma list of origins such as https://example.org or http://192.168.1.5:8080",
	},
	{
		"TLS_CERT", func(c config) any { return c.tlsCert },
		map[string]any{"/etc/cert.pem": "/etc/cert.pem"},
		nil,
		"a path of a PEM file, together with TLS_KEY",
	},
	{
		"TLS_KEY", func(c config) any { return c.tlsKey },
		map[string]any{"/etc/key.pem": "/etc/key.pem"},
		nil,
		"a path of a PEM file, together with TLS_CERT",
	},
	{
		"TEST_SESSION", func(c config) any { return c.testSession },
		map[string]any{"xyzabc": "xyzabc", "A-_9": "A-_9"},
		[]string{"a b", "a/b", "é", "a.b", strings.Repeat("a", 65)},
		"1 to 64 of the characters A-Z a-z 0-9 _ -",
	},
	{
		"TEST_URL", func(c config) any { return c.testURL },
		map[string]any{"http://app:3000": "http://app:3000", "https://example.org/relay/": "https://example.org/relay"},
		[]string{"app", "app:3000", "ftp://app", "http://", "//app", "http://app?x=1", "http://app?", "http://:80", "http://app:99999", "http://app#x", "http://a b"},
		"an http:// or https:// URL of a host",
	},
	{
		"TEST_INTERVAL", func(c config) any { return c.testInterval },
		map[string]any{"2": 2 * time.Second, "0.5": 500 * time.Millisecond, "3600": time.Hour},
		[]string{"0", "-1", "3601", "NaN", "1s"},
		"a number from 0.01 to 3600",
	},
	{
		"LOG_FORMAT", func(c config) any { return c.logFormat },
		map[string]any{"text": "text", "json": "json"},
		[]string{"xml", "JSON text"},
		"text or json",
	},
	{
		"LOG_LEVEL", func(c config) any { return c.logLevel.String() },
		map[string]any{"debug": "DEBUG", "info": "INFO", "warn": "WARN", "error": "ERROR", "INFO": "INFO"},
		[]string{"verbose", "1", "trace", "info+3"},
		"debug, info, warn or error",
	},
}

// settingCompany is what some good values need beside them.
var settingCompany = []string{
	"MEMORY_LIMIT=1 TiB", "UPLOAD_LIMIT=0", "SESSION_SECRET=0123456789abcdef", "REDIS_HOST=a", "TLS_CERT=cert.pem", "TLS_KEY=key.pem",
}

func TestConfigValues(t *testing.T) {
	t.Parallel()
	for i, row := range settingCases {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if len(settingCases) != len(settings) || settings[i].name != row.name {
				t.Errorf("row %d of %d: the table has %s, of %d", i, len(settingCases), settings[i].name, len(settings))
			}
			for value, want := range row.good {
				c, err := loadConfig(vary(append(slices.Clone(settingCompany), row.name+"="+value)...))
				if err != nil || row.read(c) != want {
					t.Errorf("%s=%s: got %+v, error %v, want %v", row.name, value, c, err, want)
				}
			}
			for _, value := range row.bad {
				_, err := loadConfig(vary(row.name + "=" + value))
				shown := value
				if strings.Contains(row.allowed, "16 characters") {
					shown = "***" // a secret
				}
				if want := row.name + "=" + shown + ": allowed is " + row.allowed; fmt.Sprint(err) != want {
					t.Errorf("%s=%s: got error %q, want %q", row.name, value, fmt.Sprint(err), want)
				}
			}
		})
	}
}

// Height and ratio can each be right and the width out of bounds.
func TestConfigWidth(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		height, ratio, err string
		width              int
	}{
		{"90", "9/16", "", 160},
		{"1000", "3 / 4", "", 1333}, // rounded down
		{"1001", "0.75", "", 1335},  // rounded up
		{"4320", "0.1", "NODATA_ASPECT_RATIO=0.1: with NODATA_HEIGHT=4320 the image is 43200 pixels wide: allowed is 16 to 16384", 0},
		{"16", "10", "NODATA_ASPECT_RATIO=10: with NODATA_HEIGHT=16 the image is 2 pixels wide: allowed is 16 to 16384", 0},
	} {
		c, err := loadConfig(vary("NODATA_HEIGHT="+row.height, "NODATA_ASPECT_RATIO="+row.ratio))
		if row.err != "" && fmt.Sprint(err) != row.err || row.err == "" && (err != nil || c.width() != row.width) {
			t.Errorf("%s, %s: got width %d, error %v, want %d, %q", row.height, row.ratio, c.width(), err, row.width, row.err)
		}
	}
}

// Settings that are each allowed can be wrong together.
func TestConfigConflicts(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ vars, want string }{
		{"REDIS_HOST=a,b", "REDIS_HOST=a:6379,b:6379: a list of hosts: allowed is one, or a list with REDIS_MODE=cluster"},
		{"REDIS_HOST=a,b REDIS_MODE=cluster", "<nil>"},
		{"REDIS_MODE=cluster", "REDIS_MODE=cluster: without REDIS_HOST there is no Redis: allowed is single"},
		{"REDIS_MODE=cluster REDIS_HOST=redis://a/1", "REDIS_MODE=cluster: REDIS_HOST names a db: allowed is 0, a Cluster has no other"},
		{"REQUIRE_KEY=true", "REQUIRE_KEY=true: without SESSION_SECRET there are no keys: allowed is false"},
		{"PRIVATE=true", "PRIVATE=true: without SESSION_SECRET there are no links: allowed is false"},
		{"TLS_CERT=a", "TLS_CERT=a, TLS_KEY=: allowed is both or none"},
		{"TLS_KEY=a", "TLS_CERT=, TLS_KEY=a: allowed is both or none"},
	} {
		if _, err := loadConfig(vary(strings.Fields(row.vars)...)); fmt.Sprint(err) != row.want {
			t.Errorf("%s: got %q, want %q", row.vars, fmt.Sprint(err), row.want)
		}
	}
	for vars, want := range map[string]int64{
		"MEMORY_LIMIT=4MiB": 4 << 20, "UPLOAD_LIMIT=5MiB": 5 << 20, "MEMORY_LIMIT=4MiB REDIS_HOST=a": 10 << 20, "UPLOAD_LIMIT=0": 10 << 20,
	} {
		if c := must(loadConfig(vary(strings.Fields(vars)...)))(t); c.maxImage != want {
			t.Errorf("%s: the largest image is %d, want %d", vars, c.maxImage, want)
		}
	}
}

func TestConfigTellsEachMistake(t *testing.T) {
	t.Parallel()
	_, err := loadConfig(vary("PORT=x", "EXPIRE=y", "LOG_LEVEL=z", "NODATA_HEIGHT=90"))
	lines := strings.Split(fmt.Sprint(err), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "PORT=x: ") || !strings.HasPrefix(lines[1], "EXPIRE=y: ") || !strings.HasPrefix(lines[2], "LOG_LEVEL=z: ") {
		t.Errorf("got %q, want a line for each of three", lines)
	}
}

func TestConfigHidesPasswords(t *testing.T) {
	t.Parallel()
	for _, value := range []string{
		"redis://user:hunter2@host:port", "redis://:hunter2@host/x", "redis://user:hunter2/x@host", "redis://u:hunter2#@host/x",
		"redis://u:hunter2?@host", "redis://u:a@hunter2@ho st", "http://u:hunter2@host", "u:hunter2@host", "redis:/u:hunter2@host",
		"redis://u:hunter2@host?nonsense=1", "rediss://hunter2@host/x/y",
	} {
		for _, name := range []string{"REDIS_HOST", "TEST_URL"} {
			_, err := loadConfig(vary(name + "=" + value))
			if text := fmt.Sprint(err); strings.Contains(text, "hunter2") {
				t.Errorf("%s=%s: got %q", name, value, text)
			} else if err != nil && !strings.HasPrefix(text, name+"=") {
				t.Errorf("%s=%s: got %q, want the rest of the value shown", name, value, text)
			}
		}
	}
}

var (
	tableRow    = regexp.MustCompile("(?m)^\\| *`?([A-Z][A-Z_]+)`? *\\| *([^|\n]*?) *\\| *([^|\n]*?) *\\| *([^|\n]*?) *\\|$")
	exampleRow  = regexp.MustCompile(`(?m)^# (.*)\n# allowed: (.*)\n([A-Z_]+)=(.*)$`)
	helpRow     = regexp.MustCompile(`(?m)^  ([A-Z_]+) +(.*?)  +(.*?)\n +(.*?)$`)
	emptyInDocs = map[string]string{"": "empty", "(empty)": "empty"}
)

// README, .env.example and help show the table of this program, row by row.
func TestConfigIsDocumented(t *testing.T) {
	t.Parallel()
	readme, example := string(must(os.ReadFile("README.md"))(t)), string(must(os.ReadFile(".env.example"))(t))
	var want, inReadme, inExample, inHelp []setting
	for _, s := range settings {
		want = append(want, setting{name: s.name, fallback: s.fallback, meaning: s.meaning, allowed: s.allowed})
	}
	for _, m := range tableRow.FindAllStringSubmatch(readme, -1) {
		inReadme = append(inReadme, setting{name: m[1], fallback: strings.Trim(m[2], "`"), meaning: m[3], allowed: m[4]})
	}
	for _, m := range exampleRow.FindAllStringSubmatch(example, -1) {
		inExample = append(inExample, setting{name: m[3], fallback: m[4], meaning: m[1], allowed: m[2]})
	}
	for _, m := range helpRow.FindAllStringSubmatch(settingsTable(), -1) {
		inHelp = append(inHelp, setting{name: m[1], fallback: m[2], meaning: m[3], allowed: m[4]})
	}
	for where, got := range map[string][]setting{"README.md": inReadme, ".env.example": inExample, "help": inHelp} {
		if len(got) != len(want) {
			t.Errorf("%s: got %d settings, want %d", where, len(got), len(want))
		}
		for i := range min(len(got), len(want)) {
			if got, want := plain(got[i]), plain(want[i]); got != want {
				t.Errorf("%s, row %d: got %s, want %s", where, i, got, want)
			}
		}
	}
	if file := must(godotenv.Unmarshal(example))(t); len(file) != len(settings) {
		t.Errorf(".env.example: got %v, want the %d settings and no other", file, len(settings))
	} else if got := must(loadConfig(lookup(func(string) (string, bool) { return "", false }).over(file)))(t); got != testDefaults(t) {
		t.Errorf(".env.example: got %+v, want the defaults", got)
	}
}

// plain writes a row in one way, for comparison.
func plain(s setting) string {
	if word, ok := emptyInDocs[s.fallback]; ok {
		s.fallback = word
	}
	return strings.Join([]string{s.name, s.fallback, s.meaning, s.allowed}, " | ")
}

func testDefaults(t *testing.T) config { return must(loadConfig(vary()))(t) }

func FuzzRatio(f *testing.F) {
	for _, seed := range []string{"0.5625", "9/16", "3 / 4", "1/0", "0/0", "NaN", "1/Inf", "-1/-2", "1e-400", "0x1p-1", "1/2/3", "/", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ratio, err := parseRatio(s)
		if err != nil {
			if ratio != 0 {
				t.Errorf("%q: got %v with an error", s, ratio)
			}
			return
		}
		if !(ratio >= 0.1 && ratio <= 10) {
			t.Errorf("%q: got %v", s, ratio)
		}
		again, err := parseRatio(strconv.FormatFloat(ratio, 'g', -1, 64))
		if err != nil || again != ratio {
			t.Errorf("%q: got %v, and %v, error %v, when written out", s, ratio, again, err)
		}
		if w := (config{height: 4320, aspectRatio: ratio}).width(); w < 432 || w > 43200 || math.Abs(float64(w)*ratio-4320) > ratio {
			t.Errorf("%q: got width %d at height 4320", s, w)
		}
	})
}
