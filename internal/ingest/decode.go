package ingest

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/image-streamer/image-streamer/internal/httpserver"
)

// dataURL begins an image that a page made: canvas.toDataURL returns such a text.
const dataURL = "data:image/"

// maxDataURLHead is how long a data URL may be up to its comma.
const maxDataURLHead = 256

func isDataURL(first []byte) bool {
	return len(first) >= len(dataURL) && strings.EqualFold(string(first[:len(dataURL)]), dataURL)
}

// isPlain reports whether a transfer encoding leaves the bytes as they are.
func isPlain(encoding string) bool {
	switch encoding {
	case "", "binary", "8bit", "7bit":
		return true
	}
	return false
}

// textSize is how large an image of n bytes may be as text.
func textSize(n int64) int64 { return n + n/2 + maxDataURLHead }

// decodeText returns the bytes of an image that may be sent as text: as a data URL or in base64.
func decodeText(source io.Reader, encoding string) io.Reader {
	return &textReader{text: bufio.NewReader(source), encoding: encoding}
}

// textReader reads nothing before its first Read: the memory for the image is to be reserved before that.
type textReader struct {
	text     *bufio.Reader
	encoding string
	image    io.Reader // nil before the first read
}

// Read implements io.Reader.
func (r *textReader) Read(p []byte) (n int, err error) {
	if r.image == nil {
		if r.image, err = r.open(); err != nil {
			return 0, err
		}
	}
	return r.image.Read(p)
}

// open finds out how the image is sent. Bytes that begin as an image are one, whatever their encoding is said to be.
func (r *textReader) open() (io.Reader, error) {
	first, _ := r.text.Peek(sniffLength) // Read returns the error of Peek again
	switch {
	case isDataURL(first):
		if err := r.skipDataURLHead(); err != nil {
			return nil, err
		}
	case beginsAsImage(first), isPlain(r.encoding):
		return r.text, nil
	case r.encoding != "base64":
		return nil, httpserver.Errorf(http.StatusUnsupportedMediaType,
			"Content-Transfer-Encoding %.40s: allowed is base64, or none", r.encoding)
	}
	return base64.NewDecoder(base64.RawStdEncoding, &base64Filter{text: r.text}), nil
}

// skipDataURLHead moves on to the text in base64 of a data URL.
func (r *textReader) skipDataURLHead() error {
	head, _ := r.text.Peek(maxDataURLHead)
	end := bytes.IndexByte(head, ',')
	if end < 0 || !bytes.HasSuffix(bytes.ToLower(head[:end]), []byte(";base64")) {
		return errors.New("a data URL that is not in base64")
	}
	r.text.Discard(end + 1)
	return nil
}

// decodeImage returns an image that was read, and may be a data URL. The text is held until the image is decoded.
func decodeImage(image []byte, maxBytes int64, u *Upload) ([]byte, error) {
	if !isDataURL(image) {
		return image, nil
	}
	if err := u.Reserve(3 * int64(len(image))); err != nil {
		return nil, err
	}
	return readToEnd(decodeText(bytes.NewReader(image), ""), maxBytes, u)
}

// base64Filter leaves out of a text what the decoder does not expect: white space and padding, behind which no more may
// come. It writes the alphabet for URLs as the common one.
type base64Filter struct {
	text   io.Reader
	padded bool
}

// Read implements io.Reader.
func (f *base64Filter) Read(p []byte) (int, error) {
	for {
		n, err := f.text.Read(p)
		kept := p[:0]
		for _, b := range p[:n] {
			switch {
			case strings.IndexByte(" \t\r\n", b) >= 0:
			case b == '=':
				f.padded = true
			case f.padded:
				kept = append(kept, '=') // which the decoder refuses
			case b == '-':
				kept = append(kept, '+')
			case b == '_':
				kept = append(kept, '/')
			default:
				kept = append(kept, b)
			}
		}
		if len(kept) > 0 || err != nil {
			return len(kept), err
		}
	}
}

// decodeBody returns a body without its Content-Encoding, and whether it has one.
func decodeBody(body io.Reader, h http.Header) (decoded io.Reader, encoded bool, err error) {
	var codings []string
	for coding := range strings.SplitSeq(strings.Join(h.Values("Content-Encoding"), ","), ",") {
		if coding = strings.ToLower(strings.TrimSpace(coding)); coding != "" && coding != "identity" {
			codings = append(codings, coding)
		}
	}
	switch coding := strings.Join(codings, ", "); coding {
	case "":
		return body, false, nil
	case "gzip", "x-gzip":
		return &inflater{source: bufio.NewReader(body), open: openGzip}, true, nil
	case "deflate":
		return &inflater{source: bufio.NewReader(body), open: openDeflate}, true, nil
	default:
		return nil, false, httpserver.Errorf(http.StatusUnsupportedMediaType,
			"Content-Encoding %.40s: allowed is one of gzip, deflate and identity", coding)
	}
}

// inflater is a body without its Content-Encoding. The end of the encoding has to be that of the body.
type inflater struct {
	source *bufio.Reader
	open   func(*bufio.Reader) (io.Reader, error)
	data   io.Reader // nil before the first read
	ended  bool      // the data has come to its end, and the source may have more
	err    error
}

// openGzip reads one member of a gzip body.
func openGzip(source *bufio.Reader) (io.Reader, error) {
	member, err := gzip.NewReader(source)
	if err != nil {
		return nil, err
	}
	member.Multistream(false)
	return member, nil
}

// openDeflate reads both what the standard calls deflate, which is zlib's format, and what many senders took it for.
func openDeflate(source *bufio.Reader) (io.Reader, error) {
	head, err := source.Peek(2)
	if err != nil {
		return nil, err
	}
	if head[0]&0x0f == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 {
		return zlib.NewReader(source)
	}
	return flate.NewReader(source), nil
}

// Read implements io.Reader. What was decoded is returned before the source is asked whether it has more.
func (f *inflater) Read(p []byte) (n int, err error) {
	for n == 0 && f.err == nil && len(p) > 0 {
		switch {
		case f.data == nil:
			f.data, f.err = f.open(f.source)
		case f.ended:
			f.ended, f.err = false, f.reopen()
		default:
			n, f.err = f.data.Read(p)
			if f.ended = f.err == io.EOF; f.ended {
				f.err = nil
			}
		}
	}
	if n > 0 {
		return n, nil
	}
	return 0, f.err
}

// reopen goes on with the next member of a gzip body. It returns io.EOF if the body has ended.
func (f *inflater) reopen() error {
	if member, ok := f.data.(*gzip.Reader); ok {
		err := member.Reset(f.source)
		member.Multistream(false)
		return err
	}
	if _, err := f.source.ReadByte(); err != nil {
		return err
	}
	return errors.New("bytes behind the end of the Content-Encoding")
}
