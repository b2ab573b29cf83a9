package main

import (
	"net/http"

	"github.com/image-streamer/image-streamer/internal/config"
	"github.com/image-streamer/image-streamer/internal/httpserver"
	"github.com/image-streamer/image-streamer/internal/queue"
)

// maxStats bounds the sessions in one answer of /stats.
const maxStats = 1000

// handleStats lists the sessions that hold images, by id, from offset on. The totals are those of all sessions.
func (s *server) handleStats(w http.ResponseWriter, r *http.Request) error {
	offset, limit, err := pageOf(r)
	if err != nil {
		return err
	}
	sessions, err := s.listing.Get(r.Context())
	switch {
	case r.Context().Err() != nil:
		return httpserver.Aborted(errHungUp)
	case err != nil:
		return err
	}
	images := 0
	for _, session := range sessions {
		images += session.Len
	}
	from := min(offset, len(sessions))
	page := sessions[from:min(from+limit, len(sessions))]
	if page == nil {
		page = []queue.Session{} // its JSON is a list
	}
	return httpserver.WriteJSON(w, struct {
		NumImages   int             `json:"numImages"`
		NumSessions int             `json:"numSessions"`
		Sessions    []queue.Session `json:"sessions"`
	}{images, len(sessions), page})
}

// pageOf returns the part of the list that a request asks for.
func pageOf(r *http.Request) (offset, limit int, err error) {
	query := r.URL.Query()
	limit = maxStats
	if v := query.Get("offset"); v != "" {
		if offset, err = config.ParseInt(v, 0, 1e9); err != nil {
			return 0, 0, httpserver.Errorf(http.StatusBadRequest, "offset=%.40s: allowed is a whole number from 0", v)
		}
	}
	if v := query.Get("limit"); v != "" {
		if limit, err = config.ParseInt(v, 0, maxStats); err != nil {
			return 0, 0, httpserver.Errorf(http.StatusBadRequest,
				"limit=%.40s: allowed is a whole number from 0 to %d", v, maxStats)
		}
	}
	return offset, limit, nil
}

// handleMetrics answers with everything that is counted.
func (s *server) handleMetrics(w http.ResponseWriter, r *http.Request) error {
	s.metrics.page.ServeHTTP(w, r)
	return nil
}

// handleHealth answers for as long as the process serves.
func (s *server) handleHealth(w http.ResponseWriter, _ *http.Request) error {
	return httpserver.WriteText(w, "ok\n")
}

// handleReady answers 200 if the queue stores images.
func (s *server) handleReady(w http.ResponseWriter, r *http.Request) error {
	if err := s.queue.Ready(r.Context()); err != nil {
		return err
	}
	return httpserver.WriteText(w, "ok\n")
}
