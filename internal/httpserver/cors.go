package httpserver

import (
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var (
	anyOrigin   = []string{"*"}
	anyHeader   = []string{"*, Authorization"} // * does not cover Authorization
	varyOrigin  = []string{"Origin"}
	credentials = []string{"true"}

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
		origin, err := parseOrigin(strings.TrimSpace(item))
		if err != nil {
			return "", err
		}
		origins = append(origins, origin)
	}
	return strings.Join(origins, ","), nil
}

// originForm matches an origin: its scheme, which an app may have made up, its host, and its port if there is one.
var originForm = regexp.MustCompile(`^([a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([1-9][0-9]*))?$`)

// pageless are schemes of which no page has an origin.
var pageless = []string{"ftp", "ws", "wss"}

// parseOrigin returns an origin as browsers write it. They write no wildcard and no letter beyond ASCII, so an origin
// with one would match nothing.
func parseOrigin(s string) (string, error) {
	parts := originForm.FindStringSubmatch(strings.ToLower(s))
	if parts == nil || slices.Contains(pageless, parts[1]) {
		return "", errOrigin
	}
	scheme, host, port := parts[1], parts[2], parts[3]
	switch _, err := strconv.ParseUint(port, 10, 16); {
	case port == "", scheme == "http" && port == "80", scheme == "https" && port == "443":
		return scheme + "://" + host, nil
	case err != nil:
		return "", errOrigin
	}
	return scheme + "://" + host + ":" + port, nil
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
// Vary keeps caches from giving it to another one. A listed page may also send with credentials, as sendBeacon always
// does.
func (c CORS) allow(h http.Header, r *http.Request) {
	if c.listed == nil {
		h["Access-Control-Allow-Origin"] = anyOrigin
		return
	}
	h["Vary"] = varyOrigin
	if origin := r.Header.Get("Origin"); c.lists(origin) {
		h["Access-Control-Allow-Origin"] = []string{origin}
		h["Access-Control-Allow-Credentials"] = credentials
	}
}

// allowHeaders adds to the answer of a preflight that every header may be sent. For a request with credentials * means
// no more than itself, so the answer names what the browser has asked for.
func allowHeaders(h http.Header, r *http.Request) {
	if h["Access-Control-Allow-Credentials"] == nil {
		h["Access-Control-Allow-Headers"] = anyHeader
		return
	}
	h["Access-Control-Allow-Headers"] = r.Header["Access-Control-Request-Headers"]
}

// isForeign reports whether a page of an origin that is not listed sends something. A GET or HEAD is taken for reading.
func (c CORS) isForeign(r *http.Request) bool {
	return c.listed != nil && !c.lists(r.Header.Get("Origin")) && c.foreign.Check(r) != nil
}

// Hides reports whether the browser will hide the answer from the page that asks, because the page is of an origin that
// is not listed. A browser names the origin when a script wants to read the answer, and not for an <img>.
func (c CORS) Hides(r *http.Request) bool {
	if c.listed == nil || r.Header.Get("Origin") == "" {
		return false
	}
	sent := *r
	sent.Method = http.MethodPost
	return c.isForeign(&sent)
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
		if s.cors.isForeign(r) {
			refuse.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
