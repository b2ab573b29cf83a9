package config

import (
	"errors"
	"math"
	"strings"

	"github.com/image-streamer/image-streamer/internal/httpserver"
	"github.com/image-streamer/image-streamer/internal/session"
)

// setting is one row of the table that the help text, README.md and .env.example show.
type setting struct {
	name, fallback, meaning, allowed string
	set                              func(c *Config, value string) error
}

// errNotAllowed is the error of every parse function. It need not say more: the message to the operator has what is
// allowed.
var errNotAllowed = errors.New("not allowed")

// settings is the whole configuration, applied in this order. Whatever error a set function returns, the operator gets
// the allowed text of the row.
var settings = []setting{
	{
		"PORT", "3000", "listening port",
		"a whole number from 0 to 65535 (0 picks a free port)",
		func(c *Config, v string) (err error) { c.Port, err = ParseInt(v, 0, 65535); return },
	},
	{
		"REDIS_HOST", "", "Redis to keep the queues in; empty: an embedded queue in this process",
		"host, host:port, or a redis://, rediss:// or unix:// URL; a comma list of hosts with REDIS_MODE=cluster",
		setRedisHost,
	},
	{
		"REDIS_MODE", "single", "what REDIS_HOST names: one Redis, or nodes of a Cluster in a comma list",
		"single or cluster",
		setRedisMode,
	},
	{
		"EXPIRE", "120", "life of an image in seconds, fractions allowed",
		"a number from 0.01 to 31536000",
		func(c *Config, v string) (err error) { c.Expire, err = parseSeconds(v, 0.01, 31536000); return },
	},
	{
		"MIMETYPE", "image/jpeg", "type of the images served",
		"image/ and a subtype that cannot script, such as image/jpeg, image/png or image/webp",
		func(c *Config, v string) (err error) { c.MIMEType, err = parseImageType(v); return },
	},
	{
		"NODATA_ASPECT_RATIO", "0.5625", "height / width of the No Data image",
		"a decimal or a fraction from 0.1 to 10, such as 0.75, 9/16 or 3 / 4",
		func(c *Config, v string) (err error) { c.NoData.AspectRatio, err = parseRatio(v); return },
	},
	{
		"NODATA_HEIGHT", "720", "height of the No Data image in pixels",
		"a whole number from 16 to 4320",
		func(c *Config, v string) (err error) { c.NoData.Height, err = ParseInt(v, 16, 4320); return },
	},
	{
		"NODATA_STATUS", "200", "status of the answer of an empty queue",
		NoDataRule,
		func(c *Config, v string) (err error) { c.NoData.Status, err = ParseNoDataStatus(v); return },
	},
	{
		"MAX_IMAGE_BYTES", "10 MiB", "largest image accepted; never more than MEMORY_LIMIT and UPLOAD_LIMIT",
		"a size from 1 to 512 MiB, in bytes or with a unit, such as 500k or 10 MiB",
		func(c *Config, v string) (err error) { c.Limits.ImageBytes, err = parseSize(v, 512<<20); return },
	},
	{
		"MEMORY_LIMIT", "256 MiB", "embedded queue only: bytes of images held",
		"a size from 1 to 1 TiB, in bytes or with a unit, such as 64MiB or 2 GiB",
		func(c *Config, v string) (err error) { c.Limits.MemoryBytes, err = parseSize(v, 1<<40); return },
	},
	{
		"MAX_IMAGES", "1000", "images of a session; the oldest give way to new ones",
		"a whole number; 0: no limit",
		func(c *Config, v string) (err error) { c.Limits.Images, err = ParseInt(v, 0, math.MaxInt32); return },
	},
	{
		"MAX_SESSION_BYTES", "64 MiB", "bytes of the images of a session; the oldest give way, the newest always stays",
		"a size up to 1 TiB, in bytes or with a unit; 0: no limit",
		func(c *Config, v string) (err error) { c.Limits.SessionBytes, err = parseLimit(v); return },
	},
	{
		"MAX_SESSIONS", "10000", "sessions to which an image came within EXPIRE; one that would open one more gets 429",
		"a whole number; 0: no limit",
		func(c *Config, v string) (err error) { c.Limits.Sessions, err = ParseInt(v, 0, math.MaxInt32); return },
	},
	{
		"UPLOAD_LIMIT", "64 MiB", "bytes being uploaded at once; more wait a moment, then get 503",
		"a size up to 1 TiB, in bytes or with a unit; 0: no limit",
		func(c *Config, v string) (err error) { c.Limits.UploadBytes, err = parseLimit(v); return },
	},
	{
		"MIN_UPLOAD_RATE", "1 KiB", "bytes a second that an image has to come at, on average after its first 30 seconds",
		"a size up to 1 TiB, in bytes or with a unit; 0: no limit",
		func(c *Config, v string) (err error) { c.Limits.UploadRate, err = parseLimit(v); return },
	},
	{
		"DOWNLOAD_LIMIT", "128 MiB", "bytes of images on their way to clients at once; more wait a moment, then get 503",
		"a size up to 1 TiB, in bytes or with a unit; 0: no limit",
		func(c *Config, v string) (err error) { c.Limits.DownloadBytes, err = parseLimit(v); return },
	},
	{
		"MAX_VIEWERS", "1000", "streams and waiting reads at once; one more gets 503",
		"a whole number; 0: no limit",
		func(c *Config, v string) (err error) { c.Limits.Viewers, err = ParseInt(v, 0, math.MaxInt32); return },
	},
	{
		"CHECK_IMAGES", "false", "refuse what does not begin as a MIMETYPE of jpeg, png, gif, webp or bmp does",
		"true or false",
		func(c *Config, v string) (err error) { c.Limits.CheckImages, err = parseBool(v); return },
	},
	{
		"SESSION_SECRET", "", "sign the session ids; any other id is refused, but with a key or link of the operator's",
		secretRule,
		func(c *Config, v string) (err error) { c.Access.SessionSecret, err = parseSecret(v); return },
	},
	{
		"REQUIRE_KEY", "false", "sending needs the session's publish key; needs SESSION_SECRET",
		"true or false",
		func(c *Config, v string) (err error) { c.Access.RequireKey, err = parseBool(v); return },
	},
	{
		"PRIVATE", "false", "reading needs a signed link, the publish key or OPERATOR_TOKEN; needs SESSION_SECRET",
		"true or false",
		func(c *Config, v string) (err error) { c.Access.Private, err = parseBool(v); return },
	},
	{
		"OPERATOR_TOKEN", "", "/stats, /metrics and /session need it as Bearer or Basic; empty: they are open",
		secretRule,
		func(c *Config, v string) (err error) { c.Access.OperatorToken, err = parseSecret(v); return },
	},
	{
		"CORS_ORIGINS", "*", "origins whose pages may read and send",
		"* or a comma list of origins such as https://example.org, http://192.168.1.5:8080 or capacitor://localhost; " +
			"each host in full, without a wildcard",
		func(c *Config, v string) (err error) { c.Access.CORSOrigins, err = httpserver.ParseOrigins(v); return },
	},
	{
		"ALLOWED_HOSTS", "", "names by which the server may be asked, besides localhost, IP addresses and the hosts of " +
			"CORS_ORIGINS; empty: every name while CORS_ORIGINS is *",
		"* or a comma list of host names such as relay.example.org; each in full, without a wildcard or a port",
		func(c *Config, v string) (err error) { c.Access.AllowedHosts, err = httpserver.ParseHosts(v); return },
	},
	{
		"TLS_CERT", "", "file of the certificate chain, for HTTPS; read again when it changes",
		"a path of a PEM file, together with TLS_KEY",
		func(c *Config, v string) error { c.TLS.Cert = v; return nil },
	},
	{
		"TLS_KEY", "", "file of the certificate's private key",
		"a path of a PEM file, together with TLS_CERT",
		func(c *Config, v string) error { c.TLS.Key = v; return nil },
	},
	{
		"TEST_SESSION", "", "session the tester sends to; empty: ask the server for one",
		session.Rule,
		func(c *Config, v string) error {
			c.Test.Session = v
			if v != "" && !session.Valid(v) {
				return errNotAllowed
			}
			return nil
		},
	},
	{
		"TEST_URL", "", "server the tester sends to; empty: this machine, PORT",
		"an http:// or https:// URL of a host",
		func(c *Config, v string) (err error) { c.Test.URL, err = parseBaseURL(v); return },
	},
	{
		"TEST_INTERVAL", "2", "seconds between two images of the tester, fractions allowed",
		"a number from 0.01 to 3600",
		func(c *Config, v string) (err error) { c.Test.Interval, err = parseSeconds(v, 0.01, 3600); return },
	},
	{
		"LOG_FORMAT", "text", "form of the log lines",
		"text or json",
		func(c *Config, v string) (err error) { c.Log.Format, err = oneOf(v, "text", "json"); return },
	},
	{
		"LOG_LEVEL", "info", "least level logged",
		"debug, info, warn or error",
		func(c *Config, v string) error {
			if strings.ContainsAny(v, "+-") { // slog knows levels in between
				return errNotAllowed
			}
			return c.Log.Level.UnmarshalText([]byte(v))
		},
	},
}
