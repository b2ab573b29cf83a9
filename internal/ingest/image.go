package ingest

import (
	"io"
	"net/http"
)

// HasBody reports whether a request says how its body ends: by a Content-Length, which may be 0, or by chunked
// encoding.
func HasBody(r *http.Request) bool {
	return r.ContentLength != 0 || r.Header.Get("Content-Length") != ""
}

// ReadImage reads a request body that is an image of at most maxBytes. It returns the whole body, in a buffer of its
// own, or an error: never a part of the body.
func ReadImage(w http.ResponseWriter, r *http.Request, maxBytes int64, u *Upload) ([]byte, error) {
	switch {
	case r.ContentLength > maxBytes:
		return nil, tooLarge(maxBytes)
	case r.ContentLength > 0:
		return readSized(u.Body(w, r, nil), int(r.ContentLength), maxBytes, u)
	case !HasBody(r):
		return nil, NoLength(r)
	}
	return readUnsized(u.Body(w, r, nil), maxBytes, u)
}

// readSized reads an image of known size.
func readSized(source io.Reader, size int, maxBytes int64, u *Upload) ([]byte, error) {
	image, err := u.readFull(source, size)
	if err != nil {
		return nil, readError(err, maxBytes)
	}
	return image, nil
}

// readUnsized reads an image to the end of its source, into a buffer of its size.
func readUnsized(source io.Reader, maxBytes int64, u *Upload) ([]byte, error) {
	var chunks chunkBuffer
	defer chunks.reset()
	for {
		if err := u.Reserve(chunks.footprint(1)); err != nil {
			return nil, err
		}
		n, err := source.Read(chunks.free())
		chunks.size += n
		switch {
		case int64(chunks.size) > maxBytes:
			return nil, tooLarge(maxBytes)
		case err == io.EOF && chunks.size == 0:
			return nil, ErrEmptyImage
		case err == io.EOF:
			return chunks.image(u)
		case err != nil:
			return nil, readError(err, maxBytes)
		}
	}
}
