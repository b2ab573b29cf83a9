package ingest

import (
	"bytes"
	"strconv"
	"strings"
)

// maxHeader is how long the header of a part may be.
const maxHeader = 8 << 10

// The length of a part whose header does not give one that is of use.
const (
	unknownLength       = -1
	contradictoryLength = -2
)

// partHeader is what matters of the header of a part.
type partHeader struct {
	lines      int   // how many were read
	hasContent bool  // a line says something about the content
	malformed  bool  // a line is not a name and a value
	missing    bool  // the content stands in the place of the header
	isText     bool  // the content is a text
	length     int64 // of the content
}

// isPart reports whether the header is that of a part, and not text before the first delimiter or behind the last.
func (h *partHeader) isPart() bool { return h.missing || h.hasContent && !h.malformed }

// readHeader reads up to the content. It fails with errDelimiter or io.EOF in a header that does not end.
func (s *Splitter) readHeader() (partHeader, error) {
	h := partHeader{length: unknownLength}
	s.body.expectInHeader()
	for left := maxHeader; ; left -= len(s.line) {
		if block, err := s.body.block(); err == nil && block[0] == 0xff && h.lines == 0 {
			h.missing = true
			return h, nil
		}
		if err := s.readLine(left); err != nil {
			h.lines += min(len(s.line), 1)
			return h, err
		}
		line := bytes.TrimSpace(s.line)
		switch {
		case bytes.ContainsFunc(line, isControl):
			return h, Skippedf("its header is not text")
		case len(line) > 0:
			h.add(line)
		case h.lines > 0 || s.body.partFollows:
			h.length = max(h.length, unknownLength)
			return h, nil
		}
	}
}

func isControl(r rune) bool { return r < ' ' && r != '\t' }

// readLine reads a line of at most this many bytes.
func (s *Splitter) readLine(most int) error {
	for s.line = s.line[:0]; ; {
		block, err := s.body.block()
		if err != nil {
			return err
		}
		end := bytes.IndexByte(block, '\n') + 1
		if end == 0 {
			end = len(block)
		}
		if end = min(end, most-len(s.line)); end == 0 {
			return Skippedf("its header is longer than %d bytes", maxHeader)
		}
		s.line = append(s.line, block[:end]...)
		s.body.drop(end)
		if s.line[len(s.line)-1] == '\n' {
			return nil
		}
	}
}

// add notes what a line says.
func (h *partHeader) add(line []byte) {
	name, value, ok := bytes.Cut(line, []byte(":"))
	name, value = bytes.ToLower(bytes.TrimSpace(name)), bytes.TrimSpace(value)
	h.lines++
	h.malformed = h.malformed || !ok
	h.hasContent = h.hasContent || ok && bytes.HasPrefix(name, []byte("content-"))
	switch string(name) {
	case "content-length":
		h.addLength(string(value))
	case "content-type":
		mimeType, _, _ := strings.Cut(strings.ToLower(string(value)), ";")
		h.isText = strings.HasPrefix(mimeType, "text/") || strings.TrimSpace(mimeType) == "application/json"
	}
}

// addLength notes a length. The length stays unknown if a line gives none that is a number, or two lines differ.
func (h *partHeader) addLength(value string) {
	n, err := strconv.ParseUint(value, 10, 63)
	if length := int64(n); err == nil && (h.length == unknownLength || h.length == length) {
		h.length = length
	} else {
		h.length = contradictoryLength
	}
}
