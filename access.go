package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"github.com/image-streamer/image-streamer/internal/httpserver"
	"github.com/image-streamer/image-streamer/internal/session"
)

// mayPublish guards a route that sends images to the session of its path. A link does not open it: links are for those
// who watch.
func (s *server) mayPublish(h httpserver.HandlerFunc) httpserver.HandlerFunc {
	if !s.signer.Enabled() {
		return h
	}
	return func(w http.ResponseWriter, r *http.Request) error {
		id, err := sessionOf(r)
		switch {
		case err != nil:
			return err
		case s.hasKey(r, id):
			return h(w, r)
		case s.access.RequireKey:
			return errNoKey
		case !s.signer.Issued(id):
			return errNotIssued
		}
		return h(w, r)
	}
}

// mayView guards a route that takes or shows images of the session of its path. Pages of any origin may show them.
func (s *server) mayView(h httpserver.HandlerFunc) httpserver.HandlerFunc {
	h = httpserver.Embeddable(h)
	if !s.signer.Enabled() {
		return h
	}
	return func(w http.ResponseWriter, r *http.Request) error {
		id, err := sessionOf(r)
		if err != nil {
			return err
		}
		if !s.access.Private && s.signer.Issued(id) || s.hasKey(r, id) || s.hasToken(r) {
			return h(w, r)
		}
		expires, err := s.signer.LinkExpiry(r.URL.Path, r.URL.Query())
		left := expires.Sub(s.bounds.now())
		switch {
		case err != nil && s.access.Private:
			return errPrivate
		case err != nil:
			return errNotIssued
		case left <= 0:
			return errExpired
		}
		ctx, cancel := context.WithTimeout(r.Context(), left) // a stream ends with its link
		defer cancel()
		return h(w, r.WithContext(ctx))
	}
}

// mayOperate guards a route of the operator, if there is an operator's token.
func (s *server) mayOperate(h httpserver.HandlerFunc) httpserver.HandlerFunc {
	if s.access.OperatorToken == "" {
		return h
	}
	return func(w http.ResponseWriter, r *http.Request) error {
		if !s.hasToken(r) {
			return errNoToken
		}
		return h(w, r)
	}
}

// hasKey reports whether a request carries the publish key of a session, in its Authorization header or in its query:
// an <img> cannot set a header.
func (s *server) hasKey(r *http.Request, id string) bool {
	return s.signer.HasKey(id, secretOf(r)) || s.signer.HasKey(id, r.URL.Query().Get("key"))
}

// hasToken reports whether a request carries the operator's token. Hashing makes both inputs of the comparison equally
// long, so that its duration does not reveal the token's length.
func (s *server) hasToken(r *http.Request) bool {
	got, want := sha256.Sum256([]byte(secretOf(r))), sha256.Sum256([]byte(s.access.OperatorToken))
	return s.access.OperatorToken != "" && subtle.ConstantTimeCompare(got[:], want[:]) == 1
}

// secretOf returns the secret in the Authorization header, or "": a Bearer token, or the password of Basic. Many
// cameras and players know no more than http://user:password@host. The user name means nothing.
func secretOf(r *http.Request) string {
	if _, password, ok := r.BasicAuth(); ok {
		return password
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// sessionOf returns the session id of the path.
func sessionOf(r *http.Request) (string, error) {
	id := r.PathValue("session")
	if !session.Valid(id) {
		return "", errSessionID
	}
	return id, nil
}

var (
	// purposeHeaders are the headers in which browsers, old ones too, say that a request is ahead of use.
	purposeHeaders = []string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"}
	// prefetchPurposes are the words that they use for it.
	prefetchPurposes = []string{"prefetch", "prerender", "preview"}
)

// rejectUnseen guards a route that removes an image against requests whose answer nobody would see. The status is 403
// because nothing in the server failed.
func (s *server) rejectUnseen(h httpserver.HandlerFunc) httpserver.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		switch {
		case isPrefetch(r):
			return errPrefetch
		case isOpaque(r):
			return errOpaque
		case s.cors.Hides(r):
			return errHidden
		}
		return h(w, r)
	}
}

// isPrefetch reports whether a browser sends a request ahead of use. Browsers discard an answer with an error status
// and ask again for the real use, but they would keep and show a 2xx, the No Data image included.
func isPrefetch(r *http.Request) bool {
	for _, name := range purposeHeaders {
		for _, value := range r.Header[name] {
			value = strings.ToLower(value)
			for _, purpose := range prefetchPurposes {
				if strings.Contains(value, purpose) {
					return true
				}
			}
		}
	}
	return false
}

// isOpaque reports whether a script of another origin sends a request in the mode no-cors, in which it cannot read the
// answer. An <img> is of that mode too, but has a destination. Browsers say this since 2023 and only over HTTPS or to
// localhost; of other requests nothing is known.
func isOpaque(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return r.Header.Get("Sec-Fetch-Mode") == "no-cors" && r.Header.Get("Sec-Fetch-Dest") == "empty" &&
		(site == "cross-site" || site == "same-site")
}
