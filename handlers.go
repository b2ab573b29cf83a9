package main

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/image-streamer/image-streamer/internal/httpserver"
	"github.com/image-streamer/image-streamer/internal/ingest"
	"github.com/image-streamer/image-streamer/internal/live"
	"github.com/image-streamer/image-streamer/internal/queue"
)

// handleSession issues a fresh session id, with its publish key if there is a secret.
func (s *server) handleSession(w http.ResponseWriter, r *http.Request) error {
	issued := struct {
		Session string `json:"session"`
		Key     string `json:"key,omitempty"`
	}{Session: s.signer.New()}
	if !httpserver.AcceptsJSON(r) {
		return httpserver.WriteText(w, issued.Session)
	}
	if s.signer.Enabled() {
		issued.Key = s.signer.Key(issued.Session)
	}
	return httpserver.WriteJSON(w, issued)
}

// handlePush stores the body as an image.
func (s *server) handlePush(w http.ResponseWriter, r *http.Request) error {
	return s.push(w, r, ingest.ReadImage)
}

// handlePushForm stores the one file of a multipart form as an image.
func (s *server) handlePushForm(w http.ResponseWriter, r *http.Request) error {
	return s.push(w, r, ingest.ReadForm)
}

// bodyReader reads the image of a request.
type bodyReader func(w http.ResponseWriter, r *http.Request, maxBytes int64, u *ingest.Upload) ([]byte, error)

// push stores the image that read finds in the body.
func (s *server) push(w http.ResponseWriter, r *http.Request, read bodyReader) error {
	id, err := sessionOf(r)
	if err != nil {
		return err
	}
	upload := s.budget.Begin(r.Context(), s.bounds.image)
	defer upload.End()
	image, err := read(w, r, s.maxBytes, upload)
	if err != nil {
		return err
	}
	if err := s.checkImage(image); err != nil {
		return err
	}
	stored, err := s.queue.Push(r.Context(), id, image)
	if err != nil {
		return err
	}
	if !httpserver.AcceptsJSON(r) {
		return httpserver.WriteEmpty(w, http.StatusOK)
	}
	return httpserver.WriteJSON(w, struct {
		Session  string `json:"session"`
		Sequence int64  `json:"sequence"`
		Queued   int    `json:"queued"`
	}{id, stored.Sequence, stored.Queued})
}

// checkImage refuses, with CHECK_IMAGES, an image whose first bytes are not those of its type.
func (s *server) checkImage(image []byte) error {
	if s.checkImages && !ingest.BeginsAs(s.mimeType, image) {
		return httpserver.Errorf(http.StatusUnsupportedMediaType, "this does not begin as an image does that is %s: "+
			"allowed is that type; nothing was stored", s.mimeType)
	}
	return nil
}

// handlePop answers with the oldest image, or with the one after the reader's own place.
func (s *server) handlePop(w http.ResponseWriter, r *http.Request) error {
	id, q, err := s.parseRead(r)
	switch {
	case err != nil:
		return err
	case asksForTail(r.Header):
		return errTail
	}
	if q.after != nil {
		image, err := s.following(r, id, q)
		return s.writeImage(w, r, image, q, err)
	}
	d, err := s.pop(r, id, q.wait)
	if err != nil {
		return s.writeImage(w, r, heldImage{}, q, err)
	}
	return s.deliver(w, r, &d, q)
}

// handlePostPop is handlePop for clients that never repeat a POST by themselves. The body is ignored; it is read to
// its end, because only then net/http notices that the client hangs up.
func (s *server) handlePostPop(w http.ResponseWriter, r *http.Request) error {
	if _, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, 64<<10)); err != nil {
		return errPopBody
	}
	// The deadline was for the body; the wait for an image may be longer.
	http.NewResponseController(w).SetReadDeadline(time.Time{})
	return s.handlePop(w, r)
}

