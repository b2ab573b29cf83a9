package ingest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

const (
	// readAhead is how much of a body is held besides an image.
	readAhead = 32 << 10

	// maxDelimiter is how long a delimiter line may be.
	maxDelimiter = 1 << 10
)

// errDelimiter says that a delimiter line comes next.
var errDelimiter = errors.New("delimiter line")

// boundaryReader reads a body up to a delimiter line, and not into it. Such a line is a number of dashes, the boundary,
// dashes again if the line closes the body, and blanks. The line break before it is a part of it.
type boundaryReader struct {
	buf      *bufio.Reader
	source   *finalErrorReader
	boundary []byte // without the dashes around it; nil: there are no delimiters

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
	source := &finalErrorReader{body: body}
	return &boundaryReader{
		buf:         bufio.NewReaderSize(source, readAhead),
		source:      source,
		boundary:    boundary,
		leastDashes: 2,
		atLineStart: true,
	}
}

// finalErrorReader is a body whose first error comes again at every later read. The body of a request that was cut
// would return io.EOF at the second one.
type finalErrorReader struct {
	body     io.Reader
	received bool // at least one byte
	err      error
}

// Read implements io.Reader.
func (r *finalErrorReader) Read(p []byte) (n int, err error) {
	if r.err == nil {
		n, r.err = r.body.Read(p)
		r.received = r.received || n > 0
	}
	return n, r.err
}

// detectBoundary finds out by the first line of the body whether the body is multipart. The first line overrules the
// Content-Type: not every sender gives a type, or the boundary that it uses.
func (r *boundaryReader) detectBoundary() {
	if first := r.firstBoundary(); first != nil {
		r.boundary = first
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
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
	return r.buf.Peek(r.ready)
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

// discard moves on over n bytes of content of known length.
func (r *boundaryReader) discard(n int64) error {
	_, err := io.CopyN(io.Discard, r.buf, n)
	r.expectAfterImage()
	return err
}

// fill waits for a byte and finds out how many bytes belong to no delimiter. It waits for more bytes only while those
// that are there may begin a delimiter.
func (r *boundaryReader) fill() error {
	for need := 1; ; need++ {
		if _, err := r.buf.Peek(need); err != nil && (err != io.EOF || r.buf.Buffered() == 0) {
			return err
		}
		need = r.buf.Buffered()
		ahead, _ := r.buf.Peek(need)
		at, size := r.search(ahead)
		switch {
		case at > 0:
			r.ready = at
			return nil
		case size > 0:
			r.delimiterSize = size
			return errDelimiter
		}
	}
}

// search returns where the first delimiter begins, and its size. A size below 1 says that more bytes are needed to
// decide whether there is a delimiter at that place.
func (r *boundaryReader) search(ahead []byte) (at, size int) {
	if r.boundary == nil {
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
	text = text[:min(len(text), maxDelimiter)]
	rest := bytes.TrimLeft(text, "-")
	if len(rest) > 0 && len(text)-len(rest) < r.minDashes {
		return 0
	}
	named := bytes.HasPrefix(rest, r.boundary)
	if named {
		rest = bytes.TrimLeft(rest[len(r.boundary):], "-")
		rest = bytes.TrimPrefix(bytes.TrimLeft(rest, " \t"), []byte("\r"))
	}
	switch {
	case named && len(rest) > 0 && rest[0] == '\n':
		return len(text) - len(rest) + 1
	case named && len(rest) > 0, !named && !bytes.HasPrefix(r.boundary, rest), len(text) == maxDelimiter:
		return 0
	case r.source.err != io.EOF:
		return -1
	case named:
		return len(text)
	}
	return 0
}

// skipDelimiter moves on over the delimiter that block has found.
func (r *boundaryReader) skipDelimiter() {
	line, _ := r.buf.Peek(r.delimiterSize)
	line = bytes.TrimSpace(line)
	r.leastDashes = min(r.leastDashes, len(line)-len(bytes.TrimLeft(line, "-")))
	r.partFollows = bytes.HasSuffix(line, r.boundary)
	r.buf.Discard(r.delimiterSize)
	r.atLineStart = true
}
