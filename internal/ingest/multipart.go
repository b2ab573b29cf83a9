package ingest

import "slices"

// nextPart returns the image in the next part.
func (s *Splitter) nextPart() ([]byte, error) {
	for {
		if s.startRead {
			return s.readJPEG()
		}
		header, err := s.next()
		if err != nil {
			return nil, err
		}
		if image, err := s.readPart(header); image != nil || err != nil {
			return image, err
		}
	}
}

// readPart returns the image in a part. It returns neither an image nor an error if there is nothing in the part.
//
// A part ends at its delimiter. Its image is returned before the delimiter if nothing behind the image has arrived yet:
// at the Content-Length, unless the image shows by its format that bytes are missing, and a JPEG without a length at
// its end marker. A length behind which anything but a delimiter stands is wrong; from then on lengths do not count.
func (s *Splitter) readPart(header partHeader) ([]byte, error) {
	if s.believes(header) {
		return s.readSized(header)
	}
	return s.readUnsized(header)
}

// believes reports whether the length of a part is to be tried. The header has to say that the part is an image.
func (s *Splitter) believes(header partHeader) bool {
	kind := header.kind(nil)
	return !s.distrust && header.length > 0 && header.length <= s.maxBytes && isPlain(header.encoding) &&
		(kind == imageFile || kind == mayBe)
}

// readSized reads an image whose size the header says. If the size is wrong, what was read is read again without it.
func (s *Splitter) readSized(header partHeader) ([]byte, error) {
	s.sized = sizedReader{body: s.body}
	image, err := s.upload.readFull(&s.sized, int(header.length))
	if err != nil && s.sized.err == nil {
		return nil, err // there was no memory
	}
	if err == nil && s.sized.err != errDelimiter {
		ends, err := s.endsHere(image, completenessOf(image) != cut)
		if err != nil {
			return nil, err
		}
		if ends {
			image, err = decodeImage(image, s.maxBytes, s.upload)
			return image, skippedBy(err)
		}
	}
	s.distrust = true
	s.body.reread(image)
	if err := s.reserveReplay(); err != nil {
		return nil, err
	}
	s.body.expectInImage()
	return s.readUnsized(header)
}

// reserveReplay reserves the memory for what is read again, and for the images in it.
func (s *Splitter) reserveReplay() error { return s.upload.Reserve(3 * s.body.source.held()) }

// endsHere reports whether the part ends with the content read so far, of which at least the last byte is given. While
// nothing behind it has arrived, an image that may be complete is taken for that.
func (s *Splitter) endsHere(content []byte, complete bool) (ends bool, err error) {
	next, err := s.body.following(content, !complete)
	if next == moreContent {
		s.body.expectInImage()
	}
	return next != moreContent, err
}

// readUnsized reads an image that ends with its part.
func (s *Splitter) readUnsized(header partHeader) ([]byte, error) {
	first, err := s.first()
	kind, jpeg := header.kind(first), isJPEG(first)
	switch {
	case err != nil:
		return nil, err
	case len(first) == 0 && header.lines == 0:
		return nil, nil
	case len(first) == 0:
		return nil, Skippedf("empty")
	case header.missing && !jpeg:
		return nil, Skippedf("neither a header nor a JPEG")
	case kind != imageFile && kind != mayBe:
		return nil, Skippedf("no image: its type is %.40q", header.mimeType)
	case jpeg && !header.disposed:
		s.body.drop(2) // the start marker
		return s.readJPEG()
	}
	return s.readFile(header, first)
}

// readFile reads an image to the end of its part. Where that is the end of the body and not a delimiter, the length or
// the format has to show that the image is whole. Where it is a delimiter, the end that the format prescribes has to be
// there, except in the file of a form, which is what its sender chose.
func (s *Splitter) readFile(header partHeader, first []byte) ([]byte, error) {
	if !isPlain(header.encoding) || isDataURL(first) {
		header.length = unknownLength // that of the text
	}
	image, err := s.readContent(header, first)
	if err != nil {
		return nil, err
	}
	isCut := int64(len(image)) < header.length || header.length <= 0 && completenessOf(image) == cut
	switch _, end := s.body.block(); {
	case end != errDelimiter && isCut:
		return nil, s.endedBy(end)
	case !header.disposed && lacksEnd(image):
		return nil, Skippedf("cut short by the end of its part")
	}
	return image, nil
}

// readTail returns a JPEG that was read to its end marker, with what stands behind the marker in the part.
func (s *Splitter) readTail() ([]byte, error) {
	ends, err := s.endsHere([]byte{eoi}, !slices.ContainsFunc(s.pictures, s.mayFollow))
	switch {
	case err != nil:
		return nil, err
	case ends:
		return s.image.whole(s.upload)
	}
	return s.readRest()
}
