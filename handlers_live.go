package main

import (
	"cmp"
	"context"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/image-streamer/image-streamer/internal/httpserver"
	"github.com/image-streamer/image-streamer/internal/live"
	"github.com/image-streamer/image-streamer/internal/queue"
)

// firstFrameWithin is how long a viewer waits to know what to show. A queue that does not answer makes it a 503 then.
const firstFrameWithin = 2 * time.Second

// handleStream sends every image as a part of an MJPEG stream, from the newest on, and removes none. A viewer that is
// slow skips frames.
func (s *server) handleStream(w http.ResponseWriter, r *http.Request) error {
	if r.URL.Query().Get("action") == "snapshot" { // the spelling of mjpg-streamer
		return s.handleSnapshot(w, r)
	}
	id, q, err := s.parseRead(r)
	if err != nil {
		return err
	}
	if r.Method == http.MethodHead {
		live.SetHeaders(w.Header(), r)
		return nil
	}
	release, err := s.viewers.TryAcquire(s.metrics.viewers)
	if err != nil {
		return err
	}
	defer release()
	feed, leave := s.hub.Join(id)
	defer leave()
	ctx, cancel := context.WithTimeout(r.Context(), firstFrameWithin)
	defer cancel()
	if err := feed.Ready(ctx); err != nil {
		return err
	}
	live.SetHeaders(w.Header(), r)
	live.LimitBuffer(r)
	return live.Show(r.Context(), s.draining, w, feed, live.ViewerOptions{
		Interval:  q.interval,
		HeadAhead: isChromiumView(r),
		Shown:     s.metrics.countFrame,
	})
}

// isChromiumView reports whether an <img> or a window of Chromium asks. A script in Chromium accepts no image by name,
// and may need the length of each part.
func isChromiumView(r *http.Request) bool {
	return strings.Contains(r.UserAgent(), "Chrome/") && strings.Contains(r.Header.Get("Accept"), "image/")
}

// handleSnapshot answers with the newest image and removes nothing. With a wait it answers with the next image, unless
// max_age says that the newest one is new enough.
func (s *server) handleSnapshot(w http.ResponseWriter, r *http.Request) error {
	id, q, err := s.parseRead(r)
	if err != nil {
		return err
	}
	if r.Method == http.MethodHead {
		return s.peek(w, r, id, q, q.newest())
	}
	image, err := s.snapshot(r, id, q)
	return s.writeImage(w, r, image, q, err)
}

func (s *server) snapshot(r *http.Request, id string, q readQuery) (heldImage, error) {
	if q.wait == 0 {
		return s.load(r.Context(), id, q.newest())
	}
	feed, leave := s.hub.Join(id)
	defer leave()
	if q.maxAge != nil {
		if image, err := s.load(r.Context(), id, q.newest()); err != queue.ErrEmpty {
			return image, err
		}
	}
	newest, err := s.queue.Find(r.Context(), id, queue.Newest)
	if err != nil && err != queue.ErrEmpty {
		return heldImage{}, err
	}
	return s.awaitNewer(r, feed, q.wait, newest)
}

// following returns the oldest image after the reader's place. With a wait it waits for one.
func (s *server) following(r *http.Request, id string, q readQuery) (heldImage, error) {
	which := q.oldest()
	image, err := s.load(r.Context(), id, which)
	if err != queue.ErrEmpty || q.wait == 0 {
		return image, err
	}
	feed, leave := s.hub.Join(id)
	defer leave()
	newest, err := s.queue.Find(r.Context(), id, queue.Newest)
	if err != nil && err != queue.ErrEmpty {
		return heldImage{}, err
	}
	// Read again after joining the feed: an image pushed in between would be missed otherwise.
	image, err = s.load(r.Context(), id, which)
	if err != queue.ErrEmpty {
		return image, err
	}
	image, err = s.awaitNewer(r, feed, q.wait, newest)
	if err != nil || image.Sequence <= which.After+1 { // no image is in between, or the sequence has started again
		return image, err
	}
	older, err := s.load(r.Context(), id, which)
	if err == queue.ErrEmpty {
		return image, nil
	}
	image.release()
	return older, err
}

// awaitNewer returns the first live image of a feed that is newer than a known one. A feed shows an image for a moment
// after it has expired.
func (s *server) awaitNewer(r *http.Request, feed *live.Feed, wait time.Duration, known queue.Ref) (heldImage, error) {
	ctx, cancel, err := s.waitContext(r, wait)
	if err != nil {
		return heldImage{}, err
	}
	defer cancel()
	for {
		frame, changed := feed.Latest()
		if frame != nil && frame.Image != nil && !frame.Expired() && frame.Image.NewerThan(known) && frame.Retain() {
			return heldImage{*frame.Image, frame.Release}, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return heldImage{}, queue.ErrEmpty
		}
	}
}

// viewerLimit bounds the requests that stay: streams and waiting reads share MAX_VIEWERS.
type viewerLimit struct {
	max   int // 0: no limit
	slots *semaphore.Weighted
}

func newViewerLimit(limit int) *viewerLimit {
	return &viewerLimit{limit, semaphore.NewWeighted(cmp.Or(int64(limit), math.MaxInt64))}
}

// TryAcquire admits a request, which kind counts, or refuses it with 503. release must be called.
func (l *viewerLimit) TryAcquire(kind prometheus.Gauge) (release func(), err error) {
	if !l.slots.TryAcquire(1) {
		return nil, httpserver.Errorf(http.StatusServiceUnavailable, "too many viewers: "+
			"allowed are %d streams and waiting reads at once; try again, or without wait", l.max)
	}
	kind.Inc()
	return func() {
		kind.Dec()
		l.slots.Release(1)
	}, nil
}
