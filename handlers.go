package main

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// handleSession issues a fresh session id, with its publish key where there is one.
func (s *server) handleSession(w http.ResponseWriter, r *http.Request) error {
	issued := struct {
		Session string `json:"session"`
		Key     string `json:"key,omitempty"`
	}{Session: s.signer.newSession()}
	if !acceptsJSON(r) {
		return writeText(w, issued.Session)
	}
	if s.signer.exists() {
		issued.Key = s.signer.key(issued.Session)
	}
	return writeJSON(w, issued)
}

// handlePush stores the body as an image.
func (s *server) handlePush(w http.ResponseWriter, r *http.Request) error {
	session, err := sessionOf(r)
	if err != nil {
		return err
	}
	up := s.begin(r, s.pace)
	defer up.end()
	image, err := readImage(w, r, s.cfg.maxImage, up)
	if err != nil {
		return err
	}
	return s.push(w, r, session, image)
}

// handlePushForm stores the one file of a multipart form as an image.
func (s *server) handlePushForm(w http.ResponseWriter, r *http.Request) error {
	session, err := sessionOf(r)
	if err != nil {
		return err
	}
	up := s.begin(r, s.pace)
	defer up.end()
	image, err := readForm(w, r, s.cfg.maxImage, up)
	if err != nil {
		return err
	}
	return s.push(w, r, session, image)
}

// push is the common end of the two ways to send an image.
func (s *server) push(w http.ResponseWriter, r *http.Request, session string, image []byte) error {
	if err := s.check(image); err != nil {
		return err
	}
	stored, err := s.queue.Push(r.Context(), session, image)
	if err != nil {
		return err
	}
	if !acceptsJSON(r) {
		return writeNothing(w, http.StatusOK)
	}
	return writeJSON(w, struct {
		Session  string `json:"session"`
		Sequence int64  `json:"sequence"`
		Queued   int    `json:"queued"`
	}{session, stored.sequence, stored.queued})
}

// handlePop hands out the oldest image, or the one after the reader's own place.
func (s *server) handlePop(w http.ResponseWriter, r *http.Request) error {
	session, q, err := s.asked(r)
	if err != nil {
		return err
	}
	if q.after != nil {
		f, err := s.following(r, session, q)
		return s.writeImage(w, f, q, err)
	}
	f, err := s.pop(r, session, q.wait)
	if err != nil {
		return s.writeImage(w, f, q, err)
	}
	return s.deliver(w, r, f)
}

// handleTake is handlePop for those who keep to it that GET changes nothing. A body
// means nothing; it is read to its end, since only then net/http sees the consumer
// hang up.
func (s *server) handleTake(w http.ResponseWriter, r *http.Request) error {
	if _, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, 64<<10)); err != nil {
		return refuse(http.StatusBadRequest, "body cut short or too large: allowed is none, or one of up to 64 KiB, which means nothing")
	}
	http.NewResponseController(w).SetReadDeadline(time.Time{}) // it was for the body; the wait may be longer
	return s.handlePop(w, r)
}

// pop takes the oldest image, and waits for one if it has to and may.
func (s *server) pop(r *http.Request, session string, wait time.Duration) (frame, error) {
	if s.stopping.Err() != nil {
		return frame{}, errStopping
	}
	f, err := s.queue.Pop(r.Context(), session)
	if err != errEmpty || wait == 0 {
		return f, err
	}
	ctx, cancel, err := s.patience(r, wait)
	if err != nil {
		return frame{}, err
	}
	defer cancel()
	f, err = s.lines.pop(ctx, session)
	if conn := connOf(r); err == nil && conn != nil && hungUp(conn) {
		s.queue.Settle(f, false)
		return frame{}, cutShort(errHungUp)
	}
	return f, err
}

