package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// handlerFunc is an endpoint: it writes its answer last, or returns why not.
type handlerFunc func(w http.ResponseWriter, r *http.Request) error

// refusal is an error whose text is for the client: what is wrong and what is allowed.
type refusal struct {
	status int
	text   string
}

func (e *refusal) Error() string { return e.text }

func refuse(status int, format string, args ...any) error {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// errCutShort marks an answer that could not be written whole: there is nobody
// left to tell.
var errCutShort = errors.New("answer cut short")

var errHungUp = errors.New("the client hung up")

func cutShort(err error) error {
	if err != nil {
		return fmt.Errorf("%w: %w", errCutShort, err)
	}
	return nil
}

// handler adapts a handlerFunc: it is the one place where an error becomes a status.
func (s *server) handler(h handlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		rc.SetWriteDeadline(time.Time{}) // that of the answer before
		if r.ContentLength != 0 {        // net/http would wait without end for a body that nobody reads
			rc.SetReadDeadline(time.Now().Add(s.pace.idle))
			if r.Method == http.MethodGet || r.Method == http.MethodHead {
				w.Header().Set("Connection", "close") // and would do so before it answers
			}
		}
		err := h(w, r)
		if r.ContentLength != 0 { // what is left of the body holds up the answer no longer
			rc.SetReadDeadline(time.Now().Add(restLimit))
		}
		if err == nil {
			return
		}
		if errors.Is(err, errCutShort) {
			s.log.Debug("consumer hung up", "request", requestIDOf(w), "route", routeOf(r.Pattern), "error", err)
			panic(http.ErrAbortHandler)
		}
		status, text := statusOf(err)
		if status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout {
			s.log.Warn("request failed", "request", requestIDOf(w), "route", routeOf(r.Pattern), "status", status, "error", err)
		}
		if status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "1")
		}
		s.writeError(w, status, text)
	})
}

// statusOf maps an error to a status and to what the client is told. The cause of
// a 5xx is for the log alone.
func statusOf(err error) (int, string) {
	if refused, ok := errors.AsType[*refusal](err); ok {
		return refused.status, refused.text
	}
	switch {
	case errors.Is(err, errFull):
		return http.StatusInsufficientStorage, "the queues are full: nothing was stored; images are accepted again when others are taken or expire"
	case errors.Is(err, errManySessions):
		return http.StatusTooManyRequests, "too many sessions: nothing was stored; sessions that hold images go on, a new one is accepted when others are over"
	case errors.Is(err, errStopping):
		return http.StatusServiceUnavailable, "the server stops: try again, maybe another one"
	case errors.Is(err, errUnavailable):
		return http.StatusServiceUnavailable, "the queue does not answer: try again"
	}
	return http.StatusInternalServerError, "internal error: the cause is in the server's log"
}

// writeError answers with what is wrong, and with the id under which the log may
// tell more.
func (s *server) writeError(w http.ResponseWriter, status int, text string) {
	s.metrics.rejected.WithLabelValues(strconv.Itoa(status)).Inc()
	id := requestIDOf(w)
	w.Header().Set("X-Request-Id", id)
	body, _ := json.Marshal(struct {
		Error   string `json:"error"`
		Request string `json:"request"`
	}{text, id})
	writeBody(w, status, "application/json", append(body, '\n')) // if it fails there is nobody to tell
}

func writeJSON(w http.ResponseWriter, v any) error {
	var body bytes.Buffer
	if err := json.NewEncoder(&body).Encode(v); err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	return writeBody(w, http.StatusOK, "application/json", body.Bytes())
}

func writeText(w http.ResponseWriter, text string) error {
	return writeBody(w, http.StatusOK, "text/plain; charset=utf-8", []byte(text))
}

// restLimit is what a client has to send the rest of a body that is refused.
const restLimit = time.Second

// A client has writeLimit, and time for its bytes at slowest a second, to accept
// an answer.
const (
	writeLimit = 10 * time.Second
	slowest    = 16 << 10
)

// limitWrite gives an answer of a size its time. The limit stays until the next
// request of the connection.
func limitWrite(rc *http.ResponseController, size int) error {
	return rc.SetWriteDeadline(time.Now().Add(writeLimit + time.Duration(size)*time.Second/slowest))
}

// writeBody writes and flushes a whole body, so that an error means that it did
// not go out.
func writeBody(w http.ResponseWriter, status int, kind string, body []byte) error {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	rc := http.NewResponseController(w)
	if err := limitWrite(rc, len(body)); err != nil {
		return cutShort(err)
	}
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil {
		return cutShort(err)
	}
	return cutShort(rc.Flush())
}

// writeNothing answers with a status alone.
func writeNothing(w http.ResponseWriter, status int) error {
	if status != http.StatusNoContent {
		w.Header().Set("Content-Length", "0")
	}
	err := limitWrite(http.NewResponseController(w), 0)
	w.WriteHeader(status)
	return cutShort(err)
}

// acceptsJSON tells whether the Accept header names application/json, at any
// place, and does not rule it out with q=0.
func acceptsJSON(r *http.Request) bool {
	for _, line := range r.Header["Accept"] {
		for item := range strings.SplitSeq(line, ",") {
			kind, params, err := mime.ParseMediaType(item)
			if err != nil || kind != "application/json" {
				continue
			}
			q, err := strconv.ParseFloat(params["q"], 64)
			if err != nil || q > 0 {
				return true
			}
		}
	}
	return false
}
