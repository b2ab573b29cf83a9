package main

import (
	"net/http"
	"runtime/debug"
	"strings"
)

// The values of the headers on every answer, shared between answers.
var (
	noStore   = []string{"no-store"}
	noSniff   = []string{"nosniff"}
	noScript  = []string{"default-src 'none'; sandbox"}
	keepAlive = []string{"keep-alive"}
	exposed   = []string{"X-Sequence, X-Timestamp, X-Queue-Length, X-No-Data, Retry-After"}
)

// commonHeaders sets what every answer has: never cached, never guessed at, of no
// power where it is opened as a page, and readable by the pages that may.
func commonHeaders(cors cors, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["Cache-Control"] = noStore
		h["X-Content-Type-Options"] = noSniff
		h["Content-Security-Policy"] = noScript
		cors.allow(h, r)
		h["Access-Control-Expose-Headers"] = exposed
		if r.ProtoMajor == 1 && strings.EqualFold(r.Header.Get("Connection"), "keep-alive") {
			h["Connection"] = keepAlive // old Arduino clients keep a connection only if told so
		}
		next.ServeHTTP(w, r)
	})
}

// recoverPanics answers 500 where a handler panics; the process lives on.
func (s *server) recoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if cause == http.ErrAbortHandler {
				panic(cause)
			}
			s.log.Error("panic", "request", requestIDOf(w), "route", routeOf(r.Pattern),
				"cause", cause, "stack", string(debug.Stack()))
			status, text := statusOf(nil)
			s.writeError(w, status, text)
		}()
		next.ServeHTTP(w, r)
	})
}