// deliver writes an image that was popped. One that could not be written whole
// goes back to its place.
func (s *server) deliver(w http.ResponseWriter, r *http.Request, f frame) error {
	delivered := false
	defer func() { s.queue.Settle(f, delivered) }()
	if r.Context().Err() != nil {
		return cutShort(errHungUp) // while the image was fetched
	}
	describe(w.Header(), f)
	err := writeBody(w, http.StatusOK, s.cfg.mimeType, f.data)
	delivered = err == nil
	return err
}

// handlePeek answers HEAD: the headers of the answer to GET, and nothing removed.
// It does not wait.
func (s *server) handlePeek(w http.ResponseWriter, r *http.Request) error {
	session, q, err := s.asked(r)
	if err != nil {
		return err
	}
	which := pick{}
	if q.after != nil {
		which = pick{after: *q.after, popped: true}
	}
	f, err := s.queue.Look(r.Context(), session, which)
	return s.writeImage(w, f, q, err)
}

// writeImage answers with an image that stays where it is, or as the empty queue
// does. Without its bytes an image answers HEAD.
func (s *server) writeImage(w http.ResponseWriter, f frame, q reading, err error) error {
	if err == errEmpty {
		return s.writeNoData(w, q.noData)
	}
	if err != nil {
		return err
	}
	describe(w.Header(), f)
	if f.data != nil {
		return writeBody(w, http.StatusOK, s.cfg.mimeType, f.data)
	}
	w.Header().Set("Content-Type", s.cfg.mimeType)
	w.Header().Set("Content-Length", strconv.Itoa(f.size))
	return nil
}

// describe sets the headers that tell about an image.
func describe(h http.Header, f frame) {
	h.Set("X-Sequence", strconv.FormatInt(f.sequence, 10))
	h.Set("X-Timestamp", timestamp(f.arrival))
	h.Set("X-Queue-Length", strconv.Itoa(f.left))
}

// writeNoData answers for an empty queue: with the image, whatever the status, but
// for the one that has no body.
func (s *server) writeNoData(w http.ResponseWriter, status int) error {
	h := w.Header()
	h.Set("X-No-Data", "true")
	h.Set("X-Queue-Length", "0")
	if status == http.StatusNoContent {
		return writeNothing(w, status)
	}
	return writeBody(w, status, "image/png", s.noData)
}

// handleHealth answers as long as the process serves.
func (s *server) handleHealth(w http.ResponseWriter, _ *http.Request) error {
	return writeText(w, "ok\n")
}

// handleReady answers 200 when the engine does.
func (s *server) handleReady(w http.ResponseWriter, r *http.Request) error {
	if err := s.queue.Ping(r.Context()); err != nil {
		return err
	}
	return writeText(w, "ok\n")
}

func (s *server) handleNotFound(http.ResponseWriter, *http.Request) error {
	return refuse(http.StatusNotFound, "no such path: there are /session, /image/{session}, /image/{session}/pop, /imageForm/{session}, /stream/{session}, /snapshot/{session}, /stats, /metrics, /healthz and /readyz")
}

// noSession refuses a path that ends where the session id should be.
func noSession(_ http.ResponseWriter, r *http.Request) error {
	_, err := sessionOf(r)
	return err
}

// otherMethods answers OPTIONS, a CORS preflight among them, and refuses the rest.
func otherMethods(allowed []string) handlerFunc {
	list := strings.Join(allowed, ", ")
	return func(w http.ResponseWriter, r *http.Request) error {
		h := w.Header()
		h.Set("Allow", list)
		if r.Method != http.MethodOptions {
			return refuse(http.StatusMethodNotAllowed, "method %s is not for this path: allowed are %s", r.Method, list)
		}
		h.Set("Access-Control-Allow-Methods", list)
		h.Set("Access-Control-Allow-Headers", "*, Authorization")
		h.Set("Access-Control-Max-Age", "86400")
		return writeNothing(w, http.StatusNoContent)
	}
}

// sessionOf returns the session id of the path.
func sessionOf(r *http.Request) (string, error) {
	id := r.PathValue("session")
	if !validSession(id) {
		return "", refuse(http.StatusBadRequest, "session id: allowed are %s", sessionRule)
	}
	return id, nil
}
