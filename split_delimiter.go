package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

const (
	// readAhead is what of a body is held besides an image.
	readAhead = 32 << 10

	// delimiterRoom is how long a delimiter line may be.
	delimiterRoom = 1 << 10
)

// errDelimiter says that a delimiter line comes next.
var errDelimiter = errors.New("delimiter line")

// delimited reads a body up to a delimiter line, and not into it. Such a line is
// a number of dashes, the core of the boundary, dashes again if it closes, and
// blanks. The line break before it is a part of it.
type delimited struct {
	*bufio.Reader
	source *source
	core   []byte // nil: there are no delimiters
	dashes int    // the fewest that a delimiter began with, two at most
	open   bool   // the last delimiter did not close: a part follows

	least int  // dashes that a delimiter is expected to begin with
	lines bool // blocks end with a line: its break is no part of a delimiter
	clear int  // bytes that are there and belong to no delimiter
	fresh bool // a line begins here
	size  int  // of the delimiter that comes next
}

func newDelimited(body io.Reader, core []byte) *delimited {
	source := &source{Reader: body}
	return &delimited{Reader: bufio.NewReaderSize(source, readAhead), source: source, core: core, dashes: 2, fresh: true}
}

// source is a body whose first error is the last word: a request's body answers
// io.EOF to whoever asks again after it was cut.
type source struct {
	io.Reader
	came bool // a byte
	err  error
}

func (s *source) Read(p []byte) (n int, err error) {
	if s.err == nil {
		n, s.err = s.Reader.Read(p)
		s.came = s.came || n > 0
	}
	return n, s.err
}

// firstBoundary returns the core of the boundary in the body's first line, if
// that begins with two dashes. It waits for no more than it needs to tell.
func (d *delimited) firstBoundary() []byte {
	for n := 1; n <= delimiterRoom; n++ {
		line, err := d.Peek(n)
		text := bytes.TrimLeft(line, "\r\n")
		if !bytes.HasPrefix(text, []byte("--")[:min(2, len(text))]) {
			return nil
		}
		if err != nil || len(text) > 0 && text[len(text)-1] == '\n' {
			return coreOf(string(bytes.TrimRight(text, "\r\n")))
		}
	}
	return nil
}

// expect sets how many dashes a delimiter has at least. In an image it has as
// many as those before: with none, a short boundary could be a part of the image.
func (d *delimited) expect(dashes int) { d.least, d.lines, d.clear = dashes, false, 0 }

// expectLines lets a block end with its line: behind the last line of a header
// stands an image, which may begin with what looks like a delimiter.
func (d *delimited) expectLines() { d.least, d.lines, d.clear = 0, true, 0 }

// block returns the bytes that are there, at least one, up to a delimiter. They
// stay until they are dropped.
func (d *delimited) block() ([]byte, error) {
	if d.clear == 0 {
		if err := d.look(); err != nil {
			return nil, err
		}
	}
	return d.Peek(d.clear)
}

// drop moves on over n bytes of the block.
func (d *delimited) drop(n int) {
	if n > 0 {
		block, _ := d.Peek(n)
		d.fresh = block[n-1] == '\n'
		d.Discard(n)
		d.clear -= n
	}
}

// look waits for a byte and finds out how many belong to no delimiter. It waits
// for more only while what comes next may be a delimiter.
func (d *delimited) look() error {
	for need := 1; ; need++ {
		if _, err := d.Peek(need); err != nil && (err != io.EOF || d.Buffered() == 0) {
			return err
		}
		need = d.Buffered()
		ahead, _ := d.Peek(need)
		at, size := d.search(ahead)
		switch {
		case at > 0:
			d.clear = at
			return nil
		case size > 0:
			d.size = size
			return errDelimiter
		}
	}
}

// search finds where the first delimiter begins, or what may become one: there
// its size is 0 or less.
func (d *delimited) search(ahead []byte) (at, size int) {
	if d.core == nil {
		return len(ahead), 0
	}
	if d.fresh {
		if size := d.measure(ahead); size != 0 {
			return 0, size
		}
	}
	for {
		next := bytes.IndexByte(ahead[at:], '\n')
		if next < 0 {
			return len(ahead), 0
		}
		at += next + 1
		if d.lines {
			return at, 0
		}
		if size := d.measure(ahead[at:]); size != 0 {
			return at - 1, size + 1
		}
	}
}

// measure returns the size of the delimiter line that a text begins with: 0 if
// it is none, -1 if more is needed to tell. At the body's end it needs no line break.
func (d *delimited) measure(text []byte) int {
	text = text[:min(len(text), delimiterRoom)]
	rest := bytes.TrimLeft(text, "-")
	if len(rest) > 0 && len(text)-len(rest) < d.least {
		return 0
	}
	named := bytes.HasPrefix(rest, d.core)
	if named {
		rest = bytes.TrimLeft(rest[len(d.core):], "-")
		rest = bytes.TrimPrefix(bytes.TrimLeft(rest, " \t"), []byte("\r"))
	}
	switch {
	case named && len(rest) > 0 && rest[0] == '\n':
		return len(text) - len(rest) + 1
	case named && len(rest) > 0, !named && !bytes.HasPrefix(d.core, rest), len(text) == delimiterRoom:
		return 0
	case d.source.err != io.EOF:
		return -1
	case named:
		return len(text)
	}
	return 0
}

// pass moves on over the delimiter that comes next.
func (d *delimited) pass() {
	line, _ := d.Peek(d.size)
	line = bytes.TrimSpace(line)
	d.dashes = min(d.dashes, len(line)-len(bytes.TrimLeft(line, "-")))
	d.open = bytes.HasSuffix(line, d.core)
	d.Discard(d.size)
	d.fresh = true
}
