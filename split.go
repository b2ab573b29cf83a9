package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

// boundaryRoom is how long a boundary may be; the standard allows 70.
const boundaryRoom = 200

var errNoImages = refuse(http.StatusUnsupportedMediaType, "no image found: allowed are a multipart body with an image in each part, and JPEGs one after the other")

// skippedPart says why a part of a body was passed over. What follows it is
// still to come.
type skippedPart struct{ why string }

func (e *skippedPart) Error() string { return e.why }

func skipped(format string, args ...any) error {
	return &skippedPart{fmt.Sprintf(format, args...)}
}

// splitter finds the images in a body that holds many. Of the body it keeps one
// image and what is read ahead.
type splitter struct {
	body   *delimited
	most   int64
	upload *upload
	find   func() ([]byte, error) // set when the first bytes have come
	found  bool                   // something in the body was understood

	image blocks // of unknown size
	open  bool   // that image is being taken
	over  bool   // it is larger than allowed
	begun bool   // the start of the next image was read as the end of one that is cut
	line  []byte // of a part's header
	part  bool   // in a part, which is to be passed over up to its delimiter
}

// newSplitter does not read yet.
func newSplitter(body io.Reader, contentType string, most int64, up *upload) *splitter {
	s := &splitter{most: most, upload: up}
	s.body = newDelimited(&budgeted{body, s}, boundaryIn(contentType))
	return s
}

// budgeted is a body that is read on only when the image under way may take what
// comes: a budget that is used up slows the sender, and ends the body at last.
type budgeted struct {
	io.Reader
	*splitter
}

func (b *budgeted) Read(p []byte) (int, error) {
	if b.open {
		if err := b.upload.hold(b.image.reach(readAhead)); err != nil {
			return 0, err
		}
	}
	return b.Reader.Read(p)
}

// next returns the next image the moment its last byte was read, and never a
// part of one. The image is the caller's. A *skippedPart says that something was
// passed over: more may follow. io.EOF is the body's end. Any other error is
// final too: the body was cut or holds nothing that is an image.
func (s *splitter) next() ([]byte, error) {
	if s.find == nil {
		s.find = s.sniff()
	}
	image, err := s.find()
	if err == io.EOF && !s.found && s.body.source.came {
		return nil, errNoImages
	}
	return image, err
}

// sniff finds out whether the body is multipart. Its first line goes before its
// type: not every sender gives one, or the boundary that it uses.
func (s *splitter) sniff() func() ([]byte, error) {
	if first := s.body.firstBoundary(); first != nil {
		s.body.core = first
	}
	if s.body.core == nil {
		return s.nextJPEG
	}
	return s.nextPart
}

// begin gives an image of unknown size a place, until end.
func (s *splitter) begin(first ...byte) {
	s.open, s.over = true, false
	s.image.write(first)
}

func (s *splitter) end() {
	s.open = false
	s.image.free()
}

// take moves the body on over its next bytes, and them into the image if there
// is one. What makes it too large is not kept.
func (s *splitter) take(next []byte) {
	if s.open {
		s.over = s.over || int64(s.image.size+len(next))-1 > s.most // the last may be of a line break
		if !s.over {
			s.image.write(next)
		}
	}
	s.body.drop(len(next))
}

// accept takes the next byte if it is this one.
func (s *splitter) accept(b byte) bool {
	block, err := s.body.block()
	if err != nil || block[0] != b {
		return false // an error comes again
	}
	s.take(block[:1])
	return true
}

// cut tells an image that a delimiter or the end of the body cut short from one
// that was cut with the body.
func (s *splitter) cut(err error) error {
	switch {
	case err == errDelimiter:
		return skipped("cut short by a delimiter")
	case s.body.source.err == io.EOF && (err == io.EOF || err == io.ErrUnexpectedEOF):
		return skipped("cut short by the end of the body")
	}
	return err
}

// whole returns the image that was taken, in a buffer of its size.
func (s *splitter) whole() ([]byte, error) {
	if s.over || int64(s.image.size) > s.most {
		return nil, skipped("larger than %d bytes", s.most)
	}
	return s.image.image(s.upload)
}

// boundaryIn returns the core of a multipart type's boundary, or nil. It reads
// what the standard does not allow and cameras send: blanks around the equals
// sign, and colons and slashes without quotes.
func boundaryIn(contentType string) []byte {
	kind, params, more := strings.Cut(contentType, ";")
	if !strings.HasPrefix(strings.ToLower(strings.TrimSpace(kind)), "multipart/") {
		return nil
	}
	for more {
		var name, value string
		name, params, more = strings.Cut(params, "=")
		value, params = cutValue(params)
		if strings.EqualFold(strings.Trim(name, "; \t"), "boundary") {
			return coreOf(value)
		}
	}
	return nil
}

// cutValue cuts a parameter's value, quoted or not, from those that follow.
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

// coreOf returns a boundary without the dashes around it, as some cameras count
// those of the delimiter line to it: nil if what is left cannot be meant.
func coreOf(boundary string) []byte {
	core := strings.Trim(boundary, "- \t")
	unprintable := func(r rune) bool { return r < ' ' || r > '~' }
	if core == "" || len(core) > boundaryRoom || strings.ContainsFunc(core, unprintable) {
		return nil
	}
	return []byte(core)
}
