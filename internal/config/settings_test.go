package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
)

// settingCases are good values of every setting, with what Load makes of them, bad values, and the words in which
// Load says what is allowed.
var settingCases = []struct {
	name    string
	read    func(c Config) any
	good    map[string]any
	bad     []string
	allowed string
}{
	{
		"PORT", func(c Config) any { return c.Port },
		map[string]any{"0": 0, "80": 80, " 65535 ": 65535},
		[]string{"-1", "65536", "80.5", "http", "80 81", "0x50", "99999999999999999999"},
		"a whole number from 0 to 65535 (0 picks a free port)",
	},
	{
		"REDIS_HOST", func(c Config) any {
			o := clientOptions(c)
			return fmt.Sprint(o.Network, " ", o.Addr, " ", o.Username, " ", o.Password, " ", o.DB, " ", o.TLSConfig != nil)
		},
		map[string]any{
			"redis": "tcp redis:6379   0 false", "10.0.0.1:7000": "tcp 10.0.0.1:7000   0 false",
			"::1": "tcp [::1]:6379   0 false", "[::1]": "tcp [::1]:6379   0 false",
			"[::1]:7000": "tcp [::1]:7000   0 false", "redis://u:p@h:7000/3": "tcp h:7000 u p 3 false",
			"rediss://h": "tcp h:6379   0 true", "unix:///run/r.sock?db=2": "unix /run/r.sock   2 false",
		},
		[]string{
			"a b", "host:port", "host:0", "host:65536", ":6379", "host:", "[::1", "a]b", "[::1]:x", "a:b:c", "redis://h:0",
			"redis://h:99999", "rediss://:6379x", "host/1", "http://host", "redis://h/x", "redis://h?nonsense=1", "unix://",
		},
		"host, host:port, or a redis://, rediss:// or unix:// URL; a comma list of hosts with REDIS_MODE=cluster",
	},
	{
		"REDIS_MODE", func(c Config) any { return fmt.Sprint(c.Redis.IsClusterMode, c.Redis.Addrs) },
		map[string]any{"single": "false [a:6379]", "cluster": "true [a:6379]"},
		[]string{"sentinel", "Single", "a"},
		"single or cluster",
	},
	{
		"EXPIRE", func(c Config) any { return c.Expire },
		map[string]any{
			"1": time.Second, "0.25": 250 * time.Millisecond, "0.01": 10 * time.Millisecond, "31536000": 8760 * time.Hour,
		},
		[]string{"0", "-1", "0.009", "31536001", "NaN", "Inf", "1e99", "2m", "1,5", "two"},
		"a number from 0.01 to 31536000",
	},
	{
		"MIMETYPE", func(c Config) any { return c.MIMEType },
		map[string]any{
			"image/png": "image/png", "Image/WebP": "image/webp", "image/x-portable-pixmap": "image/x-portable-pixmap",
		},
		[]string{
			"png", "image", "image/", "text/html", "image/svg+xml", "image/x+xml", "image/xml", "image/*", "image/png; a=b",
			"image/jpeg, image/png", "image/a\r\nX-Evil: 1",
		},
		"image/ and a subtype that cannot script, such as image/jpeg, image/png or image/webp",
	},
	{
		"NODATA_ASPECT_RATIO", func(c Config) any { return c.NoData.AspectRatio },
		map[string]any{"0.75": 0.75, "9/16": 0.5625, "3 / 4": 0.75, "1": 1.0, "10": 10.0, "0.1": 0.1, "1.5/2": 0.75},
		[]string{"0", "-1", "0.09", "11", "1/0", "0/0", "0/1", "1/", "/2", "1/2/3", "4:3", "NaN", "Inf", "1/Inf", "wide"},
		"a decimal or a fraction from 0.1 to 10, such as 0.75, 9/16 or 3 / 4",
	},
	{
		"NODATA_HEIGHT", func(c Config) any { return c.NoData.Height },
		map[string]any{"16": 16, "90": 90, "4320": 4320},
		[]string{"0", "-90", "15", "4321", "720p", "90.5"},
		"a whole number from 16 to 4320",
	},
	{
		"NODATA_STATUS", func(c Config) any { return c.NoData.Status },
		map[string]any{"200": 200, "203": 203, "204": 204, "404": 404, "503": 503, "599": 599},
		[]string{"0", "101", "199", "205", "206", "301", "304", "600", "404 Not Found", "-200"},
		"a status from 200 to 599 that can come with an image, such as 200, 404 or 503, or 204 for no image",
	},
	{
		"MAX_IMAGE_BYTES", func(c Config) any { return c.Limits.ImageBytes },
		map[string]any{
			"1": int64(1), "500k": int64(500000), "5MB": int64(5000000), "10 MiB": int64(10 << 20), "512MiB": int64(512 << 20),
		},
		[]string{"0", "-1", "513MiB", "1,5 MiB", ",5", "10 MiBs", "lots", "1 QiB", "NaN"},
		"a size from 1 to 512 MiB, in bytes or with a unit, such as 500k or 10 MiB",
	},
	{
		"MEMORY_LIMIT", func(c Config) any { return c.Limits.MemoryBytes },
		map[string]any{"1": int64(1), "64MiB": int64(64 << 20), "2 GiB": int64(2 << 30), "1TiB": int64(1 << 40)},
		[]string{"0", "-1", "2TiB", "all"},
		"a size from 1 to 1 TiB, in bytes or with a unit, such as 64MiB or 2 GiB",
	},
	{
		"MAX_IMAGES", func(c Config) any { return c.Limits.Images },
		map[string]any{"0": 0, "1": 1, "2147483647": 2147483647},
		[]string{"-1", "2147483648", "1k", "many"},
		"a whole number; 0: no limit",
	},
	{
		"MAX_SESSION_BYTES", func(c Config) any { return c.Limits.SessionBytes },
		map[string]any{"0": int64(0), "1": int64(1), "500k": int64(500000), "64MiB": int64(64 << 20), "1TiB": int64(1 << 40)},
		[]string{"-1", "2TiB", "0 MiB", "lots"},
		"a size up to 1 TiB, in bytes or with a unit; 0: no limit",
	},
	{
		"MAX_SESSIONS", func(c Config) any { return c.Limits.Sessions },
		map[string]any{"0": 0, "1": 1, "10000": 10000},
		[]string{"-1", "1.5", "many"},
		"a whole number; 0: no limit",
	},
	{
		"UPLOAD_LIMIT", func(c Config) any { return c.Limits.UploadBytes },
		map[string]any{"0": int64(0), "64MiB": int64(64 << 20), "2 GB": int64(2000000000)},
		[]string{"-1", "2TiB"},
		"a size up to 1 TiB, in bytes or with a unit; 0: no limit",
	},
	{
		"MIN_UPLOAD_RATE", func(c Config) any { return c.Limits.UploadRate },
		map[string]any{"0": int64(0), "1": int64(1), "2 kB": int64(2000)},
		[]string{"-1", "0.5", "2TiB", "1 KiB/s"},
		"a size up to 1 TiB, in bytes or with a unit; 0: no limit",
	},
	{
		"DOWNLOAD_LIMIT", func(c Config) any { return c.Limits.DownloadBytes },
		map[string]any{"0": int64(0), "64MiB": int64(64 << 20), "2 GB": int64(2000000000)},
		[]string{"-1", "2TiB"},
		"a size up to 1 TiB, in bytes or with a unit; 0: no limit",
	},
	{
		"MAX_VIEWERS", func(c Config) any { return c.Limits.Viewers },
		map[string]any{"0": 0, "1": 1, "1000": 1000},
		[]string{"-1", "all"},
		"a whole number; 0: no limit",
	},
	{
		"CHECK_IMAGES", func(c Config) any { return c.Limits.CheckImages },
		map[string]any{"true": true, "false": false, "TRUE": true},
		[]string{"1", "yes", "on"},
		"true or false",
	},
	{
		"SESSION_SECRET", func(c Config) any { return c.Access.SessionSecret },
		map[string]any{"sixteen chars ok": "sixteen chars ok"},
		[]string{
			"short", "fifteen chars..", " sixteen chars ok", "sixteen chars ok\n", "sixteen\tchars ok", "sixteen chärs ok",
		},
		"at least 16 characters of printable ASCII, without blanks at the ends",
	},
	{
		"REQUIRE_KEY", func(c Config) any { return c.Access.RequireKey },
		map[string]any{"true": true, "false": false},
		[]string{"1"},
		"true or false",
	},
	{
		"PRIVATE", func(c Config) any { return c.Access.Private },
		map[string]any{"true": true, "false": false},
		[]string{"1"},
		"true or false",
	},
	{
		"OPERATOR_TOKEN", func(c Config) any { return c.Access.OperatorToken },
		map[string]any{"0123456789abcdef": "0123456789abcdef"},
		[]string{
			"short", "0123456789abcdef ", "\t0123456789abcdef", "0123456789\x7fabcdef", "0123456789abcdéf",
			"0123456789\r\nabcdef",
		},
		"at least 16 characters of printable ASCII, without blanks at the ends",
	},
	{
		"CORS_ORIGINS", func(c Config) any { return c.Access.CORSOrigins },
		map[string]any{
			"*": "*", "https://example.org": "https://example.org",
			"http://Cam.local:8080 , https://b:443,http://b:80": "http://cam.local:8080,https://b,http://b",
			"capacitor://localhost":                             "capacitor://localhost",
		},
		[]string{
			"example.org", "*,https://a", "https://a/", "https://a/b", "https://a,", "ftp://a", "null", "https://a:0",
			"https://a?b", "https://*.example.org",
		},
		"* or a comma list of origins such as https://example.org, http://192.168.1.5:8080 or capacitor://localhost; " +
			"each host in full, without a wildcard",
	},
	{
		"ALLOWED_HOSTS", func(c Config) any { return c.Access.AllowedHosts },
		map[string]any{"": "", "*": "*", "Relay.example.org. , b,::1": "relay.example.org,b,::1"},
		[]string{"*.example.org", "a,", "https://a", "a:80", "a b", "a,*"},
		"* or a comma list of host names such as relay.example.org; each in full, without a wildcard or a port",
	},
	{
		"TLS_CERT", func(c Config) any { return c.TLS.Cert },
		map[string]any{"/etc/cert.pem": "/etc/cert.pem"},
		nil,
		"a path of a PEM file, together with TLS_KEY",
	},
	{
		"TLS_KEY", func(c Config) any { return c.TLS.Key },
		map[string]any{"/etc/key.pem": "/etc/key.pem"},
		nil,
		"a path of a PEM file, together with TLS_CERT",
	},
	{
		"TEST_SESSION", func(c Config) any { return c.Test.Session },
		map[string]any{"xyzabc": "xyzabc", "A-_9": "A-_9", "AA:BB": "AA:BB", "front.door": "front.door"},
		[]string{"a b", "a/b", "é", "a.jpg", ".", "..", strings.Repeat("a", 65)},
		"1 to 64 of the characters A-Z a-z 0-9 _ - . : (not . or .. alone, and no ending such as .jpg)",
	},
	{
		"TEST_URL", func(c Config) any { return c.Test.URL },
		map[string]any{"http://app:3000": "http://app:3000", "https://example.org/relay/": "https://example.org/relay"},
		[]string{
			"app", "app:3000", "ftp://app", "http://", "//app", "http://app?x=1", "http://app?", "http://:80",
			"http://app:99999", "http://app#x", "http://a b",
		},
		"an http:// or https:// URL of a host",
	},
	{
		"TEST_INTERVAL", func(c Config) any { return c.Test.Interval },
		map[string]any{"2": 2 * time.Second, "0.5": 500 * time.Millisecond, "3600": time.Hour},
		[]string{"0", "-1", "3601", "NaN", "1s"},
		"a number from 0.01 to 3600",
	},
	{
		"LOG_FORMAT", func(c Config) any { return c.Log.Format },
		map[string]any{"text": "text", "json": "json"},
		[]string{"xml", "JSON text"},
		"text or json",
	},
	{
		"LOG_LEVEL", func(c Config) any { return c.Log.Level.String() },
		map[string]any{"debug": "DEBUG", "info": "INFO", "warn": "WARN", "error": "ERROR", "INFO": "INFO"},
		[]string{"verbose", "1", "trace", "info+3"},
		"debug, info, warn or error",
	},
}

