package httpserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// WriteBody writes and flushes a whole answer. An error is ErrAborted and means that the answer did not go out.
func WriteBody(w http.ResponseWriter, status int, contentType string, body []byte) error {
	return WriteBodyUntil(w, status, contentType, body, time.Time{})
}

// WriteBodyUntil is WriteBody for an answer that is cut at a time, if the client has not accepted it by then. The zero
// time is never.
func WriteBodyUntil(w http.ResponseWriter, status int, contentType string, body []byte, end time.Time) error {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	rc := http.NewResponseController(w)
	if err := rc.SetWriteDeadline(end); err != nil {
		return Aborted(err)
	}
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil {
		return Aborted(err)
	}
	return Aborted(rc.Flush())
}

// WriteJSON answers 200 with a value as JSON.
func WriteJSON(w http.ResponseWriter, v any) error {
	var body bytes.Buffer
	if err := json.NewEncoder(&body).Encode(v); err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	return WriteBody(w, http.StatusOK, "application/json", body.Bytes())
}

// WriteText answers 200 with plain text.
func WriteText(w http.ResponseWriter, text string) error {
	return WriteBody(w, http.StatusOK, "text/plain; charset=utf-8", []byte(text))
}

// WriteEmpty answers without a body.
func WriteEmpty(w http.ResponseWriter, status int) error {
	if status != http.StatusNoContent {
		w.Header().Set("Content-Length", "0")
	}
	w.WriteHeader(status)
	return nil
}

// AcceptsJSON reports whether an Accept header names application/json.
func AcceptsJSON(r *http.Request) bool {
	for mediaType := range Accepted(r) {
		if mediaType == "application/json" {
			return true
		}
	}
	return false
}

// Accepted yields the media types that the Accept headers of a request name with a q other than 0, in lower case.
func Accepted(r *http.Request) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, line := range r.Header["Accept"] {
			for item := range strings.SplitSeq(line, ",") {
				mediaType, params, err := mime.ParseMediaType(item)
				if err != nil || isZero(params["q"]) {
					continue
				}
				if !yield(mediaType) {
					return
				}
			}
		}
	}
}

func isZero(number string) bool {
	n, err := strconv.ParseFloat(number, 64)
	return err == nil && n <= 0
}
