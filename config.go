package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"regexp"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// config holds every setting, checked. Nothing else reads the environment.
type config struct {
	port         int
	redis        *redis.Options // nil: the embedded queue
	expire       time.Duration
	mimeType     string
	aspectRatio  float64 // height / width of the No Data image
	height       int
	noDataStatus int
	maxImage     int64
	memoryLimit  int64
	testSession  string
	testURL      string // empty: this machine, PORT
	testInterval time.Duration
	logFormat    string
	logLevel     slog.Level
}

// setting is one row of the table that help, README and .env.example show.
type setting struct {
	name, fallback, meaning, allowed string
	set                              func(c *config, value string) error
}

var errNotAllowed = errors.New("not allowed")

// settings is the whole configuration. A set function may return any error: what
// the operator is told is the row's allowed text.
var settings = []setting{
	{
		"PORT", "3000", "listening port",
		"a whole number from 0 to 65535 (0 picks a free port)",
		func(c *config, v string) (err error) { c.port, err = parseInt(v, 0, 65535); return },
	},
	{
		"REDIS_HOST", "", "Redis to keep the queues in; empty: an embedded queue in this process",
		"host, host:port, or a redis://, rediss:// or unix:// URL",
		func(c *config, v string) (err error) { c.redis, err = parseRedis(v); return },
	},
	{
		"EXPIRE", "120", "life of an image in seconds, fractions allowed",
		"a number from 0.01 to 31536000",
		func(c *config, v string) (err error) { c.expire, err = parseSeconds(v, 0.01, 31536000); return },
	},
	{
		"MIMETYPE", "image/jpeg", "type of the images served",
		"image/ and a subtype that cannot script, such as image/jpeg, image/png or image/webp",
		func(c *config, v string) (err error) { c.mimeType, err = parseImageType(v); return },
	},
	{
		"NODATA_ASPECT_RATIO", "0.5625", "height / width of the No Data image",
		"a decimal or a fraction from 0.1 to 10, such as 0.75, 9/16 or 3 / 4",
		func(c *config, v string) (err error) { c.aspectRatio, err = parseRatio(v); return },
	},
	{
		"NODATA_HEIGHT", "720", "height of the No Data image in pixels",
		"a whole number from 16 to 4320",
		func(c *config, v string) (err error) { c.height, err = parseInt(v, 16, 4320); return },
	},
	{
		"NODATA_STATUS", "200", "status of the answer of an empty queue",
		noDataRule,
		func(c *config, v string) (err error) { c.noDataStatus, err = parseNoDataStatus(v); return },
	},
	{
		"MAX_IMAGE_BYTES", "10 MiB", "largest image accepted",
		"a size from 1 to 512 MiB, in bytes or with a unit, such as 500k or 10 MiB",
		func(c *config, v string) (err error) { c.maxImage, err = parseSize(v, 512<<20); return },
	},
	{
		"MEMORY_LIMIT", "256 MiB", "embedded queue only: bytes of images held",
		"a size from 1 to 1 TiB, in bytes or with a unit, such as 64MiB or 2 GiB",
		func(c *config, v string) (err error) { c.memoryLimit, err = parseSize(v, 1<<40); return },
	},
	{
		"TEST_SESSION", "", "session the tester sends to; empty: ask the server for one",
		sessionRule,
		func(c *config, v string) error {
			c.testSession = v
			if v != "" && !validSession(v) {
				return errNotAllowed
			}
			return nil
		},
	},
	{
		"TEST_URL", "", "server the tester sends to; empty: this machine, PORT",
		"an http:// or https:// URL of a host",
		func(c *config, v string) (err error) { c.testURL, err = parseBaseURL(v); return },
	},
	{
		"TEST_INTERVAL", "2", "seconds between two images of the tester, fractions allowed",
		"a number from 0.01 to 3600",
		func(c *config, v string) (err error) { c.testInterval, err = parseSeconds(v, 0.01, 3600); return },
	},
	{
		"LOG_FORMAT", "text", "form of the log lines",
		"text or json",
		func(c *config, v string) error {
			c.logFormat = v
			if v != "text" && v != "json" {
				return errNotAllowed
			}
			return nil
		},
	},
	{
		"LOG_LEVEL", "info", "least level logged",
		"debug, info, warn or error",
		func(c *config, v string) error {
			if strings.ContainsAny(v, "+-") { // slog knows levels in between
				return errNotAllowed
			}
			return c.logLevel.UnmarshalText([]byte(v))
		},
	},
}

// lookup finds a variable, as os.LookupEnv does.
type lookup func(name string) (string, bool)

// over returns a lookup that falls back on the variables of a file.
func (l lookup) over(file map[string]string) lookup {
	return func(name string) (string, bool) {
		if value, ok := l(name); ok {
			return value, true
		}
		value, ok := file[name]
		return value, ok
	}
}

// loadConfig reads and checks every setting; an empty variable means its
// default. The error has one line for each wrong one.
func loadConfig(getenv lookup) (config, error) {
	var c config
	var errs []error
	for _, s := range settings {
		value, _ := getenv(s.name)
		value = strings.TrimSpace(value)
		if value == "" {
			value = s.fallback
		}
		if err := s.set(&c, value); err != nil {
			errs = append(errs, fmt.Errorf("%s=%s: allowed is %s", s.name, hidePassword(value), s.allowed))
		}
	}
	if w := c.width(); len(errs) == 0 && (w < 16 || w > maxWidth) {
		errs = append(errs, fmt.Errorf("NODATA_ASPECT_RATIO=%g: with NODATA_HEIGHT=%d the image is %d pixels wide: allowed is 16 to %d",
			c.aspectRatio, c.height, w, maxWidth))
	}
	return c, errors.Join(errs...)
}

const maxWidth = 16384

// width returns the width of the No Data image in pixels.
func (c config) width() int { return int(math.Round(float64(c.height) / c.aspectRatio)) }

var userPart = regexp.MustCompile(`(?s)^([a-z]*://)?.*@`)

// hidePassword keeps the password of a URL, even of a malformed one, out of messages.
func hidePassword(s string) string { return userPart.ReplaceAllString(s, "${1}***@") }
