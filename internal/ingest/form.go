package ingest

import (
	"errors"
	"io"
	"net/http"

	"github.com/image-streamer/image-streamer/internal/httpserver"
)

// formOverhead is how many bytes a form may hold besides its image.
const formOverhead = 1 << 20

// ReadForm reads a multipart form with one file, an image of at most maxBytes, and returns that file.
func ReadForm(w http.ResponseWriter, r *http.Request, maxBytes int64, u *Upload) ([]byte, error) {
	contentType := r.Header.Get("Content-Type")
	body, _, err := openBody(u.Body(w, r, nil), r.Header)
	switch {
	case r.ContentLength > textSize(maxBytes)+formOverhead:
		return nil, tooLarge(maxBytes)
	case mediaType(contentType) != "multipart/form-data":
		return nil, errNotForm
	case err != nil:
		return nil, err
	case !HasBody(r):
		return nil, NoLength(r)
	}
	if err := u.Reserve(new(chunkBuffer).footprint(1)); err != nil { // before the client is asked for its body
		return nil, err
	}
	quota := &quotaReader{body, formOverhead, overQuota(maxBytes)}
	f := form{partReader: newPartReader(quota, contentType, maxBytes, u), quota: quota}
	file, err := f.read()
	if err != nil {
		return nil, f.refusal(err)
	}
	return file, nil
}

// form finds the file among the parts of a form.
type form struct {
	*partReader
	quota *quotaReader

	file   []byte
	kind   partKind // of the part that was the file so far
	second bool     // another part has the same kind
}

// read reads the form to its end and returns its file.
func (f *form) read() ([]byte, error) {
	if f.body.detectBoundary(); f.body.boundaries == nil {
		return nil, errNoBoundary
	}
	for {
		header, err := f.next()
		if err == io.EOF {
			return f.end()
		}
		if err != nil {
			return nil, err
		}
		if err := f.add(header); err != nil {
			return nil, err
		}
	}
}

// add reads a part that is more of a file than those before.
func (f *form) add(header partHeader) error {
	first, err := f.first()
	kind := header.kind(first)
	nothingChosen := len(first) == 0 && header.isFile && !header.named
	switch {
	case err != nil:
		return err
	case kind <= mayBe, nothingChosen, kind < f.kind:
		return nil
	case kind == f.kind && kind == imageFile:
		return errSecondFile
	case kind == f.kind:
		f.second = true
		return nil
	}
	f.kind, f.second, f.file = kind, false, nil // the file before is not held while this one is read
	left := f.quota.left
	f.quota.left += textSize(f.maxBytes)
	f.file, err = f.readContent(header, first)
	f.quota.left = left
	return err
}

// end returns the file of a form that was read to its end.
func (f *form) end() ([]byte, error) {
	switch {
	case f.understood && f.body.partFollows:
		return nil, errNotClosed
	case f.file == nil:
		return nil, errNoFile
	case f.second:
		return nil, errSecondFile
	}
	return f.file, nil
}

// refusal returns the error for the client.
func (f *form) refusal(err error) error {
	skipped, ok := errors.AsType[*Skipped](err)
	switch {
	case !ok:
		return readError(err, f.maxBytes)
	case skipped.refusal != nil:
		return skipped.refusal
	}
	return httpserver.Errorf(http.StatusBadRequest,
		"malformed form, nothing was stored: one part is not understood (%s)", skipped.reason)
}