// pop takes the oldest image, unless others wait for it longer. With a wait it waits for one.
func (s *server) pop(r *http.Request, id string, wait time.Duration) (queue.Delivery, error) {
	if s.isDraining() {
		return queue.Delivery{}, errStopping
	}
	d, err := s.waiters.TryPop(r.Context(), id)
	if err != queue.ErrEmpty || wait == 0 {
		return d, err
	}
	ctx, cancel, err := s.waitContext(r, wait)
	if err != nil {
		return queue.Delivery{}, err
	}
	defer cancel()
	d, err = s.waiters.Pop(ctx, id)
	if conn := httpserver.Conn(r); err == nil && conn != nil && httpserver.HungUp(conn) {
		s.requeue(&d)
		return queue.Delivery{}, httpserver.Aborted(errHungUp)
	}
	return d, err
}

// isDraining reports whether the server has begun to stop.
func (s *server) isDraining() bool {
	select {
	case <-s.draining:
		return true
	default:
		return false
	}
}

// deliver writes an image that was taken. An image that could not be written whole goes back to its place, if it has
// not expired.
func (s *server) deliver(w http.ResponseWriter, r *http.Request, d *queue.Delivery, q readQuery) error {
	defer s.requeue(d)
	if r.Context().Err() != nil { // the client hung up while the image was taken
		return httpserver.Aborted(errHungUp)
	}
	if d.Expired() {
		return s.writeNoData(w, r, q.noData)
	}
	describe(w.Header(), d.Ref)
	if err := httpserver.WriteBodyUntil(w, http.StatusOK, s.mimeType, d.Data, d.Expires); err != nil {
		return err
	}
	d.Ack()
	return nil
}

// requeue puts an image back unless its delivery has ended.
func (s *server) requeue(d *queue.Delivery) {
	if d.Requeue() {
		s.metrics.returned.Inc()
	}
}

// handlePeek answers HEAD with the headers of the answer to GET. It removes nothing and does not wait.
func (s *server) handlePeek(w http.ResponseWriter, r *http.Request) error {
	id, q, err := s.parseRead(r)
	if err != nil {
		return err
	}
	return s.peek(w, r, id, q, q.oldest())
}

// peek writes the headers of an image.
func (s *server) peek(w http.ResponseWriter, r *http.Request, id string, q readQuery, which queue.Query) error {
	ref, err := s.queue.Find(r.Context(), id, which)
	switch {
	case err == queue.ErrEmpty:
		return s.writeNoData(w, r, q.noData)
	case err != nil:
		return err
	}
	describe(w.Header(), ref)
	w.Header().Set("Content-Type", s.mimeType)
	w.Header().Set("Content-Length", strconv.Itoa(ref.Size))
	return nil
}

// heldImage is an image that stays where it is. Its bytes are held until release is called.
type heldImage struct {
	queue.Image
	release func()
}

// load finds an image and loads it.
func (s *server) load(ctx context.Context, id string, which queue.Query) (heldImage, error) {
	image, err := queue.Get(ctx, s.queue, id, which)
	return heldImage{image, func() { s.queue.Release(image) }}, err
}

// writeImage answers with an image and releases it, or answers with the error of the search for it.
func (s *server) writeImage(
	w http.ResponseWriter, r *http.Request, image heldImage, q readQuery, err error,
) error {
	switch {
	case err == queue.ErrEmpty:
		return s.writeNoData(w, r, q.noData)
	case err != nil:
		return err
	}
	defer image.release()
	if image.Expired() {
		return s.writeNoData(w, r, q.noData)
	}
	describe(w.Header(), image.Ref)
	return httpserver.WriteBodyUntil(w, http.StatusOK, s.mimeType, image.Data, image.Expires)
}

// describe sets the headers that describe an image.
func describe(h http.Header, ref queue.Ref) {
	h.Set("X-Sequence", strconv.FormatInt(ref.Sequence, 10))
	h.Set("X-Timestamp", live.Timestamp(ref.Arrived))
	h.Set("X-Queue-Length", strconv.Itoa(ref.Behind))
}

// writeNoData answers for an empty queue. Every status comes with the No Data image, except 204, which has no body.
func (s *server) writeNoData(w http.ResponseWriter, r *http.Request, status int) error {
	h := w.Header()
	h.Set("X-No-Data", "true")
	h.Set("X-Queue-Length", "0")
	if status == http.StatusNoContent {
		return httpserver.WriteEmpty(w, status)
	}
	contentType, image := s.noData.formFor(r)
	return httpserver.WriteBody(w, status, contentType, image)
}
