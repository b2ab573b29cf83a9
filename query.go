package main

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/image-streamer/image-streamer/internal/config"
	"github.com/image-streamer/image-streamer/internal/httpserver"
	"github.com/image-streamer/image-streamer/internal/queue"
)

// maxWait bounds how long a request waits for an image.
const maxWait = 60 * time.Second

// readQuery is what a reader asks for in the query of a request.
type readQuery struct {
	wait     time.Duration  // for an image to come
	after    *int64         // the sequence of the last image that the reader has; nil: not given
	maxAge   *time.Duration // of a snapshot; nil: not given
	noData   int            // the status when there is no image
	interval time.Duration  // between two frames of a stream, at least; 0: none
}

// parameter is one row of the table of parameters.
type parameter struct {
	name, allowed string
	set           func(*readQuery, string) error
}

// parameters lists every parameter that a reader may give. Other parameters, mostly cache-busters, are ignored.
var parameters = []parameter{
	{"wait", "a number of seconds; 60 is the most that counts", func(q *readQuery, v string) error {
		seconds, err := config.ParseNumber(v, 0, 1e9)
		q.wait = min(time.Duration(seconds*float64(time.Second)), maxWait)
		return err
	}},
	{"after", "a sequence: a whole number from 0", func(q *readQuery, v string) error {
		n, err := strconv.ParseUint(v, 10, 62)
		after := int64(n)
		q.after = &after
		return err
	}},
	{"max_age", "a number of seconds from 0", func(q *readQuery, v string) error {
		seconds, err := config.ParseNumber(v, 0, 1e9)
		age := time.Duration(seconds * float64(time.Second))
		q.maxAge = &age
		return err
	}},
	{"nodata", config.NoDataRule, func(q *readQuery, v string) (err error) {
		q.noData, err = config.ParseNoDataStatus(v)
		return
	}},
	{"fps", "a number from 0.01 to 1000", func(q *readQuery, v string) error {
		fps, err := config.ParseNumber(v, 0.01, 1000)
		q.interval = time.Duration(float64(time.Second) / fps)
		return err
	}},
}

// parseRead returns the session and the query of a request for images.
func (s *server) parseRead(r *http.Request) (id string, q readQuery, err error) {
	if id, err = sessionOf(r); err == nil {
		q, err = s.parseQuery(r)
	}
	return id, q, err
}

func (s *server) parseQuery(r *http.Request) (readQuery, error) {
	q := readQuery{noData: s.noDataStatus}
	if r.URL.RawQuery == "" {
		return q, nil
	}
	values, _ := url.ParseQuery(r.URL.RawQuery) // malformed pairs are ignored
	for _, p := range parameters {
		if given := values[p.name]; len(given) > 0 && p.set(&q, given[0]) != nil {
			return q, httpserver.Errorf(http.StatusBadRequest, "%s=%.40s: allowed is %s", p.name, given[0], p.allowed)
		}
	}
	return q, nil
}

// asksForTail reports whether a request asks for an image without its first bytes, as a client does that goes on with a
// download. A range that begins at 0 is answered with the whole image.
func asksForTail(h http.Header) bool {
	ranges, ok := strings.CutPrefix(strings.ToLower(h.Get("Range")), "bytes=")
	if !ok || h.Get("If-Range") != "" { // no image has a validator that could match
		return false
	}
	for part := range strings.SplitSeq(ranges, ",") {
		first, _, ok := strings.Cut(strings.TrimSpace(part), "-")
		if n, err := strconv.ParseUint(first, 10, 63); ok && (first == "" || err == nil && n > 0) {
			return true
		}
	}
	return false
}

// oldest returns the query for the image that a GET of /image answers with.
func (q readQuery) oldest() queue.Query {
	if q.after == nil {
		return queue.Query{}
	}
	return queue.Query{After: *q.after, Taken: true}
}

// newest returns the query for a snapshot.
func (q readQuery) newest() queue.Query {
	which := queue.Newest
	if q.maxAge != nil {
		which.MaxAge = max(*q.maxAge, 1) // 0 would mean no bound
	}
	return which
}

// waitContext returns a context that ends when the client hangs up, has waited long enough, or the server stops. A
// waiting request counts against MAX_VIEWERS.
func (s *server) waitContext(r *http.Request, wait time.Duration) (context.Context, context.CancelFunc, error) {
	release, err := s.viewers.TryAcquire(s.metrics.waiting)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	forget := s.onDrain(cancel)
	return ctx, func() { forget(); cancel(); release() }, nil
}
