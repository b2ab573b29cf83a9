package ingest

import (
	"io"
	"strings"
)

// maxBoundary is how long a boundary may be. The standard allows 70 characters.
const maxBoundary = 200

// Splitter finds the images in a body that holds many. Of the body it keeps one image and what is read ahead.
type Splitter struct {
	body     *boundaryReader
	upload   *Upload
	maxBytes int64
	image    *partialImage

	started    bool   // the body's first line was searched for a boundary
	understood bool   // a delimiter, a part or the start of a JPEG was found
	startRead  bool   // the start of the next JPEG was read already: it ended a JPEG that is cut short
	inPart     bool   // in a part, of which the rest is passed over before the next one
	line       []byte // of a part's header
}

// NewSplitter returns a Splitter of a body, for images of at most maxBytes each. It does not read yet.
func NewSplitter(body io.Reader, contentType string, maxBytes int64, u *Upload) *Splitter {
	image := &partialImage{maxBytes: maxBytes}
	return &Splitter{
		body:     newBoundaryReader(&budgetReader{body: body, upload: u, image: image}, boundaryIn(contentType)),
		upload:   u,
		maxBytes: maxBytes,
		image:    image,
	}
}

// Next returns the next image the moment its last byte was read, and never a part of one. The image belongs to the
// caller. A *Skipped error says that something was passed over, and that more images may follow. io.EOF is the end of
// the body. Any other error is final too: the body was cut, or nothing in it is an image.
func (s *Splitter) Next() ([]byte, error) {
	if !s.started {
		s.body.detectBoundary()
		s.started = true
	}
	image, err := s.find()
	if err == io.EOF && !s.understood && s.body.source.received {
		return nil, errNoImages
	}
	return image, err
}

func (s *Splitter) find() ([]byte, error) {
	if s.body.boundary == nil {
		return s.nextJPEG()
	}
	return s.nextPart()
}

// take moves on over the next bytes of the body, and adds them to the partial image.
func (s *Splitter) take(next []byte) {
	s.image.add(next)
	s.body.drop(len(next))
}

// accept takes the next byte if it is this one.
func (s *Splitter) accept(b byte) bool {
	block, err := s.body.block()
	if err != nil || block[0] != b {
		return false // block returns an error of the body again
	}
	s.take(block[:1])
	return true
}

// endedBy classifies a premature end: a delimiter or a clean end of the body means one image that is cut short, which
// is skipped; anything else means that the request itself was aborted.
func (s *Splitter) endedBy(err error) error {
	switch {
	case err == errDelimiter:
		return Skippedf("cut short by a delimiter")
	case s.body.source.err == io.EOF && (err == io.EOF || err == io.ErrUnexpectedEOF):
		return Skippedf("cut short by the end of the body")
	}
	return err
}

// boundaryIn returns the boundary that a multipart type names, without the dashes around it, or nil. It reads what the
// standard does not allow and cameras send: blanks around the equals sign, and colons and slashes without quotes.
func boundaryIn(contentType string) []byte {
	mimeType, params, more := strings.Cut(contentType, ";")
	if !strings.HasPrefix(strings.ToLower(strings.TrimSpace(mimeType)), "multipart/") {
		return nil
	}
	for more {
		var name, value string
		name, params, more = strings.Cut(params, "=")
		value, params = cutValue(params)
		if strings.EqualFold(strings.Trim(name, "; \t"), "boundary") {
			return trimBoundary(value)
		}
	}
	return nil
}

// cutValue cuts the value of a parameter, quoted or not, from the parameters that follow.
func cutValue(params string) (value, rest string) {
	params = strings.TrimLeft(params, " \t")
	if quoted, ok := strings.CutPrefix(params, `"`); ok {
		if value, rest, ok = strings.Cut(quoted, `"`); ok {
			return value, rest
		}
		params = quoted
	}
	value, rest, _ = strings.Cut(params, ";")
	return value, rest
}

// trimBoundary returns a boundary without the dashes around it, since some cameras take the dashes of the delimiter
// line for a part of the boundary. It returns nil if what is left cannot be meant as a boundary.
func trimBoundary(boundary string) []byte {
	trimmed := strings.Trim(boundary, "- \t")
	unprintable := func(r rune) bool { return r < ' ' || r > '~' }
	if trimmed == "" || len(trimmed) > maxBoundary || strings.ContainsFunc(trimmed, unprintable) {
		return nil
	}
	return []byte(trimmed)
}
