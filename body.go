package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
)

const (
	// idleLimit is how long an upload may stand still.
	idleLimit = 30 * time.Second

	// lastImage is what a sender of many has for the image under way when the
	// server stops.
	lastImage = 3 * time.Second

	// formOverhead is what a form may hold besides its image.
	formOverhead = 1 << 20
)

var (
	errNoLength   = refuse(http.StatusLengthRequired, "neither Content-Length nor chunked encoding: allowed is a body with one of them")
	errEmptyImage = refuse(http.StatusBadRequest, "empty image: allowed is at least one byte")
)

// newBuffer makes room for an image.
type newBuffer func(size int) []byte

// readImage reads a request body that is an image. It returns the whole body, in
// a buffer of its own, or an error: never a part of it.
func readImage(w http.ResponseWriter, r *http.Request, most int64, room newBuffer) ([]byte, error) {
	switch {
	case r.ContentLength > most:
		return nil, tooLarge(most)
	case r.ContentLength > 0:
		image := room(int(r.ContentLength))
		if _, err := io.ReadFull(paced(w, r), image); err != nil {
			return nil, unread(err, most)
		}
		return image, nil
	case r.ContentLength == 0 && r.Header.Get("Content-Length") == "":
		return nil, errNoLength
	}
	return readUnsized(paced(w, r), most, room)
}

// readForm reads a multipart form with one file and returns that file.
func readForm(w http.ResponseWriter, r *http.Request, most int64, room newBuffer) ([]byte, error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case r.ContentLength > most+formOverhead:
		return nil, tooLarge(most)
	case kind != "multipart/form-data":
		return nil, refuse(http.StatusUnsupportedMediaType, "not a form: allowed is Content-Type multipart/form-data; a bare image goes to /image/{session}")
	case err != nil || params["boundary"] == "":
		return nil, refuse(http.StatusBadRequest, "malformed form: allowed is a Content-Type with a boundary")
	case r.ContentLength == 0 && r.Header.Get("Content-Length") == "":
		return nil, errNoLength
	}
	body := http.MaxBytesReader(w, io.NopCloser(paced(w, r)), most+formOverhead)
	image, err := readOnlyFile(multipart.NewReader(body, params["boundary"]), most, room)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, body); err != nil { // what follows the form must be whole too
		return nil, unread(err, most)
	}
	return image, nil
}

// readOnlyFile reads a form to its end and returns its only file.
func readOnlyFile(form *multipart.Reader, most int64, room newBuffer) (image []byte, err error) {
	for {
		part, err := form.NextPart()
		switch {
		case err == io.EOF && image == nil:
			return nil, refuse(http.StatusBadRequest, "no file in the form: allowed is exactly one")
		case err == io.EOF:
			return image, nil
		case err != nil:
			return nil, unread(err, most)
		case !isFile(part): // NextPart passes over it
		case image != nil:
			return nil, refuse(http.StatusBadRequest, "a second file in the form: allowed is exactly one")
		default:
			if image, err = readUnsized(part, most, room); err != nil {
				return nil, err
			}
		}
	}
}

// isFile tells a file from a text field: it has a file name or, for the devices
// that send none, the type of an image. The empty name is that of a file input
// in which nothing was chosen.
func isFile(part *multipart.Part) bool {
	_, disposition, _ := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	if name, named := disposition["filename"]; named {
		return name != ""
	}
	kind := part.Header.Get("Content-Type")
	return strings.HasPrefix(kind, "image/") || strings.HasPrefix(kind, "application/octet-stream")
}

// scratch holds buffers for bodies of unknown size.
var scratch = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// readUnsized reads an image to the end of its source, into a buffer of its size.
func readUnsized(source io.Reader, most int64, room newBuffer) ([]byte, error) {
	buffer := scratch.Get().(*bytes.Buffer)
	defer scratch.Put(buffer)
	buffer.Reset()
	n, err := buffer.ReadFrom(io.LimitReader(source, most+1))
	switch {
	case n > most:
		return nil, tooLarge(most)
	case err != nil:
		return nil, unread(err, most)
	case n == 0:
		return nil, errEmptyImage
	}
	image := room(int(n))
	copy(image, buffer.Bytes())
	return image, nil
}

// paced returns the request's body with a deadline on every read.
func paced(w http.ResponseWriter, r *http.Request) io.Reader {
	return &pacedBody{r.Body, http.NewResponseController(w), idleLimit, context.Background()}
}

type pacedBody struct {
	io.Reader
	rc       *http.ResponseController
	idle     time.Duration   // for one read
	stopping context.Context // the body must come to its end soon after this one's
}

func (b *pacedBody) Read(p []byte) (int, error) {
	b.rc.SetReadDeadline(time.Now().Add(b.idle)) // where there is no connection, no deadline is needed
	if b.stopping.Err() != nil {                 // looked at last: hurry may have run just before
		b.hurry()
	}
	return b.Reader.Read(p)
}

// hurry leaves a read a short time.
func (b *pacedBody) hurry() { b.rc.SetReadDeadline(time.Now().Add(lastImage)) }

func tooLarge(most int64) error {
	return refuse(http.StatusRequestEntityTooLarge, "image too large: allowed are %d bytes (%s)", most, humanize.IBytes(uint64(most)))
}

// unread explains why a body could not be read.
func unread(err error, most int64) error {
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return tooLarge(most)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(http.StatusRequestTimeout, "the body stood still for %s: nothing was stored", idleLimit)
	}
	return refuse(http.StatusBadRequest, "body cut short or malformed, nothing was stored: allowed is a complete body (%v)", err)
}
