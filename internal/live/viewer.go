package live

import (
	"context"
	"net/http"
	"time"

	"github.com/image-streamer/image-streamer/internal/httpserver"
)

const (
	// viewerBuffer is how many bytes of a stream the kernel holds for a slow viewer, more or less. Bytes that wait there
	// are delay.
	viewerBuffer = 64 << 10
)

// ViewerOptions say how one viewer is served.
type ViewerOptions struct {
	Interval  time.Duration       // between two frames, on average at least; 0: none
	HeadAhead bool                // send the head of a part with the part before: Chromium paints that part then
	Shown     func(skipped int64) // nil, or called for each new image sent; skipped: images since the one before
}

// LimitBuffer makes the kernel hold little of what goes to a viewer. The limit is one of the connection: over HTTP/2
// it applies to all requests that share the connection.
func LimitBuffer(r *http.Request) {
	if conn := httpserver.Conn(r); conn != nil {
		conn.SetWriteBuffer(viewerBuffer)
	}
}

// viewer is the sending end of one stream.
type viewer struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	opts ViewerOptions

	serial   int       // of the last frame sent; 0 before the first one
	sequence int64     // of the image in that frame; 0 for No Data, and before the first frame
	due      time.Time // the next frame goes out then, or later
}

// Show sends a viewer the frames of a feed that is Ready, and skips those that the viewer is too slow for. It returns
// httpserver.ErrAborted when the viewer has gone or an image expires while it is sent. Once draining is closed it
// returns nil, behind a whole frame.
func Show(
	ctx context.Context, draining <-chan struct{}, w http.ResponseWriter, f *Feed, opts ViewerOptions,
) error {
	v := &viewer{w: w, rc: http.NewResponseController(w), opts: opts}
	if _, err := w.Write([]byte(delimiter)); err != nil {
		return httpserver.Aborted(err)
	}
	return v.run(ctx, draining, f)
}

// run sends the newest frame whenever the viewer is ready for one and has not seen it.
func (v *viewer) run(ctx context.Context, draining <-chan struct{}, f *Feed) error {
	for !isClosed(draining) {
		frame, changed := f.Latest()
		var due <-chan time.Time
		if v.wants(frame) {
			early := time.Until(v.due)
			if early <= 0 {
				if err := v.sendRetained(frame); err != nil {
					return err
				}
				continue
			}
			due, changed = time.After(early), nil // frames that come before are skipped
		}
		select {
		case <-changed:
		case <-due:
		case <-draining:
		case <-ctx.Done():
			return httpserver.Aborted(ctx.Err())
		}
	}
	return nil
}

// isClosed reports whether draining is closed. run asks before each frame, because there always is a next frame for a
// viewer that is slower than the images come: run would never get to wait for draining.
func isClosed(draining <-chan struct{}) bool {
	select {
	case <-draining:
		return true
	default:
		return false
	}
}

// wants reports whether a frame has to be sent. An expired image is not sent: the feed is about to show No Data. Nil is
// not: the feed is about to show the next image.
func (v *viewer) wants(frame *Frame) bool {
	return frame != nil && frame.Serial != v.serial && !frame.Expired()
}

// sendRetained sends a frame, unless the feed has just given it up for another one.
func (v *viewer) sendRetained(frame *Frame) error {
	if !frame.Retain() {
		return nil
	}
	defer frame.Release()
	return v.send(frame)
}

// send sends a frame, and decides when the next one is due.
func (v *viewer) send(frame *Frame) error {
	now := time.Now()
	if v.opts.Interval > 0 {
		v.due = nextDue(v.due, now, v.opts.Interval)
	}
	if err := v.write(frame); err != nil {
		return err
	}
	last := v.sequence
	v.serial, v.sequence = frame.Serial, frame.sequence()
	if v.sequence > 0 && v.sequence != last && v.opts.Shown != nil {
		v.opts.Shown(skipped(last, v.sequence))
	}
	return nil
}

// form returns a part in the form that the viewer needs.
func (v *viewer) form(p Part) []byte {
	if v.opts.HeadAhead {
		return p.withNextHead(v.serial == 0)
	}
	return p.whole()
}

// nextDue returns when the next frame is due. due is when the frame that is sent now was due. A viewer that is late by
// more than an interval, as every viewer is with its first frame, does not catch up.
func nextDue(due, now time.Time, interval time.Duration) time.Time {
	due = due.Add(interval)
	if now.Sub(due) > interval {
		return now.Add(interval)
	}
	return due
}

// write writes a frame, for as long as its image lives.
func (v *viewer) write(frame *Frame) error {
	var end time.Time
	if frame.Image != nil {
		end = frame.Image.Expires
	}
	if err := v.rc.SetWriteDeadline(end); err != nil {
		return httpserver.Aborted(err)
	}
	if _, err := v.w.Write(v.form(frame.Part)); err != nil {
		return httpserver.Aborted(err)
	}
	return httpserver.Aborted(v.rc.Flush())
}

// skipped returns how many images lie between two that were sent one after the other. After No Data, and where the
// sequence has started again, that is not known and counts as 0.
func skipped(last, now int64) int64 {
	if last == 0 { // No Data
		return 0
	}
	return max(now-last-1, 0)
}
