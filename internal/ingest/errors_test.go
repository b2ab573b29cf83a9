package ingest

import (
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"testing"
)

// Each way in which reading may end has its status and its text, for a single image and for a stream.
func TestReadErrors(t *testing.T) {
	t.Parallel()
	slow := fmt.Errorf("read: %w", &rateError{"the body stood still for 30s"})
	old, recent := httptest.NewRequest("POST", "/", nil), httptest.NewRequest("POST", "/", nil)
	old.Proto, old.ProtoMinor = "HTTP/1.0", 0
	for _, row := range []struct {
		name   string
		got    error
		status int
		text   string
	}{
		{
			"image, cut", readError(io.ErrUnexpectedEOF, 5), 400,
			"body cut short or malformed, nothing was stored: allowed is a complete body (unexpected EOF)",
		},
		{
			"no length", NoLength(recent), 411,
			"neither Content-Length nor chunked encoding: allowed is a body with one of them",
		},
		{
			"no length, HTTP/1.0", NoLength(old), 411,
			"no Content-Length, and HTTP/1.0 has no chunked encoding: allowed is a body with Content-Length",
		},
		{"image, slow", readError(slow, 5), 408, "the body stood still for 30s: nothing was stored"},
		{
			"image, too large", readError(fmt.Errorf("read: %w", tooLarge(2048)), 5), 413,
			"image too large: allowed are 2048 bytes (2.0 KiB)",
		},
		{
			"stream, cut", StreamError(io.ErrUnexpectedEOF, "2 stored"), 400,
			"body cut short or malformed, allowed is a complete one (unexpected EOF): 2 stored",
		},
		{"stream, slow", StreamError(slow, "2 stored"), 408, "the body stood still for 30s: 2 stored"},
		{
			"stream, over budget", StreamError(fmt.Errorf("read: %w", overBudget(2048)), "2 stored"), 503,
			"too much is being uploaded at once: allowed are 2048 bytes (2.0 KiB), of all senders together; " +
				"try again: 2 stored",
		},
		{
			"stream, nothing in it", StreamError(errNoImages, "0 stored"), 415,
			"no image found: allowed are a multipart body with an image in each part, and JPEGs one after the other",
		},
		{
			"stream, malformed", StreamError(errors.New("malformed chunked encoding"), "2 stored"), 400,
			"body cut short or malformed, allowed is a complete one (malformed chunked encoding): 2 stored",
		},
	} {
		if status := statusOf(row.got); status != row.status || row.got.Error() != row.text {
			t.Errorf("%s: got status %d, %v, want %d, %s", row.name, status, row.got, row.status, row.text)
		}
	}
}
