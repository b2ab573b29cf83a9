package main

import (
	"net/http"
	"strings"
)

var (
	anyOrigin  = []string{"*"}
	varyOrigin = []string{"Origin"}

	errForeign = refuse(http.StatusForbidden, "a page of this origin may not send: allowed are those of CORS_ORIGINS")
)

// cors tells the pages of which origins may read and send.
type cors struct {
	listed  map[string]bool // nil: all
	foreign *http.CrossOriginProtection
}

// newCORS reads the setting, which is checked.
func newCORS(origins string) cors {
	if origins == "*" {
		return cors{}
	}
	c := cors{listed: map[string]bool{}, foreign: http.NewCrossOriginProtection()}
	for origin := range strings.SplitSeq(origins, ",") {
		c.listed[origin] = true
	}
	return c
}

// lists tells whether an origin is one of the list, however it is written.
func (c cors) lists(origin string) bool {
	if c.listed[origin] {
		return true
	}
	normal, err := parseOrigin(origin)
	return err == nil && c.listed[normal]
}

// allow lets a page read the answer, if it may. With a list each origin has an
// answer of its own, which no cache may give to another.
func (c cors) allow(h http.Header, r *http.Request) {
	if c.listed == nil {
		h["Access-Control-Allow-Origin"] = anyOrigin
		return
	}
	h["Vary"] = varyOrigin
	if origin := r.Header.Get("Origin"); c.lists(origin) {
		h["Access-Control-Allow-Origin"] = []string{origin}
	}
}

// refuseForeign refuses what a page of no listed origin sends. Browsers send a form
// or a text without asking first, and then only hide the answer. The relay's own
// pages, and whoever is no browser, may send.
func (s *server) refuseForeign(next http.Handler) http.Handler {
	if s.cors.listed == nil {
		return next
	}
	refused := s.handler(func(http.ResponseWriter, *http.Request) error { return errForeign })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.cors.lists(r.Header.Get("Origin")) && s.cors.foreign.Check(r) != nil {
			refused.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
