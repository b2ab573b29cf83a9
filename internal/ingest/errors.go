package ingest

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/dustin/go-humanize"

	"github.com/image-streamer/image-streamer/internal/httpserver"
)

var (
	// ErrEmptyImage refuses a body without a byte.
	ErrEmptyImage = httpserver.Errorf(http.StatusBadRequest, "empty image: allowed is at least one byte")

	errNoImages = httpserver.Errorf(http.StatusUnsupportedMediaType, "no image found: "+
		"allowed are a multipart body with an image in each part, and JPEGs one after the other")

	errNotForm = httpserver.Errorf(http.StatusUnsupportedMediaType, "not a form: "+
		"allowed is Content-Type multipart/form-data; a bare image goes to /image/{session}")
	errNoBoundary = httpserver.Errorf(http.StatusBadRequest,
		"malformed form: allowed is a Content-Type with a boundary")
	errNoFile     = httpserver.Errorf(http.StatusBadRequest, "no file in the form: allowed is exactly one")
	errSecondFile = httpserver.Errorf(http.StatusBadRequest, "a second file in the form: allowed is exactly one")
)

// Skipped says that a part of a body was passed over, and why. More images may follow it.
type Skipped struct{ reason string }

func (e *Skipped) Error() string { return e.reason }

// Skippedf returns a *Skipped.
func Skippedf(format string, args ...any) error { return &Skipped{fmt.Sprintf(format, args...)} }

// rateError says which limit of its DataRate a body has missed.
type rateError struct{ text string }

func (e *rateError) Error() string { return e.text }

// NoLength refuses a request that does not say how its body ends: see HasBody.
func NoLength(r *http.Request) error {
	if !r.ProtoAtLeast(1, 1) {
		return httpserver.Errorf(http.StatusLengthRequired,
			"no Content-Length, and %s has no chunked encoding: allowed is a body with Content-Length", r.Proto)
	}
	return httpserver.Errorf(http.StatusLengthRequired,
		"neither Content-Length nor chunked encoding: allowed is a body with one of them")
}

// tooLarge refuses an image of more than maxBytes.
func tooLarge(maxBytes int64) error {
	return httpserver.Errorf(http.StatusRequestEntityTooLarge, "image too large: allowed are %d bytes (%s)",
		maxBytes, humanize.IBytes(uint64(maxBytes)))
}

// overBudget refuses an upload that waited too long for bytes of a budget with this limit.
func overBudget(limit int64) error {
	return httpserver.Errorf(http.StatusServiceUnavailable,
		"too much is being uploaded at once: allowed are %d bytes (%s), of all senders together; try again",
		limit, humanize.IBytes(uint64(limit)))
}

// readError explains to the client why the body of a single image could not be read.
func readError(err error, maxBytes int64) error {
	if refused, ok := errors.AsType[*httpserver.Error](err); ok {
		return refused
	}
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		return tooLarge(maxBytes)
	}
	if slow, ok := errors.AsType[*rateError](err); ok {
		return httpserver.Errorf(http.StatusRequestTimeout, "%s: nothing was stored", slow.text)
	}
	return httpserver.Errorf(http.StatusBadRequest,
		"body cut short or malformed, nothing was stored: allowed is a complete body (%v)", err)
}

// StreamError explains to the client why a body of many images was not read to its end. Its text ends with a summary of
// what became of the images before that; an error that refuses the body as a whole stays as it is.
func StreamError(err error, summary string) error {
	if refused, ok := errors.AsType[*httpserver.Error](err); ok {
		if refused.Status == http.StatusServiceUnavailable {
			return httpserver.Errorf(refused.Status, "%s: %s", refused.Text, summary)
		}
		return err
	}
	if slow, ok := errors.AsType[*rateError](err); ok {
		return httpserver.Errorf(http.StatusRequestTimeout, "%s: %s", slow.text, summary)
	}
	return httpserver.Errorf(http.StatusBadRequest, "body cut short, allowed is a complete one: %s", summary)
}
