package httpserver

import (
	"net/http"
	"path"
	"runtime/debug"
	"strings"
	"time"
)

// The values of the headers on every answer, shared between answers.
var (
	noStore   = []string{"no-store"}
	noSniff   = []string{"nosniff"}
	noScript  = []string{"default-src 'none'; sandbox"}
	keepAlive = []string{"keep-alive"}
	exposed   = []string{"X-Sequence, X-Timestamp, X-Queue-Length, X-No-Data, Retry-After"}

	crossOrigin = []string{"cross-origin"}
)

// CommonHeaders sets the headers that every answer has. Caches do not store the answer, browsers do not guess its
// type, it may do nothing if it is opened as a page, and the pages that CORS allows can read it.
func CommonHeaders(cors CORS, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["Cache-Control"] = noStore
		h["X-Content-Type-Options"] = noSniff
		h["Content-Security-Policy"] = noScript
		cors.allow(h, r)
		h["Access-Control-Expose-Headers"] = exposed
		if r.ProtoMajor == 1 && strings.EqualFold(r.Header.Get("Connection"), "keep-alive") {
			h["Connection"] = keepAlive // old Arduino clients keep a connection only if the answer says so
		}
		next.ServeHTTP(w, r)
	})
}

// Embeddable marks the answers of an endpoint as ones that pages of every origin may embed. Isolated pages, those with
// Cross-Origin-Embedder-Policy: require-corp, show no image without this mark.
func Embeddable(h HandlerFunc) HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header()["Cross-Origin-Resource-Policy"] = crossOrigin
		return h(w, r)
	}
}

// recoverPanics answers with an internal error if a handler panics. The process lives on.
func (s *Stack) recoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if cause == http.ErrAbortHandler {
				panic(cause)
			}
			s.log.Error("panic", "request", requestID(w), "route", routeOf(r.Pattern),
				"cause", cause, "stack", string(debug.Stack()))
			if rec, ok := w.(*answerRecorder); ok && rec.status != 0 {
				panic(http.ErrAbortHandler) // an error within an answer that has begun would be taken for a part of it
			}
			status, text := s.statusOf(nil)
			s.writeError(w, status, text)
		}()
		next.ServeHTTP(w, r)
	})
}

// refuseUncleanPaths answers paths such as //image/x with NotFound. The mux would redirect, with an HTML page and a
// second request that may lose its body.
func (s *Stack) refuseUncleanPaths(next http.Handler) http.Handler {
	notFound := s.Handle(s.notFound)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		escaped := r.URL.EscapedPath()
		if clean := path.Clean(escaped); clean != escaped && clean+"/" != escaped {
			notFound.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// restLimit is how long the unread rest of a body can delay an answer.
const restLimit = time.Second

// limitUnreadBody keeps a body that its endpoint does not read from holding up the answer. net/http reads the rest of
// such a body, up to 256 KiB, before it sends the answer, and sets no limit to how long that takes. The read deadline
// does: idle while the endpoint runs, unless the endpoint sets another one, and restLimit from then on.
//
// A GET or HEAD has no use for a body, so its answer does not wait at all: net/http leaves the rest unread if the
// connection will close.
func limitUnreadBody(idle time.Duration, h HandlerFunc) HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.ContentLength == 0 {
			return h(w, r)
		}
		rc := http.NewResponseController(w)
		rc.SetReadDeadline(time.Now().Add(idle))
		defer func() { rc.SetReadDeadline(time.Now().Add(restLimit)) }() // also before the answer to a panic
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			w.Header().Set("Connection", "close")
		}
		return h(w, r)
	}
}
