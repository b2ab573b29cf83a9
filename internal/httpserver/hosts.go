package httpserver

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
)

var (
	hostName = regexp.MustCompile(`^[a-z0-9_-]+(\.[a-z0-9_-]+)*$`)

	errHostName = errors.New("not a host name")
	errHost     = Errorf(http.StatusMisdirectedRequest, "this server does not go by the host of the request: "+
		"allowed are localhost, IP addresses, the hosts of CORS_ORIGINS and those of ALLOWED_HOSTS")
)

// Hosts holds the names by which a server may be asked. The zero Hosts allows every name.
//
// A foreign page can let its own name resolve to the address of the server (DNS rebinding). The browser then takes the
// server for a part of the page's site, and nothing but the name in the request tells the difference. An IP address
// cannot be given away like that, so addresses are always allowed, and localhost is.
type Hosts struct{ names map[string]bool } // nil: all

// NewHosts returns the Hosts of a list that ParseHosts has returned, together with the hosts of a list that
// ParseOrigins has returned. Without hosts, every name is allowed if every origin is.
func NewHosts(hosts, origins string) Hosts {
	if hosts == "*" || hosts == "" && origins == "*" {
		return Hosts{}
	}
	h := Hosts{map[string]bool{"localhost": true}}
	for host := range strings.SplitSeq(hosts, ",") {
		h.names[host] = true
	}
	for origin := range strings.SplitSeq(origins, ",") {
		if u, err := url.Parse(origin); err == nil {
			h.names[u.Hostname()] = true
		}
	}
	delete(h.names, "") // of an empty list, and of *
	return h
}

// ParseHosts reads a comma-separated list of host names, * for all, or nothing.
func ParseHosts(s string) (string, error) {
	if s == "" || s == "*" {
		return s, nil
	}
	var hosts []string
	for item := range strings.SplitSeq(s, ",") {
		host := normalHost(strings.TrimSpace(item))
		if _, err := netip.ParseAddr(host); err != nil && !hostName.MatchString(host) {
			return "", errHostName
		}
		hosts = append(hosts, host)
	}
	return strings.Join(hosts, ","), nil
}

// Allow reports whether a server may be asked by the host of a request. Clients of HTTP/1.0 may name none, browsers
// always do.
func (h Hosts) Allow(r *http.Request) bool {
	if h.names == nil || r.Host == "" {
		return true
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = normalHost(host)
	_, err := netip.ParseAddr(host)
	return err == nil || h.names[host]
}

// normalHost returns the one spelling of a name or an address.
func normalHost(host string) string {
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// refuseOtherHosts refuses requests that ask by a name which is not allowed.
func (s *Stack) refuseOtherHosts(next http.Handler) http.Handler {
	if s.hosts.names == nil {
		return next
	}
	refuse := s.Handle(func(http.ResponseWriter, *http.Request) error { return errHost })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.hosts.Allow(r) {
			refuse.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
