// Package config reads and checks every setting of the program. Nothing else reads a setting from the environment.
//
// The settings are one table, which Load applies to the variables that a Lookup finds. The help text is made from that
// table, and a test holds README.md and .env.example to it. Load reports all mistakes at once: what was
// given and what is allowed, but never a secret and never the password of a URL.
package config

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

// Config holds every setting, checked.
type Config struct {
	Port     int
	Redis    *redis.UniversalOptions // nil: the embedded queue
	RedisTLS RedisTLS
	Expire   time.Duration // life of an image
	MIMEType string        // of the images served
	NoData   NoData
	Limits   Limits
	Access   Access
	TLS      TLS
	Test     Test
	Log      Log
}

// RedisTLS names PEM files for a Redis that is reached by rediss://. Each may be empty, but Cert and Key only both.
type RedisTLS struct {
	Cert, Key string // of the client
	CA        string // certificates by which Redis is verified, instead of those of the system
}

// NoData says how an empty queue is answered.
type NoData struct {
	AspectRatio float64 // height / width of the image
	Height      int     // of the image, in pixels
	Status      int
}

// Width returns the width of the No Data image in pixels.
func (n NoData) Width() int { return int(math.Round(float64(n.Height) / n.AspectRatio)) }

// Limits bound what the server accepts and holds. 0 means no limit, except for ImageBytes and MemoryBytes, which are
// at least 1.
type Limits struct {
	ImageBytes    int64 // of one image; at most MemoryBytes (embedded queue) and UploadBytes
	MemoryBytes   int64 // of all images in the embedded queue
	Images        int   // of a session
	SessionBytes  int64 // of the images of a session
	Sessions      int
	UploadBytes   int64 // of all uploads in progress
	UploadRate    int64 // least bytes a second of an upload, on average
	DownloadBytes int64 // of all images on their way to clients
	Viewers       int   // streams and waiting reads
	CheckImages   bool  // refuse what does not begin as an image of the MIMEType does
}

// Access says who may do what.
type Access struct {
	SessionSecret string // empty: nothing is signed
	RequireKey    bool   // sending needs the publish key
	Private       bool   // reading needs a link, the publish key or the operator's token
	OperatorToken string // empty: the operator's routes are open
	CORSOrigins   string // * or a comma list
	AllowedHosts  string // *, a comma list, or empty: what follows from CORSOrigins
}

// TLS names the files of the certificate. Either both are set or none.
type TLS struct{ Cert, Key string }

// Enabled reports whether the server speaks HTTPS.
func (t TLS) Enabled() bool { return t.Cert != "" }

// Test sets up the test producer.
type Test struct {
	Session  string // empty: the server is asked for one
	URL      string // empty: the server on this machine
	Interval time.Duration
}

// Log says what is logged, and how.
type Log struct {
	Format string // text or json
	Level  slog.Level
}

// Lookup finds a variable, as os.LookupEnv does.
type Lookup func(name string) (string, bool)

// Over returns a Lookup that falls back on the variables of a file.
func (l Lookup) Over(file map[string]string) Lookup {
	return func(name string) (string, bool) {
		if value, ok := l(name); ok {
			return value, true
		}
		value, ok := file[name]
		return value, ok
	}
}

// Load reads and checks every setting. An empty variable means the default. One of blanks alone does not: who sets a
// variable wants something, and the default of some settings is to be open. The error has one line for each setting
// that is wrong.
func Load(lookup Lookup) (Config, error) {
	var c Config
	var errs []error
	for _, s := range settings {
		given, _ := lookup(s.name)
		value := s.valueOf(given)
		if err := s.set(&c, value); err != nil || value == "" && given != "" {
			errs = append(errs, fmt.Errorf("%s=%s: allowed is %s", s.name, s.shown(value), s.allowed))
		}
	}
	if len(errs) == 0 {
		errs = c.conflicts()
	}
	if c.Redis == nil {
		c.Limits.ImageBytes = min(c.Limits.ImageBytes, c.Limits.MemoryBytes)
	}
	if c.Limits.UploadBytes > 0 {
		c.Limits.ImageBytes = min(c.Limits.ImageBytes, c.Limits.UploadBytes)
	}
	return c, errors.Join(errs...)
}

// maxWidth is the greatest width of the No Data image in pixels.
const maxWidth = 16384

// conflicts returns what is wrong with settings that are each allowed by themselves.
func (c Config) conflicts() (errs []error) {
	add := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	width := c.NoData.Width()
	add(width < 16 || width > maxWidth,
		"NODATA_ASPECT_RATIO=%g: with NODATA_HEIGHT=%d the image is %d pixels wide: allowed is 16 to %d",
		c.NoData.AspectRatio, c.NoData.Height, width, maxWidth)
	if r := c.Redis; r != nil {
		add(!r.IsClusterMode && len(r.Addrs) > 1,
			"REDIS_HOST=%s: a list of hosts: allowed is one, or a list with REDIS_MODE=cluster", strings.Join(r.Addrs, ","))
		add(len(r.Addrs) == 0, "REDIS_MODE=cluster: without REDIS_HOST there is no Redis: allowed is single")
		files := c.RedisTLS
		add(files != RedisTLS{} && r.TLSConfig == nil,
			"REDIS_HOST: cert, key and ca of a URL that does not use TLS: allowed are they with rediss://")
		add((files.Cert == "") != (files.Key == ""),
			"REDIS_HOST: cert=%s, key=%s: allowed is both or none", files.Cert, files.Key)
		add(r.IsClusterMode && r.DB != 0, "REDIS_MODE=cluster: REDIS_HOST names a db: allowed is 0, a Cluster has no other")
	}
	unsigned := c.Access.SessionSecret == ""
	add(c.Access.RequireKey && unsigned, "REQUIRE_KEY=true: without SESSION_SECRET there are no keys: allowed is false")
	add(c.Access.Private && unsigned, "PRIVATE=true: without SESSION_SECRET there are no links: allowed is false")
	add((c.TLS.Cert == "") != (c.TLS.Key == ""),
		"TLS_CERT=%s, TLS_KEY=%s: allowed is both or none", c.TLS.Cert, c.TLS.Key)
	return errs
}

// valueOf returns the value that a variable gives a setting. Blanks around it mean nothing, except in a secret.
func (s setting) valueOf(given string) string {
	value := strings.TrimSpace(given)
	switch {
	case given == "":
		return s.fallback
	case value != "" && s.isSecret():
		return given
	}
	return value
}

func (s setting) isSecret() bool { return s.name == "SESSION_SECRET" || s.name == "OPERATOR_TOKEN" }

// shown returns a value as a message may show it: a secret never, a URL without its password, even if it is malformed.
func (s setting) shown(value string) string {
	switch {
	case value == "":
		return "(blank)"
	case s.isSecret():
		return "***"
	}
	return userPart.ReplaceAllString(value, "${1}***@")
}

var userPart = regexp.MustCompile(`(?s)^([a-z]*://)?.*@`)
