package live

import (
	"bytes"
	"fmt"
	"net/http"
	"time"

	"github.com/image-streamer/image-streamer/internal/queue"
)

// The form of an MJPEG stream. Viewers differ in what they need: one takes the boundary as it stands in the header,
// one paints when it sees the next boundary, one needs Content-Length and paints at the first byte after the image.
// So each part is sent together with the boundary that follows it, in one write. Chromium paints only when it has the
// head of the next part: see ViewerOptions.HeadAhead.
const (
	boundary    = "boundarydonotcross"
	streamType  = "multipart/x-mixed-replace;boundary=" + boundary
	delimiter   = "--" + boundary + "\r\n"
	neverCached = "no-store, no-cache, must-revalidate, proxy-revalidate, pre-check=0, post-check=0, max-age=0"
	longExpired = "Mon, 3 Jan 2000 12:34:56 GMT"
	unbuffered  = "no" // of X-Accel-Buffering: the buffer of a proxy would add delay
)

// SetHeaders sets the headers of a stream. Its parts are not sent in chunks: chunks would be a second framing around
// the first, and a third of the cost.
func SetHeaders(h http.Header, r *http.Request) {
	h.Set("Content-Type", streamType)
	h.Set("Cache-Control", neverCached)
	h.Set("Pragma", "no-cache")
	h.Set("Expires", longExpired)
	h.Set("X-Accel-Buffering", unbuffered)
	if r.ProtoMajor == 1 {
		h.Set("Transfer-Encoding", "identity")
		h.Set("Connection", "close")
	}
}

// Encoder makes the parts of streams.
type Encoder struct {
	Type   string        // MIME type of the images
	NoData func() []byte // returns the JPEG that is shown without an image
}

// prepared returns an Encoder that uses the MIME type every viewer knows.
func (e Encoder) prepared() Encoder {
	if e.Type == "image/jpg" {
		e.Type = "image/jpeg"
	}
	return e
}

// Part is a frame as a part of a stream. All viewers share its bytes:
//
//	head | image | boundary | head of the next part
//
// The last piece goes only to viewers that get the head ahead. It has no length, because the next image is not known.
type Part struct {
	bytes []byte
	image int // where the image begins
	next  int // where the head of the next part begins
}

// part returns an image, or No Data for nil, as a part.
func (e Encoder) part(image *queue.Image) Part {
	if image == nil {
		return e.encode("image/jpeg", e.NoData(), time.Now())
	}
	return e.encode(e.Type, image.Data, image.Arrived)
}

func (e Encoder) encode(contentType string, data []byte, at time.Time) Part {
	var p Part
	var out bytes.Buffer
	out.Grow(len(data) + framing)
	fmt.Fprintf(&out, "Content-Type: %s\r\nContent-Length: %d\r\nX-Timestamp: %s\r\n\r\n",
		contentType, len(data), Timestamp(at))
	p.image = out.Len()
	out.Write(data)
	out.WriteString("\r\n" + delimiter)
	p.next = out.Len()
	// The next part may be No Data, and of another type: a viewer that gets the head ahead tells images by their bytes.
	out.WriteString("Content-Type: " + e.Type + "\r\n\r\n")
	p.bytes = out.Bytes()
	return p
}

// whole returns the part with the boundary behind it.
func (p Part) whole() []byte { return p.bytes[:p.next] }

// withNextHead returns the part with the head of the next one behind it, and its own head only if it is the first.
func (p Part) withNextHead(first bool) []byte {
	if first {
		return p.bytes
	}
	return p.bytes[p.image:]
}

// Timestamp writes a time in the form of the X-Timestamp header: Unix seconds with six decimals.
func Timestamp(t time.Time) string {
	us := t.UnixMicro()
	return fmt.Sprintf("%d.%06d", us/1e6, us%1e6)
}
