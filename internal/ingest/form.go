package ingest

import (
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
)

// formOverhead is how many bytes a form may hold besides its image.
const formOverhead = 1 << 20

// ReadForm reads a multipart form with one file, an image of at most maxBytes, and returns that file.
func ReadForm(w http.ResponseWriter, r *http.Request, maxBytes int64, u *Upload) ([]byte, error) {
	mimeType, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case r.ContentLength > maxBytes+formOverhead:
		return nil, tooLarge(maxBytes)
	case mimeType != "multipart/form-data":
		return nil, errNotForm
	case err != nil || params["boundary"] == "":
		return nil, errNoBoundary
	case !HasBody(r):
		return nil, NoLength(r)
	}
	if err := u.Reserve(new(chunkBuffer).footprint(1)); err != nil { // before the client is asked for its body
		return nil, err
	}
	body := http.MaxBytesReader(w, io.NopCloser(u.Body(w, r, nil)), maxBytes+formOverhead)
	image, err := readOnlyFile(multipart.NewReader(body, params["boundary"]), maxBytes, u)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, body); err != nil { // a body that is cut behind its form is cut nevertheless
		return nil, readError(err, maxBytes)
	}
	return image, nil
}

// readOnlyFile reads a form to its end and returns its only file.
func readOnlyFile(form *multipart.Reader, maxBytes int64, u *Upload) ([]byte, error) {
	var image []byte
	for {
		part, err := form.NextPart()
		switch {
		case err == io.EOF && image == nil:
			return nil, errNoFile
		case err == io.EOF:
			return image, nil
		case err != nil:
			return nil, readError(err, maxBytes)
		case !isFile(part): // NextPart passes over it
		case image != nil:
			return nil, errSecondFile
		default:
			if image, err = readUnsized(part, maxBytes, u); err != nil {
				return nil, err
			}
		}
	}
}

// isFile reports whether a part is a file and not a text field. A file has a file name or, from devices that send none,
// the type of an image. A file input in which nothing was chosen has an empty name.
func isFile(part *multipart.Part) bool {
	_, disposition, _ := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	if name, named := disposition["filename"]; named {
		return name != ""
	}
	mimeType := part.Header.Get("Content-Type")
	return strings.HasPrefix(mimeType, "image/") || strings.HasPrefix(mimeType, "application/octet-stream")
}
