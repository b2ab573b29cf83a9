package main

import (
	"net/http"
	"slices"
	"strings"
)

// mostStats is how many sessions one answer of /stats tells of.
const mostStats = 1000

// handleStats lists the sessions that hold images, by id, from offset on. The
// totals are those of all.
func (s *server) handleStats(w http.ResponseWriter, r *http.Request) error {
	offset, limit, err := pageOf(r)
	if err != nil {
		return err
	}
	all, err := s.queue.Stats(r.Context())
	if err != nil {
		return err
	}
	images := 0
	for _, session := range all {
		images += session.Len
	}
	slices.SortFunc(all, func(a, b sessionStats) int { return strings.Compare(a.ID, b.ID) })
	from := min(offset, len(all))
	page := append([]sessionStats{}, all[from:min(from+limit, len(all))]...) // not nil: [] in JSON
	if err := s.queue.Detail(r.Context(), page); err != nil {
		return err
	}
	return writeJSON(w, struct {
		NumImages   int            `json:"numImages"`
		NumSessions int            `json:"numSessions"`
		Sessions    []sessionStats `json:"sessions"`
	}{images, len(all), page})
}

// pageOf reads which part of the list a request asks for.
func pageOf(r *http.Request) (offset, limit int, err error) {
	query := r.URL.Query()
	limit = mostStats
	if v := query.Get("offset"); v != "" {
		if offset, err = parseInt(v, 0, 1e9); err != nil {
			return 0, 0, refuse(http.StatusBadRequest, "offset=%.40s: allowed is a whole number from 0", v)
		}
	}
	if v := query.Get("limit"); v != "" {
		if limit, err = parseInt(v, 0, mostStats); err != nil {
			return 0, 0, refuse(http.StatusBadRequest, "limit=%.40s: allowed is a whole number from 0 to %d", v, mostStats)
		}
	}
	return offset, limit, nil
}
