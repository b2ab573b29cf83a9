package httpserver

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

var (
	anyOrigin  = []string{"*"}
	varyOrigin = []string{"Origin"}

	errForeign = Errorf(http.StatusForbidden, "a page of this origin may not send: allowed are those of CORS_ORIGINS")
	errOrigin  = errors.New("not an origin")
)

// CORS holds the origins whose pages may read answers and send requests. The zero CORS allows every origin.
type CORS struct {
	listed  map[string]bool // nil: all
	foreign *http.CrossOriginProtection
}

// NewCORS returns the CORS of a list that ParseOrigins has returned.
func NewCORS(origins string) CORS {
	if origins == "*" {
		return CORS{}
	}
	c := CORS{listed: map[string]bool{}, foreign: http.NewCrossOriginProtection()}
	for origin := range strings.SplitSeq(origins, ",") {
		c.listed[origin] = true
	}
	return c
}

// ParseOrigins reads a comma-separated list of origins, or * for all, and returns it as browsers write origins.
func ParseOrigins(s string) (string, error) {
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
		return "", errOrigin
	}
	if u.Scheme == "http" {
		return "http://" + strings.TrimSuffix(u.Host, ":80"), nil
	}
	return "https://" + strings.TrimSuffix(u.Host, ":443"), nil
}

func isPort(s string) bool {
	port, err := strconv.Atoi(s)
	return err == nil && 1 <= port && port <= 65535
}

// lists reports whether an origin is in the list, in any spelling.
func (c CORS) lists(origin string) bool {
	if c.listed[origin] {
		return true
	}
	normal, err := parseOrigin(origin)
	return err == nil && c.listed[normal]
}

// allow lets the page that sent a request read the answer, if it may. With a list the answer depends on the origin, so
// Vary keeps caches from giving it to another one.
func (c CORS) allow(h http.Header, r *http.Request) {
	if c.listed == nil {
		h["Access-Control-Allow-Origin"] = anyOrigin
		return
	}
	h["Vary"] = varyOrigin
	if origin := r.Header.Get("Origin"); c.lists(origin) {
		h["Access-Control-Allow-Origin"] = []string{origin}
	}
}

// refuseForeign refuses what a page of an origin that is not listed sends. CORS alone does not stop such a page:
// browsers send a form or a text without a preflight and only hide the answer. The server's own pages may send, and so
// may clients that are not browsers.
func (s *Stack) refuseForeign(next http.Handler) http.Handler {
	if s.cors.listed == nil {
		return next
	}
	refuse := s.Handle(func(http.ResponseWriter, *http.Request) error { return errForeign })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.cors.lists(r.Header.Get("Origin")) && s.cors.foreign.Check(r) != nil {
			refuse.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
