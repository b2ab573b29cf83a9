package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/image-streamer/image-streamer/internal/httpserver"
	"github.com/image-streamer/image-streamer/internal/ingest"
)

// ingestResult counts what became of the images of one request.
type ingestResult struct {
	Session  string `json:"session"`
	Stored   int    `json:"stored"`
	Skipped  int    `json:"skipped"`  // not an image, cut, or too large
	Refused  int    `json:"refused"`  // the queue was full or did not answer
	Sequence int64  `json:"sequence"` // of the last image that was stored
}

func (r ingestResult) String() string {
	return fmt.Sprintf("%d of its images were stored, %d skipped, %d refused", r.Stored, r.Skipped, r.Refused)
}

// handleIngest stores the images of one long request, each the moment it is whole. A queue that is slow holds up this
// producer and nobody else.
func (s *server) handleIngest(w http.ResponseWriter, r *http.Request) error {
	id, err := sessionOf(r)
	if err != nil {
		return err
	}
	if !ingest.HasBody(r) {
		return ingest.NoLength(r)
	}
	upload := s.budget.Begin(r.Context(), s.bounds.stream)
	defer upload.End()
	body := upload.Body(w, r, s.draining)
	defer s.onDrain(body.ShortenDeadline)()
	images, err := ingest.NewSplitter(body, r.Header, s.maxBytes, upload)
	if err != nil {
		return err
	}
	result := ingestResult{Session: id}
	err = s.ingest(r.Context(), images, upload, &result)
	switch {
	case s.isDraining() && !isHTTPError(err): // the body need not have come to its end
		w.Header().Set("Connection", "close")
	case err != nil:
		return ingest.StreamError(err, result.String())
	case result.Stored+result.Skipped+result.Refused == 0:
		return ingest.ErrEmptyImage
	}
	return httpserver.WriteJSON(w, result)
}

func isHTTPError(err error) bool {
	_, ok := errors.AsType[*httpserver.Error](err)
	return ok
}

// ingest stores images until there are no more. It returns nil at the end of the body, and also when the server stops.
func (s *server) ingest(
	ctx context.Context, images *ingest.Splitter, upload *ingest.Upload, result *ingestResult,
) error {
	for !s.isDraining() {
		upload.Release() // the image before belongs to the queue now
		image, err := images.Next()
		if err == nil && s.checkImage(image) != nil {
			err = ingest.Skippedf("of another type")
		}
		if _, skipped := errors.AsType[*ingest.Skipped](err); skipped {
			result.Skipped++
			continue
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		stored, err := s.queue.Push(ctx, result.Session, image)
		if err != nil {
			s.log.Debug("image of a stream refused", "error", err)
			result.Refused++
			continue
		}
		result.Stored++
		result.Sequence = stored.Sequence
	}
	return nil
}
