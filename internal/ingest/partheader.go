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
	lines      int    // how many were read
	last       string // name of the last line, if it matters
	hasContent bool   // a line says something about the content
	malformed  bool   // a line is not a name and a value
	missing    bool   // the content stands in the place of the header
	length     int64  // of the content

	mimeType string // of the content, in lower case; empty: not given, or no type
	boundary []byte // of a content that is multipart
	encoding string // for the transfer, in lower case

	disposed bool // it has a Content-Disposition
	isField  bool // its Content-Disposition is that of a field of a form
	isFile   bool // its Content-Disposition has a file name, which may be empty
	named    bool // the file name is not empty
}

// isPart reports whether the header is that of a part, and not text before the first delimiter or behind the last.
func (h *partHeader) isPart() bool { return h.missing || h.hasContent && !h.malformed }

// partKind is what a part is taken for.
type partKind int

const (
	noImage   partKind = iota
	mayBe              // neither header nor content says what it is: an image of a stream, and no file of a form
	otherFile          // a file of a type that may be an image's: the file of a form that has no other
	imageFile
)

// kind tells by the header, and by the first bytes of the content, what a part is.
func (h *partHeader) kind(first []byte) partKind {
	switch {
	case h.isImage(), beginsAsImage(first), isDataURL(first):
		return imageFile
	case h.mimeType == "" && h.isFile:
		return imageFile
	case h.mimeType == "" && !h.isField:
		return mayBe
	case h.named && !h.isOther():
		return otherFile
	}
	return noImage
}

// isOther reports whether the header says that the content is no image.
func (h *partHeader) isOther() bool {
	kind, subtype, _ := strings.Cut(h.mimeType, "/")
	switch kind {
	case "text", "audio", "video", "font", "message", "multipart":
		return true
	}
	for _, format := range []string{"json", "xml", "html", "javascript", "pdf", "zip"} {
		if strings.HasSuffix(subtype, format) {
			return true
		}
	}
	return false
}

// isImage reports whether the header alone says that the content is an image, or bytes.
func (h *partHeader) isImage() bool {
	return strings.HasPrefix(h.mimeType, "image/") || strings.HasSuffix(h.mimeType, "/octet-stream")
}

// readHeader reads up to the content. It fails with errDelimiter or io.EOF in a header that does not end.
func (p *partReader) readHeader() (partHeader, error) {
	h := partHeader{length: unknownLength}
	p.body.expectInHeader()
	for left := maxHeader; ; left -= len(p.line) {
		if block, err := p.body.block(); err == nil && block[0] == 0xff && h.lines == 0 {
			h.missing = true
			return h, nil
		}
		if err := p.readLine(left); err != nil {
			h.lines += min(len(p.line), 1)
			return h, err
		}
		line := bytes.TrimSpace(p.line)
		switch {
		case bytes.ContainsFunc(line, isControl):
			return h, Skippedf("its header is not text")
		case len(line) > 0:
			h.add(line, p.line[0] == ' ' || p.line[0] == '\t')
		case h.lines > 0 || p.body.partFollows:
			h.length = max(h.length, unknownLength)
			return h, nil
		}
	}
}

func isControl(r rune) bool { return r < ' ' && r != '\t' }

// readLine reads a line of at most this many bytes.
func (p *partReader) readLine(most int) error {
	for p.line = p.line[:0]; ; {
		block, err := p.body.block()
		if err != nil {
			return err
		}
		end := bytes.IndexByte(block, '\n') + 1
		if end == 0 {
			end = len(block)
		}
		if end = min(end, most-len(p.line)); end == 0 {
			return Skippedf("its header is longer than %d bytes", maxHeader)
		}
		p.line = append(p.line, block[:end]...)
		p.body.drop(end)
		if p.line[len(p.line)-1] == '\n' {
			return nil
		}
	}
}

// add notes what a line says. A folded line goes on with the parameters of the line before.
func (h *partHeader) add(line []byte, folded bool) {
	if folded && h.lines > 0 {
		h.addParameters(string(line))
		return
	}
	name, text, ok := bytes.Cut(line, []byte(":"))
	h.last = strings.ToLower(string(bytes.TrimSpace(name)))
	h.lines++
	h.malformed = h.malformed || !ok
	h.hasContent = h.hasContent || ok && strings.HasPrefix(h.last, "content-")
	switch value := string(bytes.TrimSpace(text)); h.last {
	case "content-length":
		h.addLength(value)
	case "content-type":
		h.addType(value)
	case "content-disposition":
		disposition, params := cutName(value)
		h.disposed, h.isField = true, strings.EqualFold(disposition, "form-data")
		h.addParameters(params)
	case "content-transfer-encoding":
		h.encoding = strings.ToLower(value)
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

// addType notes a type, if it is one.
func (h *partHeader) addType(value string) {
	name, params := cutName(value)
	if name = strings.ToLower(name); strings.Contains(name, "/") {
		h.mimeType = name
		h.addParameters(params)
	}
}

// addParameters notes the parameters of the last line, or some of them.
func (h *partHeader) addParameters(params string) {
	switch {
	case h.last == "content-type" && isMultipart(h.mimeType) && h.boundary == nil:
		boundary, _ := parameter(params, "boundary")
		h.boundary = trimBoundary(boundary)
	case h.last == "content-disposition":
		for _, name := range []string{"filename", "filename*"} {
			value, found := parameter(params, name)
			h.isFile = h.isFile || found
			h.named = h.named || value != ""
		}
	}
}
