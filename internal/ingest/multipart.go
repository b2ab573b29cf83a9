package ingest

import "io"

// nextPart returns the image in the next part. A closing delimiter is like any other, since some cameras close every
// part. But behind it, as before the first delimiter, only what is clearly a part counts as one.
func (s *Splitter) nextPart() ([]byte, error) {
	for {
		if s.startRead {
			return s.readJPEG()
		}
		if s.inPart {
			if err := s.toDelimiter(); err != nil {
				return nil, err
			}
		}
		s.inPart = true
		if image, err := s.readPart(); image != nil || err != nil {
			return image, err
		}
	}
}

// toDelimiter passes over what is left of a part, and its delimiter.
func (s *Splitter) toDelimiter() error {
	s.body.expectAfterImage()
	for {
		block, err := s.body.block()
		if err == errDelimiter {
			s.body.skipDelimiter()
			s.understood = true
			return nil
		}
		if err != nil {
			return err
		}
		s.body.drop(len(block))
	}
}

// readPart returns the image in a part. It returns neither an image nor an error if none was to be expected.
func (s *Splitter) readPart() ([]byte, error) {
	header, err := s.readHeader()
	cut := err == errDelimiter || err == io.EOF
	switch {
	case !s.body.partFollows && (err != nil || !header.isPart()), cut && header.lines == 0:
		return nil, nil
	case cut:
		return nil, Skippedf("cut short in its header")
	case err != nil:
		return nil, err
	}
	s.understood = true
	switch {
	case header.isText:
		return nil, s.discard(max(header.length, 0))
	case header.length == 0:
		return nil, Skippedf("empty")
	case header.length > s.maxBytes:
		if err := s.discard(header.length); err != nil {
			return nil, err
		}
		return nil, Skippedf("%d bytes, larger than %d", header.length, s.maxBytes)
	case header.length > 0:
		return s.readSized(int(header.length))
	}
	return s.readUnsized(header)
}

// readSized reads an image of known size.
func (s *Splitter) readSized(size int) ([]byte, error) {
	image, err := s.upload.readFull(s.body.buf, size)
	s.body.expectAfterImage()
	if err != nil {
		return nil, s.endedBy(err)
	}
	return image, nil
}

// discard passes over content of known size.
func (s *Splitter) discard(size int64) error {
	if err := s.body.discard(size); err != nil {
		return s.endedBy(err)
	}
	return nil
}

// readUnsized reads an image that ends with its end marker, if it is a JPEG, or with the part otherwise.
func (s *Splitter) readUnsized(header partHeader) ([]byte, error) {
	s.body.expectInImage()
	marked := s.accept(0xff)
	switch {
	case marked && s.accept(soi):
		return s.readJPEG()
	case header.missing:
		if _, err := s.body.block(); err != nil {
			return nil, s.endedBy(err)
		}
		return nil, Skippedf("neither a header nor a JPEG")
	}
	s.image.begin()
	defer s.image.end()
	if marked {
		s.image.add([]byte{0xff})
	}
	for {
		block, err := s.body.block()
		if err != nil {
			return s.readUntil(err, header)
		}
		s.take(block)
	}
}

// readUntil returns the image that was read until err.
func (s *Splitter) readUntil(err error, header partHeader) ([]byte, error) {
	switch {
	case err == errDelimiter:
		s.image.data.trim('\r')
	case err != io.EOF:
		return nil, err
	}
	switch {
	case s.image.data.size > 0 || s.image.tooLarge:
		return s.image.whole(s.upload)
	case header.lines == 0:
		return nil, nil
	}
	return nil, Skippedf("empty")
}