// requiredSettings are the other settings that some of the good values require.
var requiredSettings = []string{
	"MEMORY_LIMIT=1 TiB", "UPLOAD_LIMIT=0", "SESSION_SECRET=0123456789abcdef", "REDIS_HOST=a",
	"TLS_CERT=cert.pem", "TLS_KEY=key.pem",
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
				c, err := Load(environment(append(slices.Clone(requiredSettings), row.name+"="+value)...))
				if err != nil || row.read(c) != want {
					t.Errorf("%s=%s: got %+v, error %v, want %v", row.name, value, c, err, want)
				}
			}
			for _, value := range row.bad {
				_, err := Load(environment(row.name + "=" + value))
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

// numberRows are the settings whose values are numbers, with a value that is allowed.
var numberRows = map[string]string{
	"PORT": "80", "EXPIRE": "60", "NODATA_ASPECT_RATIO": "1", "NODATA_HEIGHT": "90", "NODATA_STATUS": "404",
	"MAX_IMAGE_BYTES": "5000", "MEMORY_LIMIT": "5000", "MAX_IMAGES": "5", "MAX_SESSION_BYTES": "5000", "MAX_SESSIONS": "5",
	"UPLOAD_LIMIT": "5000", "MIN_UPLOAD_RATE": "500", "DOWNLOAD_LIMIT": "5000", "MAX_VIEWERS": "5", "TEST_INTERVAL": "5",
}

// One rule holds for every number: it is written in plain decimal digits. What Go's parsers take besides is refused.
func TestNumbersArePlainDecimal(t *testing.T) {
	t.Parallel()
	for _, s := range settings {
		if isNumber := s.fallback != "" && unicode.IsDigit(rune(s.fallback[0])); isNumber && numberRows[s.name] == "" {
			t.Errorf("%s has no row in numberRows", s.name)
		}
	}
	for name, number := range numberRows {
		load(t, name+"="+number)
		for _, value := range []string{
			"+" + number, "-" + number, number[:1] + "_0", "0x50", number + "e0", number + "E0", number + ".", "NaN", "Inf",
			"+Inf", "infinity", "0b1", "0o7", "1 0", "1,0", "\u0661", number + "\x00",
		} {
			_, err := Load(environment(name + "=" + value))
			if want := name + "=" + value + ": allowed is "; !strings.HasPrefix(fmt.Sprint(err), want) {
				t.Errorf("%s=%s: got error %v", name, value, err)
			}
		}
	}
	for name, value := range map[string]string{
		"EXPIRE": ".5", "TEST_INTERVAL": "0.50", "NODATA_ASPECT_RATIO": ".5 / 0.50", "MAX_IMAGES": "007",
		"MAX_IMAGE_BYTES": ".5kB",
	} {
		load(t, name+"="+value)
	}
	for _, size := range []string{"5.MiB", "+5 MiB", "1_0 MiB", "0x10MiB", "1e3k", "5. k"} {
		if _, err := Load(environment("MAX_IMAGE_BYTES=" + size)); err == nil {
			t.Errorf("MAX_IMAGE_BYTES=%s is allowed", size)
		}
	}
}

// A variable of blanks alone is a mistake: whoever sets it to a secret that is not there would start an open server.
func TestBlankIsRefused(t *testing.T) {
	t.Parallel()
	for _, s := range settings {
		for _, blank := range []string{" ", "  \t", "\r\n"} {
			_, err := Load(environment(s.name + "=" + blank))
			if want := s.name + "=(blank): allowed is " + s.allowed; fmt.Sprint(err) != want {
				t.Errorf("%s=%q: got error %v, want %s", s.name, blank, err, want)
			}
		}
	}
}
