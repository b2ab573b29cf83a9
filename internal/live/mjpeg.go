package live

import (
	"bytes"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/image-streamer/image-streamer/internal/queue"
)

// The form of an MJPEG stream. Viewers differ in what they need: one takes the boundary as it stands in the header,
// one paints when it sees the next boundary, one needs Content-Length and paints at the first byte after the image.
// So each part is sent together with the boundary that follows it, in one write. Chromium paints only when it has the
// header of the next part: see ViewerOptions.Repaint.
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
	NoData func() []byte // returns the JPEG that is shown without an image; called once, when it is first needed
}

// prepared returns an Encoder that uses the MIME type every viewer knows, and keeps the No Data image.
func (e Encoder) prepared() Encoder {
	if e.Type == "image/jpg" {
		e.Type = "image/jpeg"
	}
	e.NoData = sync.OnceValue(e.NoData)
	return e
}

// part returns an image, or No Data for nil, as a part with the boundary behind it.
func (e Encoder) part(image *queue.Image) []byte {
	if image == nil {
		return encode("image/jpeg", e.NoData(), time.Now())
	}
	return encode(e.Type, image.Data, image.Arrived)
}

func encode(contentType string, data []byte, at time.Time) []byte {
	var out bytes.Buffer
	out.Grow(len(data) + 200)
	fmt.Fprintf(&out, "Content-Type: %s\r\nContent-Length: %d\r\nX-Timestamp: %s\r\n\r\n",
		contentType, len(data), Timestamp(at))
	out.Write(data)
	out.WriteString("\r\n" + delimiter)
	return out.Bytes()
}

// Timestamp writes a time in the form of the X-Timestamp header: Unix seconds with six decimals.
func Timestamp(t time.Time) string {
	us := t.UnixMicro()
	return fmt.Sprintf("%d.%06d", us/1e6, us%1e6)
}
