package main

import (
	"cmp"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// requestBuckets are bounds in seconds. A request that waits for an image takes up
// to a minute, a stream as long as it is watched.
var requestBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60}

// The values of the label status, besides NODATA_STATUS. What else a query asks for
// is "other", since a client could ask for hundreds; "none" is that of a client that
// hung up before the answer began.
var (
	successes  = []string{"200", "204"}
	rejections = []string{"400", "401", "403", "404", "405", "408", "411", "413", "415", "429", "500", "503", "507"}
)

// requestSeries counts requests by route, method and status.
type requestSeries struct {
	total    *prometheus.CounterVec
	duration *prometheus.HistogramVec
	statuses map[int]string

	mu    sync.RWMutex
	known map[requestKind]requestMeter
}

// requestKind is what requests are told apart by. None of it is the client's.
type requestKind struct {
	pattern string // of the mux
	method  string
	status  int // 0: none
}

// requestMeter has the series of one kind, found once.
type requestMeter struct {
	total    prometheus.Counter
	duration prometheus.Observer
}

func newRequestSeries(m *metrics, noDataStatus int) *requestSeries {
	s := &requestSeries{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "http_requests_total", Help: "Requests answered.",
		}, []string{"route", "method", "status"}),
		duration: m.histogram("http_request_duration_seconds",
			"From the headers of a request to the end of its answer, with any wait for an image.",
			requestBuckets, "route", "method", "status"),
		statuses: map[int]string{0: "none", noDataStatus: strconv.Itoa(noDataStatus)},
		known:    map[requestKind]requestMeter{},
	}
	m.registry.MustRegister(s.total)
	for _, status := range append(successes, rejections...) {
		code, _ := strconv.Atoi(status)
		s.statuses[code] = status
	}
	return s
}

// observe counts a request that has ended.
func (s *requestSeries) observe(kind requestKind, took time.Duration) {
	s.mu.RLock()
	meter, found := s.known[kind]
	s.mu.RUnlock()
	if !found {
		meter = s.find(kind)
	}
	meter.total.Inc()
	meter.duration.Observe(took.Seconds())
}

func (s *requestSeries) find(kind requestKind) requestMeter {
	route, status := routeOf(kind.pattern), cmp.Or(s.statuses[kind.status], "other")
	meter := requestMeter{
		s.total.WithLabelValues(route, kind.method, status),
		s.duration.WithLabelValues(route, kind.method, status),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[kind] = meter
	return meter
}

// routeOf returns the path of a pattern. A path that is not clean never reaches the
// mux: it is as unknown as those that match "/" alone.
func routeOf(pattern string) string {
	_, path, hasMethod := strings.Cut(pattern, " ")
	if !hasMethod {
		path = pattern
	}
	return cmp.Or(strings.TrimSuffix(path, "{$}"), "/")
}

// methodOf returns the method of a request, or "other" where no endpoint has it: a
// client can make one up.
func methodOf(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodOptions:
		return r.Method
	}
	return "other"
}
