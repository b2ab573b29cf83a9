package config

import (
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"github.com/redis/go-redis/v9"
)

// setRedisHost reads the URL of one Redis or a list of hosts. Without either the queue is the embedded one.
func setRedisHost(c *Config, s string) (err error) {
	switch {
	case s == "":
	case strings.Contains(s, "://"):
		c.Redis, c.RedisTLS, err = parseRedisURL(s)
	default:
		c.Redis, err = parseRedisHosts(s)
	}
	return err
}

func parseRedisHosts(s string) (*redis.UniversalOptions, error) {
	var addrs []string
	for item := range strings.SplitSeq(s, ",") {
		addr, err := parseAddress(strings.TrimSpace(item))
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, addr)
	}
	return &redis.UniversalOptions{Addrs: addrs}, nil
}

func parseRedisURL(s string) (*redis.UniversalOptions, RedisTLS, error) {
	s, files := cutRedisTLS(s)
	o, err := redis.ParseURL(s)
	if err != nil {
		return nil, files, err
	}
	if o.Network == "tcp" {
		if _, err := parseAddress(o.Addr); err != nil {
			return nil, files, err
		}
	}
	return universal(o), files, nil
}

// cutRedisTLS takes the parameters that name files out of a URL. go-redis does not know them, and refuses every
// parameter that it does not know.
func cutRedisTLS(s string) (string, RedisTLS) {
	u, err := url.Parse(s)
	if err != nil {
		return s, RedisTLS{}
	}
	q := u.Query()
	files := RedisTLS{Cert: q.Get("cert"), Key: q.Get("key"), CA: q.Get("ca")}
	if files == (RedisTLS{}) {
		return s, files
	}
	for _, name := range []string{"cert", "key", "ca"} {
		q.Del(name)
	}
	u.RawQuery = q.Encode()
	return u.String(), files
}

// universal copies everything that redis.ParseURL can set. UniversalOptions have no field for the network: go-redis
// takes an address that begins with a slash, as the path of every unix:// URL does, for a socket.
func universal(o *redis.Options) *redis.UniversalOptions {
	return &redis.UniversalOptions{
		Addrs:      []string{o.Addr},
		Username:   o.Username,
		Password:   o.Password,
		DB:         o.DB,
		TLSConfig:  o.TLSConfig,
		Protocol:   o.Protocol,
		ClientName: o.ClientName,

		MaxRetries:      o.MaxRetries,
		MinRetryBackoff: o.MinRetryBackoff,
		MaxRetryBackoff: o.MaxRetryBackoff,
		DialTimeout:     o.DialTimeout,
		ReadTimeout:     o.ReadTimeout,
		WriteTimeout:    o.WriteTimeout,

		PoolFIFO:              o.PoolFIFO,
		PoolSize:              o.PoolSize,
		PoolTimeout:           o.PoolTimeout,
		MinIdleConns:          o.MinIdleConns,
		MaxIdleConns:          o.MaxIdleConns,
		MaxActiveConns:        o.MaxActiveConns,
		MaxConcurrentDials:    o.MaxConcurrentDials,
		ConnMaxIdleTime:       o.ConnMaxIdleTime,
		ConnMaxLifetime:       o.ConnMaxLifetime,
		ConnMaxLifetimeJitter: o.ConnMaxLifetimeJitter,

		PipelinePoolSize:        o.PipelinePoolSize,
		PipelineReadBufferSize:  o.PipelineReadBufferSize,
		PipelineWriteBufferSize: o.PipelineWriteBufferSize,
	}
}

// setRedisMode applies REDIS_MODE to what REDIS_HOST has set before. A Cluster without hosts is left for conflicts to
// report.
func setRedisMode(c *Config, mode string) error {
	if _, err := oneOf(mode, "single", "cluster"); err != nil || mode == "single" {
		return err
	}
	if c.Redis == nil {
		c.Redis = new(redis.UniversalOptions)
	}
	c.Redis.IsClusterMode = true
	return nil
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// parseAddress reads a host, with or without a port, and returns both. The default is the port of Redis.
func parseAddress(s string) (string, error) {
	host, port := s, "6379"
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		host = s[1 : len(s)-1]
	}
	if _, err := netip.ParseAddr(host); err != nil && strings.Contains(s, ":") {
		if host, port, err = net.SplitHostPort(s); err != nil {
			return "", errNotAllowed
		}
	}
	_, notIP := netip.ParseAddr(host)
	if !isPort(port) || notIP != nil && !hostName.MatchString(host) {
		return "", errNotAllowed
	}
	return net.JoinHostPort(host, port), nil
}
