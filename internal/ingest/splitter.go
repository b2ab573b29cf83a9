package ingest

import (
	"io"
	"net/http"
)

// Splitter finds the images in a body that holds many. Of the body it keeps one image and what is read ahead.
type Splitter struct {
	*partReader

	started   bool         // the body's first line was searched for a boundary
	startRead bool         // the start of the next JPEG was read already: it ended a JPEG that is cut short
	pictures  []int64      // the places of those behind the first one in the JPEG that is read
	sized     sizedReader  // of the part that is read
	distrust  bool         // the length of a part was wrong: those of the parts behind it do not count
	quota     *quotaReader // of a body with a Content-Encoding, for each image
}

// NewSplitter returns a Splitter of the body of a request with these headers, for images of at most maxBytes each. It
// does not read yet.
func NewSplitter(body io.Reader, h http.Header, maxBytes int64, u *Upload) (*Splitter, error) {
	body, encoded, err := openBody(body, h)
	if err != nil {
		return nil, err
	}
	s := &Splitter{quota: &quotaReader{body: body, refusal: overQuota(maxBytes)}}
	if encoded {
		body = s.quota
	}
	s.partReader = newPartReader(body, h.Get("Content-Type"), maxBytes, u)
	return s, nil
}

// Next returns the next image the moment it is known to be whole, and never a part of one. The image belongs to the
// caller. A *Skipped error says that something was passed over, and that more images may follow. io.EOF is the end of
// the body. Any other error is final too: the body was cut, or nothing in it is an image.
func (s *Splitter) Next() ([]byte, error) {
	if !s.started {
		s.body.detectBoundary()
		s.started = true
	}
	s.quota.left = textSize(s.maxBytes) + formOverhead
	if err := s.reserveReplay(); err != nil {
		return nil, err
	}
	image, err := s.find()
	if err == io.EOF && !s.understood && s.body.source.received {
		return nil, errNoImages
	}
	return image, err
}

func (s *Splitter) find() ([]byte, error) {
	if s.body.boundaries == nil {
		return s.nextJPEG()
	}
	return s.nextPart()
}

// endedBy classifies a premature end: a delimiter or a clean end of the body means one image that is cut short, which
// is skipped; anything else means that the request itself was aborted.
func (s *Splitter) endedBy(err error) error {
	switch err {
	case errDelimiter:
		return Skippedf("cut short by a delimiter")
	case io.EOF:
		return Skippedf("cut short by the end of the body")
	}
	return err
}
