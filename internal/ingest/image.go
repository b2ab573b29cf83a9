package ingest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

// HasBody reports whether a request says how its body ends: by a Content-Length, which may be 0, or by chunked
// encoding.
func HasBody(r *http.Request) bool {
	return r.ContentLength != 0 || r.Header.Get("Content-Length") != ""
}

// ReadImage reads a request body that is an image of at most maxBytes. It returns the whole body, in a buffer of its
// own and without its encodings, or an error: never a part of the body.
func ReadImage(w http.ResponseWriter, r *http.Request, maxBytes int64, u *Upload) ([]byte, error) {
	transferEncoding := strings.ToLower(r.Header.Get("Content-Transfer-Encoding"))
	body, encoded, err := openBody(u.Body(w, r, nil), r.Header)
	switch {
	case err != nil:
		return nil, err
	case isMultipart(mediaType(r.Header.Get("Content-Type"))):
		return nil, errMultipart
	case r.ContentLength > maxBytes && (!encoded && !mayBeText(r.Header) || r.ContentLength > textSize(maxBytes)):
		return nil, tooLarge(maxBytes)
	case !HasBody(r):
		return nil, NoLength(r)
	case r.ContentLength <= 0 || r.ContentLength > maxBytes || encoded || transferEncoding != "":
		text := &quotaReader{body, textSize(maxBytes), tooLarge(maxBytes)}
		return readToEnd(decodeText(text, transferEncoding), maxBytes, u)
	}
	image, err := u.readFull(body, int(r.ContentLength))
	if err != nil {
		return nil, readError(err, maxBytes)
	}
	return decodeImage(image, maxBytes, u)
}

// openBody checks what the headers of a request say about its body as a whole, and returns the body without its
// Content-Encoding, and whether it has one.
func openBody(body io.Reader, h http.Header) (decoded io.Reader, encoded bool, err error) {
	if contentRange := h.Get("Content-Range"); contentRange != "" && !isWhole(contentRange) {
		return nil, false, errNotWhole
	}
	return decodeBody(body, h)
}

// isWhole reports whether a Content-Range is that of a body that is not a part of something.
func isWhole(contentRange string) bool {
	var first, last, size int64
	n, err := fmt.Sscanf(contentRange, "bytes %d-%d/%d", &first, &last, &size)
	return n == 3 && err == nil && first == 0 && last == size-1
}

// mayBeText reports whether a body may be an image as text, which is larger than the image.
func mayBeText(h http.Header) bool {
	mimeType := mediaType(h.Get("Content-Type"))
	return strings.HasPrefix(mimeType, "text/") || mimeType == "application/x-www-form-urlencoded" ||
		h.Get("Content-Transfer-Encoding") != ""
}

// readToEnd reads an image to the end of its source, into a buffer of its size.
func readToEnd(source io.Reader, maxBytes int64, u *Upload) ([]byte, error) {
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
