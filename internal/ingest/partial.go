package ingest

import "io"

// partialImage collects the bytes of an image of unknown size, from begin to end. Outside of that it is empty, and add
// does nothing.
type partialImage struct {
	maxBytes int64
	data     chunkBuffer
	length   int64 // of the image so far
	reading  bool  // between begin and end
	tooLarge bool  // not all bytes were kept
}

// begin begins an image, with its first bytes. Its end has to be called.
func (p *partialImage) begin(first ...byte) {
	p.reading, p.tooLarge = true, false
	p.data.write(first)
	p.length = int64(len(first))
}

// end drops the image.
func (p *partialImage) end() {
	p.reading = false
	p.data.reset()
}

// add adds bytes to the image. Bytes that make it too large are not kept.
func (p *partialImage) add(next []byte) {
	if !p.reading {
		return
	}
	p.length += int64(len(next))
	// The last byte may belong to the line break before a delimiter, and is then not a byte of the image.
	p.tooLarge = p.tooLarge || p.length-1 > p.maxBytes
	if !p.tooLarge {
		p.data.write(next)
	}
}

// whole returns the image, which is now complete, in a buffer of its size.
func (p *partialImage) whole(u *Upload) ([]byte, error) {
	switch {
	case p.tooLarge || int64(p.data.size) > p.maxBytes:
		return nil, skippedBy(tooLarge(p.maxBytes))
	case p.data.size == 0:
		return nil, skippedBy(ErrEmptyImage)
	}
	return p.data.image(u)
}

// budgetReader is a body that reserves the memory for the partial image before it reads on. An exhausted budget first
// slows the sender, and in the end fails the read.
type budgetReader struct {
	body   io.Reader
	upload *Upload
	image  *partialImage
}

// Read implements io.Reader.
func (r *budgetReader) Read(p []byte) (int, error) {
	if r.image.reading {
		if err := r.upload.Reserve(r.image.data.footprint(readAhead)); err != nil {
			return 0, err
		}
	}
	return r.body.Read(p)
}
