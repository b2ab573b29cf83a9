package ingest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
)

const (
	// readAhead is how much of a body is held besides an image.
	readAhead = 32 << 10

	// maxDelimiter is how long a delimiter line may be.
	maxDelimiter = 1 << 10

	// maxNesting is how many multipart bodies may lie one in the other.
	maxNesting = 4
)

// errDelimiter says that a delimiter line comes next.
var errDelimiter = errors.New("delimiter line")

// boundaryReader reads a body up to a delimiter line, and not into it. Such a line is a number of dashes, the boundary,
// dashes again if the line closes the body, and blanks. The line break before it is a part of it.
type boundaryReader struct {
	buf        *bufio.Reader
	source     *replayReader
	boundaries [][]byte // without the dashes around them, each nested in the one before; none: no delimiters

	// The delimiters before:
	leastDashes int  // the fewest that one of them began with, two at most
	partFollows bool // the last one did not close the body

	// The delimiter that is expected next:
	minDashes int  // how many it begins with at least
	byLine    bool // a block ends with its line, whose break is not a part of the delimiter

	// The bytes that are there:
	ready         int  // how many of them belong to no delimiter
	atLineStart   bool // the first one begins a line
	delimiterSize int  // of the delimiter that block has found
}

func newBoundaryReader(body io.Reader, boundary []byte) *boundaryReader {
	source := &replayReader{body: body}
	r := &boundaryReader{
		buf:         bufio.NewReaderSize(source, readAhead),
		source:      source,
		leastDashes: 2,
		atLineStart: true,
	}
	if boundary != nil {
		r.boundaries = [][]byte{boundary}
	}
	return r
}

// detectBoundary finds out by the first line of the body whether the body is multipart. The first line overrules the
// Content-Type: not every sender gives a type, or the boundary that it uses.
func (r *boundaryReader) detectBoundary() {
	if first := r.firstBoundary(); first != nil {
		r.boundaries = [][]byte{first}
	}
}

// firstBoundary returns the boundary in the first line, if that line begins with two dashes. It waits for no more bytes
// than it needs to decide.
func (r *boundaryReader) firstBoundary() []byte {
	for n := 1; n <= maxDelimiter; n++ {
		line, err := r.buf.Peek(n)
		text := bytes.TrimLeft(line, "\r\n")
		if !bytes.HasPrefix(text, []byte("--")[:min(2, len(text))]) {
			return nil
		}
		if err != nil || len(text) > 0 && text[len(text)-1] == '\n' {
			return trimBoundary(string(bytes.TrimRight(text, "\r\n")))
		}
	}
	return nil
}

// nest adds the boundary of a multipart body within a part. It is forgotten at the next delimiter of an outer one. nest
// reports whether so many may lie one in the other.
func (r *boundaryReader) nest(boundary []byte) bool {
	if len(r.boundaries) == maxNesting {
		return false
	}
	r.boundaries = append(r.boundaries, boundary)
	return true
}

// expectInImage expects a delimiter with at least as many leading dashes as earlier delimiters had; without that a
// short boundary could match image bytes.
func (r *boundaryReader) expectInImage() { r.minDashes, r.byLine, r.ready = r.leastDashes, false, 0 }

// expectInHeader expects a delimiter with any number of dashes, and lets a block end with its line: an image follows
// the last line of a header, and may begin with what looks like a delimiter.
func (r *boundaryReader) expectInHeader() { r.minDashes, r.byLine, r.ready = 0, true, 0 }

// expectAfterImage expects a delimiter with any number of dashes, which may stand right behind an image, without a line
// break.
func (r *boundaryReader) expectAfterImage() {
	r.minDashes, r.byLine, r.ready, r.atLineStart = 0, false, 0, true
}

// block returns the bytes that are there, at least one, up to a delimiter. They stay until they are dropped. If the
// delimiter comes at once, block returns errDelimiter.
func (r *boundaryReader) block() ([]byte, error) {
	if r.ready == 0 {
		if err := r.fill(1); err != nil {
			return nil, err
		}
	}
	return r.buf.Peek(r.ready)
}

// peek returns the next n bytes, or fewer if a delimiter or the end of the body comes before. They stay until they are
// dropped.
func (r *boundaryReader) peek(n int) ([]byte, error) {
	r.ready = 0
	if err := r.fill(n); err != nil {
		return nil, err
	}
	return r.buf.Peek(min(n, r.ready))
}

