package main

import (
	"net/http"
	"strings"
	"time"
)

// asFile lets a session be called as if it were a file: viewers ask for x.jpg.
func asFile(h handlerFunc) handlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		r.SetPathValue("session", strings.TrimSuffix(r.PathValue("session"), ".jpg"))
		return h(w, r)
	}
}

// handleSnapshot answers with the newest image and removes nothing. With wait it is
// the next image, unless max_age says that the newest is new enough.
func (s *server) handleSnapshot(w http.ResponseWriter, r *http.Request) error {
	session, q, err := s.asked(r)
	if err != nil {
		return err
	}
	if r.Method == http.MethodHead {
		f, err := s.queue.Look(r.Context(), session, q.newest())
		return s.writeImage(w, f, q, err)
	}
	f, err := s.snapshot(r, session, q)
	return s.writeImage(w, f, q, err)
}

// newest returns the pick of a snapshot.
func (q reading) newest() pick {
	which := pick{newest: true, popped: true}
	if q.maxAge != nil {
		which.within = max(*q.maxAge, 1) // 0 would be no bound
	}
	return which
}

func (s *server) snapshot(r *http.Request, session string, q reading) (frame, error) {
	if q.wait == 0 {
		return read(r.Context(), s.queue, session, q.newest())
	}
	feed, leave := s.feeds.join(session)
	defer leave()
	if q.maxAge != nil {
		if f, err := read(r.Context(), s.queue, session, q.newest()); err != errEmpty {
			return f, err
		}
	}
	before, err := s.queue.Look(r.Context(), session, pick{newest: true, popped: true})
	if err != nil && err != errEmpty {
		return frame{}, err
	}
	return s.await(r, feed, q.wait, func(f frame) bool { return f.newerThan(before) })
}

// following returns the oldest image after the reader's place, and waits for one
// if it has to and may.
func (s *server) following(r *http.Request, session string, q reading) (frame, error) {
	which := pick{after: *q.after, popped: true}
	f, err := read(r.Context(), s.queue, session, which)
	if err != errEmpty || q.wait == 0 {
		return f, err
	}
	feed, leave := s.feeds.join(session)
	defer leave()
	newest, err := s.queue.Look(r.Context(), session, pick{newest: true, popped: true})
	if err != nil && err != errEmpty {
		return frame{}, err
	}
	f, err = read(r.Context(), s.queue, session, which) // looked at last: what comes from here on is newer
	if err != errEmpty {
		return f, err
	}
	f, err = s.await(r, feed, q.wait, func(f frame) bool { return f.newerThan(newest) })
	if err != nil || f.sequence <= which.after+1 { // none is in between, or the sequence began again
		return f, err
	}
	if older, err := read(r.Context(), s.queue, session, which); err != errEmpty {
		return older, err
	}
	return f, nil
}

// await returns the first image that a feed shows and that is wanted.
func (s *server) await(r *http.Request, feed *feed, wait time.Duration, wanted func(frame) bool) (frame, error) {
	ctx, cancel, err := s.patience(r, wait)
	if err != nil {
		return frame{}, err
	}
	defer cancel()
	for {
		shown, changed := feed.latest()
		if shown != nil && shown.frame.sequence > 0 && wanted(shown.frame) {
			return shown.frame, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return frame{}, errEmpty
		}
	}
}
