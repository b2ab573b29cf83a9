package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// ingested counts what became of the images of one request.
type ingested struct {
	Session  string `json:"session"`
	Stored   int    `json:"stored"`
	Skipped  int    `json:"skipped"`  // not an image, cut, or too large
	Refused  int    `json:"refused"`  // the queue was full or away
	Sequence int64  `json:"sequence"` // of the last one stored
}

func (sum ingested) String() string {
	return fmt.Sprintf("%d of its images were stored, %d skipped, %d refused", sum.Stored, sum.Skipped, sum.Refused)
}

// handleIngest stores the images of one long request, each the moment it is whole.
// A queue that is slow holds up this sender and nobody else.
func (s *server) handleIngest(w http.ResponseWriter, r *http.Request) error {
	session, err := sessionOf(r)
	if err != nil {
		return err
	}
	if r.ContentLength == 0 && r.Header.Get("Content-Length") == "" {
		return errNoLength
	}
	up := s.begin(r, s.streamPace)
	defer up.end()
	body := up.paced(w, r)
	body.stopping = s.stopping
	defer context.AfterFunc(s.stopping, body.hurry)()
	images := newSplitter(body, r.Header.Get("Content-Type"), s.cfg.maxImage, up)
	sum := ingested{Session: session}
	err = s.ingest(r.Context(), images, &sum)
	refused, isRefused := errors.AsType[*refusal](err)
	slow, isSlow := errors.AsType[*tooSlow](err)
	switch {
	case isRefused && refused.status == http.StatusServiceUnavailable:
		return refuse(refused.status, "%s: %s", refused.text, sum)
	case isRefused:
		return err
	case s.stopping.Err() != nil:
		w.Header().Set("Connection", "close")
	case isSlow:
		return refuse(http.StatusRequestTimeout, "%s: %s", slow.what, sum)
	case err != nil:
		return refuse(http.StatusBadRequest, "body cut short, allowed is a complete one: %s", sum)
	case sum.Stored+sum.Skipped+sum.Refused == 0:
		return errEmptyImage
	}
	return writeJSON(w, sum)
}

// ingest stores images until there are no more. It returns nil at the end of the
// body, and also when the server stops.
func (s *server) ingest(ctx context.Context, images *splitter, sum *ingested) error {
	for s.stopping.Err() == nil {
		images.upload.release() // the one before is handed on
		image, err := images.next()
		if err == nil && s.check(image) != nil {
			err = skipped("of another type")
		}
		if _, skipped := errors.AsType[*skippedPart](err); skipped {
			sum.Skipped++
			continue
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		stored, err := s.queue.Push(ctx, sum.Session, image)
		if err != nil {
			s.log.Debug("image of a stream refused", "error", err)
			sum.Refused++
			continue
		}
		sum.Stored++
		sum.Sequence = stored.sequence
	}
	return nil
}
