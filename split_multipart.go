package main

import (
	"bytes"
	"io"
	"strconv"
	"strings"
)

// headerRoom is how long a part's header may be.
const headerRoom = 8 << 10

// A part's length, if it has none that is of use.
const (
	unknown       = -1
	contradictory = -2
)

// nextPart returns the image in the next part. A closing delimiter is like any
// other, as some cameras close every part, but behind it, as before the first,
// only what is clearly a part is taken for one.
func (s *splitter) nextPart() ([]byte, error) {
	for {
		if s.begun {
			return s.readJPEG()
		}
		if s.part {
			if err := s.toDelimiter(); err != nil {
				return nil, err
			}
		}
		s.part = true
		if image, err := s.readPart(); image != nil || err != nil {
			return image, err
		}
	}
}

// toDelimiter passes over what is left of a part, and its delimiter. That may
// stand right behind the image, without a line break.
func (s *splitter) toDelimiter() error {
	s.body.expect(0)
	s.body.fresh = true
	for {
		block, err := s.body.block()
		if err == errDelimiter {
			s.body.pass()
			s.found = true
			return nil
		}
		if err != nil {
			return err
		}
		s.body.drop(len(block))
	}
}

// readPart returns the image in a part: neither an image nor an error if none
// was to be expected.
func (s *splitter) readPart() ([]byte, error) {
	header, err := s.readHeader()
	cut := err == errDelimiter || err == io.EOF
	switch {
	case !s.body.open && (err != nil || !header.isPart()), cut && header.lines == 0:
		return nil, nil
	case cut:
		return nil, skipped("cut short in its header")
	case err != nil:
		return nil, err
	}
	s.found = true
	switch {
	case header.text:
		return nil, s.discard(max(header.length, 0))
	case header.length == 0:
		return nil, skipped("empty")
	case header.length > s.most:
		if err := s.discard(header.length); err != nil {
			return nil, err
		}
		return nil, skipped("%d bytes, larger than %d", header.length, s.most)
	case header.length > 0:
		return s.readSized(int(header.length))
	}
	return s.readUnsized(header)
}

// readSized reads an image of known size.
func (s *splitter) readSized(size int) ([]byte, error) {
	image, err := s.upload.room(size)
	if err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(s.body, image); err != nil {
		return nil, s.cut(err)
	}
	return image, nil
}

func (s *splitter) discard(size int64) error {
	if _, err := io.CopyN(io.Discard, s.body, size); err != nil {
		return s.cut(err)
	}
	return nil
}

// readUnsized reads an image that ends where it says so, if it is a JPEG, or
// where the part does.
func (s *splitter) readUnsized(header partHeader) ([]byte, error) {
	s.body.expect(s.body.dashes)
	marked := s.accept(0xff)
	switch {
	case marked && s.accept(soi):
		return s.readJPEG()
	case header.bare:
		if _, err := s.body.block(); err != nil {
			return nil, s.cut(err)
		}
		return nil, skipped("neither a header nor a JPEG")
	}
	s.begin()
	defer s.end()
	if marked {
		s.image.write([]byte{0xff})
	}
	for {
		block, err := s.body.block()
		if err != nil {
			return s.upTo(err, header)
		}
		s.take(block)
	}
}

// upTo returns the image that was read until err.
func (s *splitter) upTo(err error, header partHeader) ([]byte, error) {
	switch {
	case err == errDelimiter:
		s.image.trim('\r')
	case err != io.EOF:
		return nil, err
	}
	switch {
	case s.image.size > 0 || s.over:
		return s.whole()
	case header.lines == 0:
		return nil, nil
	}
	return nil, skipped("empty")
}

// partHeader is what matters of a part's header.
type partHeader struct {
	lines   int   // how many it has
	content bool  // one of them says something about the content
	odd     bool  // one of them is no name and value
	bare    bool  // the content begins where the header should
	text    bool  // the content is a text
	length  int64 // of the content, -1 if unknown
}

// isPart tells a part from a text before the first delimiter or behind the last.
func (h *partHeader) isPart() bool { return h.bare || h.content && !h.odd }

// readHeader reads up to the content. It fails with errDelimiter or io.EOF in a
// header that does not end.
func (s *splitter) readHeader() (partHeader, error) {
	h := partHeader{length: unknown}
	s.body.expectLines()
	for room := headerRoom; ; room -= len(s.line) {
		if block, err := s.body.block(); err == nil && block[0] == 0xff && h.lines == 0 {
			h.bare = true
			return h, nil
		}
		if err := s.readLine(room); err != nil {
			h.lines += min(len(s.line), 1)
			return h, err
		}
		line := bytes.TrimSpace(s.line)
		switch {
		case bytes.ContainsFunc(line, isControl):
			return h, skipped("its header is no text")
		case len(line) > 0:
			h.add(line)
		case h.lines > 0 || s.body.open:
			h.length = max(h.length, unknown)
			return h, nil
		}
	}
}

func isControl(r rune) bool { return r < ' ' && r != '\t' }

// readLine reads a line of at most room bytes.
func (s *splitter) readLine(room int) error {
	for s.line = s.line[:0]; ; {
		block, err := s.body.block()
		if err != nil {
			return err
		}
		end := bytes.IndexByte(block, '\n') + 1
		if end == 0 {
			end = len(block)
		}
		if end = min(end, room-len(s.line)); end == 0 {
			return skipped("its header is longer than %d bytes", headerRoom)
		}
		s.line = append(s.line, block[:end]...)
		s.body.drop(end)
		if s.line[len(s.line)-1] == '\n' {
			return nil
		}
	}
}

func (h *partHeader) add(line []byte) {
	name, value, ok := bytes.Cut(line, []byte(":"))
	name, value = bytes.ToLower(bytes.TrimSpace(name)), bytes.TrimSpace(value)
	h.lines++
	h.odd = h.odd || !ok
	h.content = h.content || ok && bytes.HasPrefix(name, []byte("content-"))
	switch string(name) {
	case "content-length":
		h.addLength(string(value))
	case "content-type":
		kind, _, _ := strings.Cut(strings.ToLower(string(value)), ";")
		h.text = strings.HasPrefix(kind, "text/") || strings.TrimSpace(kind) == "application/json"
	}
}

// addLength takes a length that is none, or another than before, for unknown.
func (h *partHeader) addLength(value string) {
	n, err := strconv.ParseUint(value, 10, 63)
	if length := int64(n); err == nil && (h.length == unknown || h.length == length) {
		h.length = length
	} else {
		h.length = contradictory
	}
}
