package main

import (
	"bytes"
	"fmt"
	"sync"
	"time"
)

// The form of an MJPEG stream. Viewers differ in what they need: one takes the
// boundary as it stands in the header, one paints when it sees the next boundary,
// one needs Content-Length and paints at the first byte after the image. So each
// part is sent with the boundary that follows it, in one piece. Chromium paints
// when it has the header of the next part: see viewer.
const (
	boundary     = "boundarydonotcross"
	streamType   = "multipart/x-mixed-replace;boundary=" + boundary
	delimiter    = "--" + boundary + "\r\n"
	neverCached  = "no-store, no-cache, must-revalidate, proxy-revalidate, pre-check=0, post-check=0, max-age=0"
	longExpired  = "Mon, 3 Jan 2000 12:34:56 GMT"
	noProxyQueue = "no" // of X-Accel-Buffering: a proxy's buffer would be lag
)

// partMaker makes the parts of streams.
type partMaker struct {
	kind   string // of the images
	noData func() []byte
}

func newPartMaker(cfg config) partMaker {
	kind := cfg.mimeType
	if kind == "image/jpg" {
		kind = "image/jpeg" // the name that every viewer knows
	}
	return partMaker{kind, sync.OnceValue(func() []byte { return noDataJPEG(cfg.width(), cfg.height) })}
}

// part returns an image, or No Data for one without a sequence, as a part with the
// boundary behind it.
func (m partMaker) part(f frame) []byte {
	kind, data, at := m.kind, f.data, f.arrival
	if f.sequence == 0 {
		kind, data, at = "image/jpeg", m.noData(), time.Now()
	}
	var out bytes.Buffer
	out.Grow(len(data) + 200)
	fmt.Fprintf(&out, "Content-Type: %s\r\nContent-Length: %d\r\nX-Timestamp: %s\r\n\r\n", kind, len(data), timestamp(at))
	out.Write(data)
	out.WriteString("\r\n" + delimiter)
	return out.Bytes()
}

// timestamp writes a time as X-Timestamp has it: Unix seconds with six decimals.
func timestamp(t time.Time) string {
	us := t.UnixMicro()
	return fmt.Sprintf("%d.%06d", us/1e6, us%1e6)
}
