package main

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// longestWait bounds how long a request waits for an image.
const longestWait = 60 * time.Second

// reading is what the query of a request for images asks for.
type reading struct {
	wait   time.Duration  // for an image to come
	after  *int64         // a sequence: the reader keeps its own place
	maxAge *time.Duration // of a snapshot
	noData int            // the status when there is no image
	gap    time.Duration  // between two frames of a stream, at least
}

// parameter is one row of the table below.
type parameter struct {
	name, allowed string
	set           func(*reading, string) error
}

// parameters is everything that a query may ask for; whatever else it holds means
// nothing: a cache-buster, mostly.
var parameters = []parameter{
	{"wait", "a number of seconds; 60 is the most that counts", func(q *reading, v string) error {
		seconds, err := parseNumber(v, 0, 1e9)
		q.wait = min(time.Duration(min(seconds, 1e6)*float64(time.Second)), longestWait)
		return err
	}},
	{"after", "a sequence: a whole number from 0", func(q *reading, v string) error {
		n, err := strconv.ParseUint(v, 10, 62)
		after := int64(n)
		q.after = &after
		return err
	}},
	{"max_age", "a number of seconds from 0", func(q *reading, v string) error {
		seconds, err := parseNumber(v, 0, 1e9)
		age := time.Duration(seconds * float64(time.Second))
		q.maxAge = &age
		return err
	}},
	{"nodata", noDataRule, func(q *reading, v string) (err error) { q.noData, err = parseNoDataStatus(v); return }},
	{"fps", "a number from 0.01 to 1000", func(q *reading, v string) error {
		fps, err := parseNumber(v, 0.01, 1000)
		q.gap = time.Duration(float64(time.Second) / fps)
		return err
	}},
}

// asked returns what a request for images asks for.
func (s *server) asked(r *http.Request) (session string, q reading, err error) {
	if session, err = sessionOf(r); err == nil {
		q, err = s.readingOf(r)
	}
	return session, q, err
}

// readingOf reads the query of a request.
func (s *server) readingOf(r *http.Request) (reading, error) {
	q := reading{noData: s.cfg.noDataStatus}
	if r.URL.RawQuery == "" {
		return q, nil
	}
	query, _ := url.ParseQuery(r.URL.RawQuery) // what is malformed means nothing
	for _, p := range parameters {
		if values := query[p.name]; len(values) > 0 && p.set(&q, values[0]) != nil {
			return q, refuse(http.StatusBadRequest, "%s=%.40s: allowed is %s", p.name, values[0], p.allowed)
		}
	}
	return q, nil
}

// patience returns a context that ends when the client hangs up, has waited long
// enough, or the server stops. Who waits needs a seat.
func (s *server) patience(r *http.Request, wait time.Duration) (context.Context, context.CancelFunc, error) {
	leave, err := s.seats.wait()
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	stop := context.AfterFunc(s.stopping, cancel)
	return ctx, func() { stop(); cancel(); leave() }, nil
}
