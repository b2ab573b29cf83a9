// Package httpserver is HTTP without images: what any small API server needs around its endpoints.
//
// An endpoint is a HandlerFunc: it writes its answer last, or returns an error. Stack.Handle turns that error into a
// status and a JSON body, in one place for all endpoints. Stack.Wrap puts around the whole mux what holds for every
// answer: common headers, CORS, one metric and one log line a request, a 500 instead of a panic, and no redirects.
// Serve answers on a listener, over TLS if wanted, until its context ends, and then lets requests in flight finish.
//
// Headers, bodies that no endpoint reads, and answers have deadlines, so that a client that does not move cannot hold a
// connection for ever. No metric label and no line of the request log holds anything that a client made up.
package httpserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// HandlerFunc is an endpoint. It either writes its whole answer and returns nil, or writes nothing and returns an
// error for Stack.Handle to report. An answer that was begun and cannot be finished ends with ErrAborted.
type HandlerFunc func(w http.ResponseWriter, r *http.Request) error

// Error is an error whose text is for the client. It says what is wrong and what is allowed.
type Error struct {
	Status int
	Text   string
}

func (e *Error) Error() string { return e.Text }

// Errorf returns an *Error with a formatted text.
func Errorf(status int, format string, args ...any) error {
	return &Error{status, fmt.Sprintf(format, args...)}
}

// ErrAborted marks an answer that could not be written whole. Stack.Handle drops its connection, so that the client
// sees that the answer is not whole.
var ErrAborted = errors.New("answer cut short")

// Aborted marks an error with ErrAborted, once. It returns nil for nil.
func Aborted(err error) error {
	if err == nil || errors.Is(err, ErrAborted) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrAborted, err)
}

// Handle adapts an endpoint to net/http. It is the one place where an error becomes an answer.
func (s *Stack) Handle(h HandlerFunc) http.Handler {
	h = limitUnreadBody(s.bodyIdle, h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The previous answer of the connection had a deadline. net/http removes it, but does not promise to.
		http.NewResponseController(w).SetWriteDeadline(time.Time{})
		if err := h(w, r); err != nil {
			s.reportError(w, r, err)
		}
	})
}

// reportError answers with an error. What the server or one of its limits is to blame for goes to the log too.
func (s *Stack) reportError(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, ErrAborted) {
		s.log.Debug("client hung up", "request", requestID(w), "route", routeOf(r.Pattern), "error", err)
		panic(http.ErrAbortHandler)
	}
	status, text := s.answerTo(err)
	switch status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "1")
	case http.StatusLengthRequired:
		w.Header().Set("Connection", "close") // nobody knows where the next request begins
	}
	if status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout {
		s.log.Warn("request failed", "request", requestID(w), "route", routeOf(r.Pattern), "status", status, "error", err)
	}
	s.writeError(w, status, text)
}

// answerTo returns the status of an error and the sentence for the client.
func (s *Stack) answerTo(err error) (status int, text string) {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Status, e.Text
	}
	return s.statusOf(err)
}

// writeError answers with what is wrong, and with the id under which the log may hold more.
func (s *Stack) writeError(w http.ResponseWriter, status int, text string) {
	s.metrics.rejected.WithLabelValues(strconv.Itoa(status)).Inc()
	id := requestID(w)
	w.Header().Set("X-Request-Id", id)
	body, _ := json.Marshal(struct {
		Error   string `json:"error"`
		Request string `json:"request"`
	}{text, id})
	_ = WriteBody(w, status, "application/json", append(body, '\n')) // if that fails, the client is gone
}

// OtherMethods is the endpoint for the methods that a path does not have, and for OPTIONS, CORS preflights included.
func OtherMethods(allowed []string) HandlerFunc {
	list := strings.Join(allowed, ", ")
	return func(w http.ResponseWriter, r *http.Request) error {
		h := w.Header()
		h.Set("Allow", list)
		if r.Method != http.MethodOptions {
			return Errorf(http.StatusMethodNotAllowed, "method %s is not for this path: allowed are %s", r.Method, list)
		}
		h.Set("Access-Control-Allow-Methods", list)
		allowHeaders(h, r)
		h.Set("Access-Control-Max-Age", "86400")
		return WriteEmpty(w, http.StatusNoContent)
	}
}
