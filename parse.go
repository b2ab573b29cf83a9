package main

import (
	"math"
	"mime"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/redis/go-redis/v9"
)

func parseInt(s string, least, most int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > most {
		return 0, errNotAllowed
	}
	return n, nil
}

func isPort(s string) bool {
	_, err := parseInt(s, 1, 65535)
	return err == nil
}

func parseNumber(s string, least, most float64) (float64, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f >= least && f <= most) { // NaN fails too
		return 0, errNotAllowed
	}
	return f, nil
}

func parseSeconds(s string, least, most float64) (time.Duration, error) {
	f, err := parseNumber(s, least, most)
	return time.Duration(math.Round(f*1000)) * time.Millisecond, err
}

const noDataRule = "a status from 200 to 599 that can come with an image, such as 200, 404 or 503, or 204 for no image"

// parseNoDataStatus leaves out what is no final answer, sends elsewhere, or speaks
// of a request that the client did not make.
func parseNoDataStatus(s string) (int, error) {
	status, err := parseInt(s, 200, 599)
	if err != nil || status == 205 || status == 206 || status >= 300 && status < 400 {
		return 0, errNotAllowed
	}
	return status, nil
}

func parseSize(s string, most uint64) (int64, error) {
	n, err := humanize.ParseBytes(s)
	if err != nil || strings.Contains(s, ",") || // ParseBytes passes over commas
		n < 1 || n > most {
		return 0, errNotAllowed
	}
	return int64(n), nil
}

// parseLimit reads a size that may be 0: no limit.
func parseLimit(s string) (int64, error) {
	if s == "0" {
		return 0, nil
	}
	return parseSize(s, 1<<40)
}

func parseBool(s string) (bool, error) {
	value, err := oneOf(strings.ToLower(s), "true", "false")
	return value == "true", err
}

func oneOf(s string, allowed ...string) (string, error) {
	if !slices.Contains(allowed, s) {
		return "", errNotAllowed
	}
	return s, nil
}

// parseSecret reads what must not be guessed.
func parseSecret(s string) (string, error) {
	if s != "" && len(s) < 16 {
		return "", errNotAllowed
	}
	return s, nil
}

// parseOrigins reads a list of origins and returns it as browsers write them.
func parseOrigins(s string) (string, error) {
	if s == "*" {
		return s, nil
	}
	var origins []string
	for item := range strings.SplitSeq(s, ",") {
		origin, err := parseOrigin(item)
		if err != nil {
			return "", err
		}
		origins = append(origins, origin)
	}
	return strings.Join(origins, ","), nil
}

func parseOrigin(s string) (string, error) {
	u, err := url.Parse(strings.ToLower(strings.TrimSpace(s)))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil ||
		u.Port() != "" && !isPort(u.Port()) || u.Scheme+"://"+u.Host != u.String() {
		return "", errNotAllowed
	}
	if u.Scheme == "http" {
		return "http://" + strings.TrimSuffix(u.Host, ":80"), nil
	}
	return "https://" + strings.TrimSuffix(u.Host, ":443"), nil
}

// parseRatio reads a decimal or a fraction of two decimals.
func parseRatio(s string) (float64, error) {
	over, under, isFraction := strings.Cut(s, "/")
	ratio, err := strconv.ParseFloat(strings.TrimSpace(over), 64)
	if err != nil {
		return 0, errNotAllowed
	}
	if isFraction {
		divisor, err := strconv.ParseFloat(strings.TrimSpace(under), 64)
		if err != nil {
			return 0, errNotAllowed
		}
		ratio /= divisor
	}
	if !(ratio >= 0.1 && ratio <= 10) { // NaN fails too
		return 0, errNotAllowed
	}
	return ratio, nil
}

func parseImageType(s string) (string, error) {
	kind, params, err := mime.ParseMediaType(s)
	if err != nil || len(params) > 0 || !strings.HasPrefix(kind, "image/") || kind == "image/*" ||
		strings.HasSuffix(kind, "xml") || strings.Contains(kind, "svg") { // browsers run scripts in XML
		return "", errNotAllowed
	}
	return kind, nil
}

func parseBaseURL(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.Port() != "" && !isPort(u.Port()) || strings.HasSuffix(s, "?") || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" {
		return "", errNotAllowed
	}
	return strings.TrimRight(s, "/"), nil
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

func parseRedis(s string) (*redis.Options, error) {
	switch {
	case s == "":
		return nil, nil
	case strings.Contains(s, "://"):
		opt, err := redis.ParseURL(s)
		if err == nil && opt.Network == "tcp" {
			_, err = parseAddress(opt.Addr)
		}
		return opt, err
	}
	var addrs []string
	for item := range strings.SplitSeq(s, ",") {
		addr, err := parseAddress(strings.TrimSpace(item))
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, addr)
	}
	return &redis.Options{Addr: strings.Join(addrs, ",")}, nil
}

// parseAddress reads a host with a port or without, which is then that of Redis.
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
