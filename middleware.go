package main

import (
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
)

// The values of the headers on every answer, shared between answers.
var (
	anyOrigin = []string{"*"}
	noStore   = []string{"no-store"}
	noSniff   = []string{"nosniff"}
	keepAlive = []string{"keep-alive"}
	exposed   = []string{"X-Sequence, X-Timestamp, X-Queue-Length, X-No-Data, Retry-After"}
)

// commonHeaders sets what every answer has: never cached, never guessed at, and
// readable by a page from anywhere.
func commonHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["Cache-Control"] = noStore
		h["X-Content-Type-Options"] = noSniff
		h["Access-Control-Allow-Origin"] = anyOrigin
		h["Access-Control-Expose-Headers"] = exposed
		if r.ProtoMajor == 1 && strings.EqualFold(r.Header.Get("Connection"), "keep-alive") {
			h["Connection"] = keepAlive // old Arduino clients keep a connection only if told so
		}
		next.ServeHTTP(w, r)
	})
}

// logRequests logs each request at debug level: the route, never the session.
func (s *server) logRequests(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.log.Enabled(r.Context(), slog.LevelDebug) {
			next.ServeHTTP(w, r)
			return
		}
		start := time.Now()
		recorder := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		defer func() {
			s.log.Debug("request", "method", r.Method, "route", r.Pattern,
				"status", recorder.status, "duration", time.Since(start))
		}()
		next.ServeHTTP(recorder, r)
	})
}

// statusRecorder notes the status for the log.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (w *statusRecorder) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusRecorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

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
			s.log.Error("panic", "route", r.Pattern, "cause", cause, "stack", string(debug.Stack()))
			status, text := statusOf(nil)
			writeError(w, status, text)
		}()
		next.ServeHTTP(w, r)
	})
}
