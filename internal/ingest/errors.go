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

	errMultipart = httpserver.Errorf(http.StatusUnsupportedMediaType, "a multipart body is not an image: "+
		"allowed is the bare image; /imageForm/{session} takes a form with one, /stream/{session} many parts")
	errNotWhole = httpserver.Errorf(http.StatusBadRequest, "Content-Range of a part of an image: "+
		"allowed is the whole image in one request, such as bytes 0-99/100, or no Content-Range")

	errNotForm = httpserver.Errorf(http.StatusUnsupportedMediaType, "not a form: "+
		"allowed is Content-Type multipart/form-data; a bare image goes to /image/{session}")
	errNoBoundary = httpserver.Errorf(http.StatusBadRequest, "malformed form: "+
		"allowed is a Content-Type with a boundary, or a body that begins with a line of two dashes and the boundary")
	errNotClosed = httpserver.Errorf(http.StatusBadRequest,
		"malformed form: allowed is one that ends with its boundary between two dashes on each side")
	errNoFile = httpserver.Errorf(http.StatusBadRequest, "no file in the form: "+
		"allowed is exactly one part with an image, which a file name, a type or its first bytes tell")
	errSecondFile = httpserver.Errorf(http.StatusBadRequest, "a second file in the form, nothing was stored: "+
		"allowed is exactly one; /stream/{session} takes many")
)

// Skipped says that a part of a body was passed over, and why. More images may follow it.
type Skipped struct {
	reason  string
	refusal error // of a request that has no other image, if the reason is not that its body is malformed
}

func (e *Skipped) Error() string { return e.reason }

// Skippedf returns a *Skipped.
func Skippedf(format string, args ...any) error {
	return &Skipped{reason: fmt.Sprintf(format, args...)}
}

// skippedBy turns an error that refuses one image for good into a *Skipped.
func skippedBy(err error) error {
	refused, ok := errors.AsType[*httpserver.Error](err)
	if ok && refused.Status != http.StatusServiceUnavailable {
		return &Skipped{refused.Text, refused}
	}
	return err
}

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

// overQuota refuses a body of which more than the image and formOverhead came.
func overQuota(maxBytes int64) error {
	return httpserver.Errorf(http.StatusRequestEntityTooLarge, "body too large: allowed are an image of %d bytes (%s), "+
		"and %s besides", maxBytes, humanize.IBytes(uint64(maxBytes)), humanize.IBytes(formOverhead))
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
		if refused.Status == http.StatusServiceUnavailable || refused.Status == http.StatusRequestEntityTooLarge {
			return httpserver.Errorf(refused.Status, "%s: %s", refused.Text, summary)
		}
		return err
	}
	if slow, ok := errors.AsType[*rateError](err); ok {
		return httpserver.Errorf(http.StatusRequestTimeout, "%s: %s", slow.text, summary)
	}
	return httpserver.Errorf(http.StatusBadRequest,
		"body cut short or malformed, allowed is a complete one (%v): %s", err, summary)
}
