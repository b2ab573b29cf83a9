package ingest

import (
	"bytes"
	"io"
)

// partReader reads a multipart body part by part. It tolerates what senders in the field do, and bounds what it holds:
// the header of a part, and what is read ahead.
type partReader struct {
	body     *boundaryReader
	upload   *Upload
	maxBytes int64 // of an image
	image    *partialImage

	understood bool   // a delimiter, a part or the start of a JPEG was found
	inPart     bool   // in a part, of which the rest is passed over before the next one
	line       []byte // of a part's header
}

// newPartReader returns a partReader of a body. It does not read yet.
func newPartReader(body io.Reader, contentType string, maxBytes int64, u *Upload) *partReader {
	image := &partialImage{maxBytes: maxBytes}
	return &partReader{
		body:     newBoundaryReader(&budgetReader{body: body, upload: u, image: image}, boundaryIn(contentType)),
		upload:   u,
		maxBytes: maxBytes,
		image:    image,
	}
}

// next moves on to the content of the next part, and returns its header. A closing delimiter is like any other, since
// some cameras close every part. But behind it, as before the first delimiter, only what is clearly a part counts as
// one. The parts of a multipart part come one by one, as if they stood in its place.
func (p *partReader) next() (partHeader, error) {
	for {
		if p.inPart {
			if err := p.toDelimiter(); err != nil {
				return partHeader{}, err
			}
		}
		p.inPart = true
		header, err := p.readHeader()
		ended := err == errDelimiter || err == io.EOF
		switch {
		case !p.body.partFollows && (err != nil || !header.isPart()), ended && header.lines == 0:
			continue
		case ended:
			return header, Skippedf("cut short in its header")
		case err != nil:
			return header, err
		}
		p.understood = true
		if !isMultipart(header.mimeType) {
			p.body.expectInImage()
			return header, nil
		}
		if header.boundary == nil || !p.body.nest(header.boundary) {
			return header, Skippedf("multipart without a boundary, or nested too deep: allowed are %d levels", maxNesting)
		}
	}
}

// toDelimiter passes over what is left of a part, and its delimiter.
func (p *partReader) toDelimiter() error {
	p.body.expectAfterImage()
	for {
		block, err := p.body.block()
		if err == errDelimiter {
			p.body.skipDelimiter()
			p.understood = true
			return nil
		}
		if err != nil {
			return err
		}
		p.body.drop(len(block))
	}
}

// first returns the first bytes of the content, none if it is empty.
func (p *partReader) first() ([]byte, error) {
	first, err := p.body.peek(sniffLength)
	switch {
	case err == errDelimiter, err == io.EOF:
		return nil, nil
	case len(first) < sniffLength:
		first = bytes.TrimSuffix(first, []byte("\r")) // it belongs to the delimiter
	}
	return first, err
}

// readContent returns what is left of a part, all of it, without its transfer encoding.
func (p *partReader) readContent(header partHeader, first []byte) ([]byte, error) {
	if isDataURL(first) || !isPlain(header.encoding) && !beginsAsImage(first) {
		return p.readEncoded(header)
	}
	p.image.begin()
	defer p.image.end()
	return p.readRest()
}

// readRest returns the image that has begun and is all that is left of the part.
func (p *partReader) readRest() ([]byte, error) {
	for {
		block, err := p.body.block()
		switch {
		case err == nil:
			p.take(block)
			continue
		case err == errDelimiter:
			p.image.data.trim('\r')
		case err != io.EOF:
			return nil, err
		}
		return p.image.whole(p.upload)
	}
}

// readEncoded returns an image that is sent as text.
func (p *partReader) readEncoded(header partHeader) ([]byte, error) {
	image, err := readToEnd(decodeText(&contentReader{p.body}, header.encoding), p.maxBytes, p.upload)
	if bodyErr := p.body.source.err; err != nil && bodyErr != nil && bodyErr != io.EOF {
		return nil, bodyErr
	}
	return image, skippedBy(err)
}

// take moves on over the next bytes of the body, and adds them to the partial image.
func (p *partReader) take(next []byte) {
	p.image.add(next)
	p.body.drop(len(next))
}

// accept takes the next byte if it is this one.
func (p *partReader) accept(b byte) bool {
	block, err := p.body.block()
	if err != nil || block[0] != b {
		return false // block returns an error of the body again
	}
	p.take(block[:1])
	return true
}

// contentReader reads the rest of a part as if it were a body.
type contentReader struct{ body *boundaryReader }

// Read implements io.Reader.
func (r *contentReader) Read(p []byte) (int, error) {
	block, err := r.body.block()
	if err == errDelimiter {
		return 0, io.EOF
	}
	n := copy(p, block)
	r.body.drop(n)
	return n, err
}
