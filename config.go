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
	redis        *redis.Options // nil: the embedded queue; in a Cluster Addr may be a list
	redisMode    string         // single or cluster
	expire       time.Duration
	mimeType     string
	aspectRatio  float64 // height / width of the No Data image
	height       int
	noDataStatus int
	maxImage     int64
	memoryLimit  int64

	// limits, 0: none
	maxImages       int   // of a session
	maxSessionBytes int64 // of a session
	maxSessions     int
	uploadLimit     int64
	maxViewers      int
	checkImages     bool

	// access
	sessionSecret string
	requireKey    bool
	private       bool
	operatorToken string
	corsOrigins   string // * or a comma list
	tlsCert       string
	tlsKey        string

	testSession  string
	testURL      string // empty: this machine, PORT
	testInterval time.Duration
	logFormat    string
	logLevel     slog.Level
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
			errs = append(errs, fmt.Errorf("%s=%s: allowed is %s", s.name, s.shown(value), s.allowed))
		}
	}
	if len(errs) == 0 {
		errs = c.conflicts()
	}
	if c.redis == nil {
		c.maxImage = min(c.maxImage, c.memoryLimit)
	}
	if c.uploadLimit > 0 {
		c.maxImage = min(c.maxImage, c.uploadLimit)
	}
	return c, errors.Join(errs...)
}

// conflicts returns what is wrong with settings that are each allowed.
func (c config) conflicts() (errs []error) {
	add := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	add(c.width() < 16 || c.width() > maxWidth,
		"NODATA_ASPECT_RATIO=%g: with NODATA_HEIGHT=%d the image is %d pixels wide: allowed is 16 to %d",
		c.aspectRatio, c.height, c.width(), maxWidth)
	add(c.redis != nil && c.redisMode == "single" && strings.Contains(c.redis.Addr, ","),
		"REDIS_HOST=%s: a list of hosts: allowed is one, or a list with REDIS_MODE=cluster", c.redisAddr())
	add(c.redis == nil && c.redisMode == "cluster", "REDIS_MODE=cluster: without REDIS_HOST there is no Redis: allowed is single")
	add(c.redis != nil && c.redisMode == "cluster" && c.redis.DB != 0, "REDIS_MODE=cluster: REDIS_HOST names a db: allowed is 0, a Cluster has no other")
	add(c.requireKey && c.sessionSecret == "", "REQUIRE_KEY=true: without SESSION_SECRET there are no keys: allowed is false")
	add(c.private && c.sessionSecret == "", "PRIVATE=true: without SESSION_SECRET there are no links: allowed is false")
	add((c.tlsCert == "") != (c.tlsKey == ""), "TLS_CERT=%s, TLS_KEY=%s: allowed is both or none", c.tlsCert, c.tlsKey)
	return errs
}

const maxWidth = 16384

// width returns the width of the No Data image in pixels.
func (c config) width() int { return int(math.Round(float64(c.height) / c.aspectRatio)) }

// redisAddr returns where Redis is, without user and password.
func (c config) redisAddr() string {
	if c.redis == nil {
		return ""
	}
	return c.redis.Addr
}

// shown returns a value as a message may show it: a secret never, a URL without
// its password, even if it is malformed.
func (s setting) shown(value string) string {
	if s.name == "SESSION_SECRET" || s.name == "OPERATOR_TOKEN" {
		return "***"
	}
	return userPart.ReplaceAllString(value, "${1}***@")
}

var userPart = regexp.MustCompile(`(?s)^([a-z]*://)?.*@`)
