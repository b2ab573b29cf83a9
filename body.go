package main

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"

	"github.com/dustin/go-humanize"
)

// formOverhead is what a form may hold besides its image.
const formOverhead = 1 << 20

var (
	errNoLength   = refuse(http.StatusLengthRequired, "neither Content-Length nor chunked encoding: allowed is a body with one of them")
	errEmptyImage = refuse(http.StatusBadRequest, "empty image: allowed is at least one byte")
)

// readImage reads a request body that is an image. It returns the whole body, in
// a buffer of its own, or an error: never a part of it.
func readImage(w http.ResponseWriter, r *http.Request, most int64, up *upload) ([]byte, error) {
	switch {
	case r.ContentLength > most:
		return nil, tooLarge(most)
	case r.ContentLength > 0:
		return readSized(up.paced(w, r), int(r.ContentLength), most, up)
	case r.ContentLength == 0 && r.Header.Get("Content-Length") == "":
		return nil, errNoLength
	}
	return readUnsized(up.paced(w, r), most, up)
}

// readSized reads an image of known size.
func readSized(source io.Reader, size int, most int64, up *upload) ([]byte, error) {
	image, err := up.room(size)
	if err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(source, image); err != nil {
		return nil, unread(err, most)
	}
	return image, nil
}

// readForm reads a multipart form with one file and returns that file.
func readForm(w http.ResponseWriter, r *http.Request, most int64, up *upload) ([]byte, error) {
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
	if err := up.hold(2 * min(max(r.ContentLength, 1), most)); err != nil { // see blocks
		return nil, err
	}
	body := http.MaxBytesReader(w, io.NopCloser(up.paced(w, r)), most+formOverhead)
	image, err := readOnlyFile(multipart.NewReader(body, params["boundary"]), most, up)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, body); err != nil { // what follows the form must be whole too
		return nil, unread(err, most)
	}
	return image, nil
}

// readOnlyFile reads a form to its end and returns its only file.
func readOnlyFile(form *multipart.Reader, most int64, up *upload) (image []byte, err error) {
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
			if image, err = readUnsized(part, most, up); err != nil {
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

// readUnsized reads an image to the end of its source, into a buffer of its size.
func readUnsized(source io.Reader, most int64, up *upload) ([]byte, error) {
	var kept blocks
	defer kept.free()
	for {
		if err := up.hold(kept.reach(1)); err != nil {
			return nil, err
		}
		n, err := source.Read(kept.space())
		kept.size += n
		switch {
		case int64(kept.size) > most:
			return nil, tooLarge(most)
		case err == io.EOF && kept.size == 0:
			return nil, errEmptyImage
		case err == io.EOF:
			return kept.image(up)
		case err != nil:
			return nil, unread(err, most)
		}
	}
}

func tooLarge(most int64) error {
	return refuse(http.StatusRequestEntityTooLarge, "image too large: allowed are %d bytes (%s)", most, humanize.IBytes(uint64(most)))
}

// unread explains why a body could not be read.
func unread(err error, most int64) error {
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		return tooLarge(most)
	}
	if slow, ok := errors.AsType[*tooSlow](err); ok {
		return refuse(http.StatusRequestTimeout, "%s: nothing was stored", slow.what)
	}
	return refuse(http.StatusBadRequest, "body cut short or malformed, nothing was stored: allowed is a complete body (%v)", err)
}
