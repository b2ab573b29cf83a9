package main

import (
	"context"
	"net/http"
	"strings"
	"time"
)

const (
	// viewerLimit is how long a viewer may take for one frame.
	viewerLimit = 10 * time.Second

	// viewerBuffer is what the kernel holds of a stream for a slow viewer, more or
	// less: what it holds is lag.
	viewerBuffer = 64 << 10

	// paintAfter is when a browser that paints a part only at the next one gets it
	// again, if no other has come.
	paintAfter = 100 * time.Millisecond
)

// handleStream sends every image as a part of an MJPEG stream, from the newest on,
// and takes none. A viewer that is slow skips frames.
func (s *server) handleStream(w http.ResponseWriter, r *http.Request) error {
	if r.URL.Query().Get("action") == "snapshot" { // as viewers of mjpg-streamer write it
		return s.handleSnapshot(w, r)
	}
	session, q, err := s.asked(r)
	if err != nil {
		return err
	}
	if r.Method == http.MethodHead {
		streamHeaders(w.Header(), r)
		return nil
	}
	giveUp, err := s.seats.view()
	if err != nil {
		return err
	}
	defer giveUp()
	feed, leave := s.feeds.join(session)
	defer leave()
	if err := awaitPicture(r, feed); err != nil {
		return err
	}
	streamHeaders(w.Header(), r)
	limitBuffer(r)
	v := viewer{w: w, rc: http.NewResponseController(w), metrics: s.metrics, gap: q.gap}
	v.twice = q.gap == 0 && strings.Contains(r.UserAgent(), "Chrome/")
	return v.watch(r.Context(), s.stopping, feed)
}

// limitBuffer has the kernel hold little of what goes to a viewer. Over HTTP/2 the
// other requests of the connection share that.
func limitBuffer(r *http.Request) {
	if conn := connOf(r); conn != nil {
		conn.SetWriteBuffer(viewerBuffer)
	}
}

// streamHeaders describes a stream. Its parts are not chunked: that would be a
// second framing around the first, and a third of the cost.
func streamHeaders(h http.Header, r *http.Request) {
	h.Set("Content-Type", streamType)
	h.Set("Cache-Control", neverCached)
	h.Set("Pragma", "no-cache")
	h.Set("Expires", longExpired)
	h.Set("X-Accel-Buffering", noProxyQueue)
	if r.ProtoMajor == 1 {
		h.Set("Transfer-Encoding", "identity")
		h.Set("Connection", "close")
	}
}

// awaitPicture waits until a feed that may be new knows what to show.
func awaitPicture(r *http.Request, feed *feed) error {
	ctx, cancel := context.WithTimeout(r.Context(), callTimeout-repeatAfter/2) // a 503 in time
	defer cancel()
	for {
		shown, changed := feed.latest()
		if shown != nil {
			return nil
		}
		feed.ask()
		select {
		case <-changed:
		case <-ctx.Done():
			return errUnavailable
		}
	}
}

// viewer is one who watches a stream.
type viewer struct {
	w       http.ResponseWriter
	rc      *http.ResponseController
	metrics *metrics
	gap     time.Duration // between two frames, at least
	due     time.Time     // of the next one
	twice   bool          // it paints a part when the header of the next one has come: Chromium
}

// watch sends what the feed shows until the viewer goes, is too slow, or the
// server stops: then the stream ends behind a whole frame.
func (v *viewer) watch(ctx, stopping context.Context, feed *feed) error {
	if _, err := v.w.Write([]byte(delimiter)); err != nil {
		return cutShort(err)
	}
	var sent picture
	var again <-chan time.Time
	for {
		shown, changed := feed.latest()
		stale := shown.frame.sequence > 0 && time.Now().After(shown.frame.expiry)
		wait := again
		switch early := time.Until(v.due); {
		case shown.serial == sent.serial || stale:
		case early > 0:
			wait, changed = time.After(early), nil
		default:
			if err := v.send(shown.part); err != nil {
				return err
			}
			v.count(sent.frame.sequence, shown.frame.sequence)
			again = nil
			if v.twice && shown.frame.sequence != sent.frame.sequence {
				again = time.After(paintAfter)
			}
			sent = *shown
			continue
		}
		select {
		case <-changed:
		case <-wait:
			again, sent.serial = nil, 0
		case <-ctx.Done():
			return cutShort(ctx.Err())
		case <-stopping.Done():
			return nil
		}
	}
}

// send writes a part, and notes when the next one is due.
func (v *viewer) send(part []byte) error {
	now := time.Now()
	if v.gap > 0 {
		v.due = v.due.Add(v.gap)
		if now.Sub(v.due) > v.gap { // it was slow, or it is the first
			v.due = now.Add(v.gap)
		}
	}
	if err := v.rc.SetWriteDeadline(now.Add(viewerLimit)); err != nil {
		return cutShort(err)
	}
	if _, err := v.w.Write(part); err != nil {
		return cutShort(err)
	}
	return cutShort(v.rc.Flush())
}

// count counts a frame that was sent behind another one. No Data, and a frame that
// is sent again, count for nothing.
func (v *viewer) count(last, now int64) {
	if now == 0 || now == last {
		return
	}
	v.metrics.framesSent.Inc()
	if last > 0 && now > last+1 {
		v.metrics.framesSkipped.Add(float64(now - last - 1))
	}
}
