package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
)

// What those are told who may not. A 401 names what would do; a 403 means that what
// came is no longer enough, or that nothing would do but another id.
var (
	errNoKey       = refuse(http.StatusUnauthorized, "sending needs the publish key of the session: allowed are Authorization: Bearer and ?key=")
	errPrivate     = refuse(http.StatusUnauthorized, "reading needs a signed link of this path, the publish key of the session or the operator's token")
	errNoToken     = refuse(http.StatusUnauthorized, "the operator's token is needed: allowed is Authorization: Bearer")
	errExpired     = refuse(http.StatusForbidden, "the link has expired: allowed is a new one")
	errNotIssued   = refuse(http.StatusForbidden, "session id not issued here: allowed are those of GET /session, others with their publish key, and for reading with a signed link of this path")
	errSpeculative = refuse(http.StatusForbidden, "a prefetch would remove an image that nobody may look at: allowed is a request for use")
)

// sending lets those in who may send images to the session of the path. A link
// does not count: those who have one are to watch.
func (s *server) sending(h handlerFunc) handlerFunc {
	if !s.signer.exists() {
		return h
	}
	return func(w http.ResponseWriter, r *http.Request) error {
		session, err := sessionOf(r)
		switch {
		case err != nil:
			return err
		case s.hasKey(r, session):
			return h(w, r)
		case s.cfg.requireKey:
			return errNoKey
		case !s.signer.issued(session):
			return errNotIssued
		}
		return h(w, r)
	}
}

// reading lets those in who may take or watch images of the session of the path.
func (s *server) reading(h handlerFunc) handlerFunc {
	if !s.signer.exists() {
		return h
	}
	return func(w http.ResponseWriter, r *http.Request) error {
		session, err := sessionOf(r)
		if err != nil {
			return err
		}
		if !s.cfg.private && s.signer.issued(session) || s.hasKey(r, session) || s.hasToken(r) {
			return h(w, r)
		}
		expiry, err := s.signer.expiryOf(r)
		left := expiry.Sub(s.now())
		switch {
		case err != nil && s.cfg.private:
			return errPrivate
		case err != nil:
			return errNotIssued
		case left <= 0:
			return errExpired
		}
		ctx, cancel := context.WithTimeout(r.Context(), left) // ends a stream with its link
		defer cancel()
		return h(w, r.WithContext(ctx))
	}
}

// operating lets the operator in alone, where there is a token.
func (s *server) operating(h handlerFunc) handlerFunc {
	if s.cfg.operatorToken == "" {
		return h
	}
	return func(w http.ResponseWriter, r *http.Request) error {
		if !s.hasToken(r) {
			return errNoToken
		}
		return h(w, r)
	}
}

// hasKey tells whether a request carries the publish key of a session. An <img>
// and many a camera can set no header: so the query will do, too.
func (s *server) hasKey(r *http.Request, session string) bool {
	key := s.signer.key(session)
	return same(bearer(r), key) || same(r.URL.Query().Get("key"), key)
}

// hasToken tells whether a request carries the operator's token. The sums have one
// length, so the time tells nothing of that of the token either.
func (s *server) hasToken(r *http.Request) bool {
	got, want := sha256.Sum256([]byte(bearer(r))), sha256.Sum256([]byte(s.cfg.operatorToken))
	return s.cfg.operatorToken != "" && subtle.ConstantTimeCompare(got[:], want[:]) == 1
}

// bearer returns the token of the Authorization header, or "".
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// purposes are the headers by which browsers, old ones too, tell that they ask
// ahead of use, and what they then say.
var (
	purposes    = []string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"}
	speculative = []string{"prefetch", "prerender", "preview"}
)

// forUse refuses requests ahead of use: GET removes an image here, and what is
// fetched ahead may never be shown. Browsers keep no answer with an error status
// for later but ask again for the real use; a 2xx, No Data or 204, they would show
// then. A 503 would do as well, but it is no failure of the server.
func forUse(h handlerFunc) handlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		for _, name := range purposes {
			for _, value := range r.Header[name] {
				value = strings.ToLower(value)
				for _, word := range speculative {
					if strings.Contains(value, word) {
						return errSpeculative
					}
				}
			}
		}
		return h(w, r)
	}
}
