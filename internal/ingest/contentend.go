package ingest

import (
	"bytes"
	"io"
)

// What stands behind content that may be all of its part.
type follower int

const (
	nothingYet  follower = iota // no byte that decides has arrived
	endOfPart                   // a delimiter, or the end of the body
	moreContent                 // anything else
)

// following returns what stands behind content, of which at least the last byte is given. With wait it reads on until
// that is known. Line breaks before a delimiter belong to the delimiter. A delimiter does not follow content that ends
// within one, and content that ends with what may be one is not all that the part was to be if nothing follows.
func (r *boundaryReader) following(content []byte, wait bool) (follower, error) {
	last, inDelimiter := content[len(content)-1], r.endsInDelimiter(content)
	for {
		ahead, _ := r.buf.Peek(r.buf.Buffered())
		switch size := r.matchBehind(last, ahead); {
		case size > 0:
			return endOfPart, nil
		case size == 0:
			return moreContent, nil
		case !wait && !inDelimiter:
			return nothingYet, nil
		case len(ahead) >= maxDelimiter:
			return moreContent, nil
		}
		switch _, err := r.buf.Peek(len(ahead) + 1); {
		case err == io.EOF && inDelimiter && r.matchBehind(last, append(bytes.Clone(ahead), '\n')) <= 0:
			return moreContent, nil
		case err == io.EOF:
			return endOfPart, nil
		case err != nil:
			return nothingYet, err
		}
	}
}

// endsInDelimiter reports whether the last line of content is a delimiter, or the beginning of one.
func (r *boundaryReader) endsInDelimiter(content []byte) bool {
	end := bytes.TrimRight(content[max(len(content)-maxDelimiter, 0):], "\r\n")
	r.minDashes = r.leastDashes
	return r.match(end[bytes.LastIndexByte(end, '\n')+1:]) != 0
}

// matchBehind is match for a delimiter behind content that ends with this byte. On the line of the content it has its
// dashes, on a line of its own it may be without.
func (r *boundaryReader) matchBehind(last byte, ahead []byte) int {
	text := bytes.TrimLeft(ahead, " \t\r\n")
	r.minDashes = r.leastDashes
	if bytes.IndexByte(ahead[:len(ahead)-len(text)], '\n') >= 0 {
		r.minDashes = 0
	}
	isBreak := len(ahead) == 0 || ahead[0] == '\r' || ahead[0] == '\n' && last != '\r'
	if (last == '\r' || last == '\n') && !isBreak {
		return 0 // the content ends within the line break before a delimiter
	}
	return r.match(text)
}

// seam is how far around a place in content a delimiter is looked for.
const seam = 256

// sizedReader reads content of known length: what looks like a delimiter in it is not one. A length that is too large
// would hold up a sender that pauses between its images. So the content ends early, with errDelimiter, if a pause was
// at a delimiter behind an image that is whole.
type sizedReader struct {
	body *boundaryReader
	err  error // once there is one

	first [sniffLength]byte // of the content
	size  int               // of the content so far
	last  [seam]byte        // of the content so far
	kept  int               // how many of these there are
}

// Read implements io.Reader.
func (r *sizedReader) Read(p []byte) (n int, err error) {
	if r.err != nil {
		return 0, r.err
	}
	if len(p) >= readAhead {
		p = p[:len(p)-1] // a large read passes by the buffer, which would not show what has arrived behind the content
	}
	n, r.err = r.body.buf.Read(p)
	if r.size < len(r.first) {
		copy(r.first[r.size:], p[:n])
	}
	if r.size += n; r.endsAround(p[:n]) {
		r.err = errDelimiter
	}
	return n, r.err
}

// endsAround reports whether a delimiter stands around the place where these bytes begin, and behind an image that is
// whole.
func (r *sizedReader) endsAround(next []byte) bool {
	var around [2 * seam]byte
	size := copy(around[:], r.last[:r.kept])
	size += copy(around[size:], next[:min(len(next), seam)])
	if len(next) >= seam {
		r.kept = copy(r.last[:], next[len(next)-seam:])
	} else {
		r.kept = copy(r.last[:], around[max(size-seam, 0):size])
	}
	r.body.atLineStart = false
	at, found := r.body.search(around[:size])
	if found <= 0 {
		return false
	}
	before := bytes.TrimRight(around[:at], "\r\n")
	return endOf(r.first[:min(r.size, sniffLength)], before) == whole
}

// reread puts content back, to be read again.
func (r *boundaryReader) reread(content []byte) {
	ahead, _ := r.buf.Peek(r.buf.Buffered())
	r.source.replay(content, bytes.Clone(ahead))
	r.buf.Reset(r.source)
	r.atLineStart, r.ready = true, 0
}