// drop moves on over n bytes of the block.
func (r *boundaryReader) drop(n int) {
	if n > 0 {
		block, _ := r.buf.Peek(n)
		r.atLineStart = block[n-1] == '\n'
		r.buf.Discard(n)
		r.ready -= n
	}
}

// fill waits for n bytes and finds out how many belong to no delimiter. It waits for more bytes only while those that
// are there may begin a delimiter, and for fewer only if a delimiter or the end of the body comes before.
func (r *boundaryReader) fill(n int) error {
	for need := 1; ; need++ {
		_, err := r.buf.Peek(need)
		if err != nil && (err != io.EOF || r.buf.Buffered() == 0) {
			return err
		}
		need = r.buf.Buffered()
		ahead, _ := r.buf.Peek(need)
		at, size := r.search(ahead)
		switch {
		case at >= n, at > 0 && (size > 0 || err != nil):
			r.ready = at
			return nil
		case at == 0 && size > 0:
			r.delimiterSize = size
			return errDelimiter
		}
	}
}

// search returns where the first delimiter begins, and its size. A size below 1 says that more bytes are needed to
// decide whether there is a delimiter at that place.
func (r *boundaryReader) search(ahead []byte) (at, size int) {
	if r.boundaries == nil {
		return len(ahead), 0
	}
	if r.atLineStart {
		if size := r.measure(ahead); size != 0 {
			return 0, size
		}
	}
	for {
		next := bytes.IndexByte(ahead[at:], '\n')
		if next < 0 {
			return len(ahead), 0
		}
		at += next + 1
		if r.byLine {
			return at, 0
		}
		if size := r.measure(ahead[at:]); size != 0 {
			return at - 1, size + 1
		}
	}
}

// measure returns the size of the delimiter line that a text begins with, 0 if it begins with none, -1 if more bytes
// are needed to decide. At the end of the body a delimiter needs no line break.
func (r *boundaryReader) measure(text []byte) int {
	if len(text) > 0 && text[0] != '-' && r.minDashes > 0 {
		return 0 // most lines of an image end here
	}
	text = text[:min(len(text), maxDelimiter)]
	size := r.match(text)
	switch {
	case size >= 0:
		return size
	case r.source.ended():
		return max(r.match(append(bytes.Clone(text), '\n'))-1, 0)
	case len(text) == maxDelimiter:
		return 0
	}
	return -1
}

// match is measure for a text behind which more bytes come.
func (r *boundaryReader) match(text []byte) int {
	rest := bytes.TrimLeft(text, "-")
	dashes := len(text) - len(rest)
	if len(rest) > 0 && dashes < r.minDashes {
		return 0
	}
	for _, boundary := range r.boundaries {
		if size := matchLine(rest, boundary); size > 0 {
			return dashes + size
		} else if size < 0 {
			return -1
		}
	}
	return 0
}

// matchLine is match for one boundary, behind the dashes.
func matchLine(text, boundary []byte) int {
	rest, named := bytes.CutPrefix(text, boundary)
	if !named {
		if bytes.HasPrefix(boundary, text) {
			return -1
		}
		return 0
	}
	rest = bytes.TrimPrefix(bytes.TrimLeft(bytes.TrimLeft(rest, "-"), " \t"), []byte("\r"))
	switch {
	case len(rest) == 0:
		return -1
	case rest[0] == '\n':
		return len(text) - len(rest) + 1
	}
	return 0
}

// skipDelimiter moves on over the delimiter that block has found. It is that of the body in which the next part lies.
func (r *boundaryReader) skipDelimiter() {
	line, _ := r.buf.Peek(r.delimiterSize)
	line = bytes.TrimSpace(line)
	r.leastDashes = min(r.leastDashes, len(line)-len(bytes.TrimLeft(line, "-")))
	r.partFollows = !bytes.HasSuffix(line, []byte("--"))
	boundary := bytes.Trim(line, "- \t")
	depth := slices.IndexFunc(r.boundaries, func(b []byte) bool { return bytes.Equal(b, boundary) })
	r.boundaries = r.boundaries[:depth+1]
	r.buf.Discard(r.delimiterSize)
	r.atLineStart = true
}
