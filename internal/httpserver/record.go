package httpserver

import (
	"crypto/rand"
	"log/slog"
	"net/http"
	"time"
)

// record counts each request, and logs it at debug level with its route, never with its path.
func (s *Stack) record(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		if r.ProtoMajor == 2 {
			w = newProgressWriter(w, s.answerIdle)
		}
		rec := &answerRecorder{ResponseWriter: w, metrics: s.metrics, bodyless: r.Method == http.MethodHead}
		defer func() {
			took := time.Since(start)
			s.metrics.observe(requestKind{r.Pattern, methodOf(r), rec.status}, took)
			if s.log.Enabled(r.Context(), slog.LevelDebug) {
				s.log.Debug("request", "request", rec.requestID(), "method", methodOf(r), "route", routeOf(r.Pattern),
					"status", rec.status, "bytes", rec.bytes, "duration", took)
			}
		}()
		next.ServeHTTP(rec, r)
		if rec.status == 0 {
			rec.status = http.StatusOK // net/http writes it when the handler has returned
		}
	})
}

// answerRecorder notes the status and the size of an answer.
type answerRecorder struct {
	http.ResponseWriter
	metrics  *metrics
	bodyless bool
	status   int   // 0: none was written
	bytes    int64 // of the body
	id       string
}

func (w *answerRecorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *answerRecorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	if !w.bodyless {
		w.bytes += int64(n)
		w.metrics.sent.Add(float64(n))
	}
	return n, err
}

func (w *answerRecorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// requestID returns the id of the request. The id is made on first use, because most requests need none.
func (w *answerRecorder) requestID() string {
	if w.id == "" {
		w.id = rand.Text()[:8]
	}
	return w.id
}

// requestID returns the id of the request that a writer answers. The id stands in the client's error and in the log, so
// that one can be found by the other. It is empty outside of Stack.Wrap.
func requestID(w http.ResponseWriter) string {
	for {
		switch inner := w.(type) {
		case *answerRecorder:
			return inner.requestID()
		case interface{ Unwrap() http.ResponseWriter }:
			w = inner.Unwrap()
		default:
			return ""
		}
	}
}
