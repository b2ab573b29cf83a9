package httpserver

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

const namespace = "imagestreamer"

// requestBuckets are bounds in seconds. A request that waits for an image takes up to a minute, a stream as long as
// somebody watches it.
var requestBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60}

// The values of the label status, besides Options.Statuses. All other statuses are "other", because a client may be
// able to ask for any. A request has "none" if its client hung up before the answer began.
var (
	successes  = []int{200, 204}
	rejections = []int{400, 401, 403, 404, 405, 408, 411, 413, 415, 416, 421, 429, 500, 503, 507}
)

// metrics counts requests and the bytes of answers. No label holds what a client made up, so there are as many series
// after a year as after a day.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	rejected *prometheus.CounterVec // by status
	sent     prometheus.Counter     // bytes
	statuses map[int]string         // the values of the label status

	// The series of each kind of request are looked up by their labels only once: two lookups in every request would
	// cost it 0.4 microseconds (see BenchmarkObserve).
	mu    sync.RWMutex
	known map[requestKind]requestSeries
}

// requestKind is what requests have in common that count in the same series.
type requestKind struct {
	pattern string // of the mux
	method  string // of methodOf
	status  int    // 0: none
}

// requestSeries are the series of one kind of request.
type requestSeries struct {
	total    prometheus.Counter
	duration prometheus.Observer
}

func newMetrics(registerer prometheus.Registerer, statuses []int) *metrics {
	auto := promauto.With(registerer)
	m := &metrics{
		requests: auto.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "http_requests_total", Help: "Requests answered.",
		}, []string{"route", "method", "status"}),
		duration: auto.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "http_request_duration_seconds",
			Help:    "From the headers of a request to the end of its answer, with any wait for an image.",
			Buckets: requestBuckets,
		}, []string{"route", "method", "status"}),
		rejected: auto.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "rejected_requests_total", Help: "Requests answered with an error.",
		}, []string{"status"}),
		sent: auto.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "sent_bytes_total", Help: "Bodies of all answers, streams as they go.",
		}),
		statuses: map[int]string{0: "none"},
		known:    map[requestKind]requestSeries{},
	}
	for _, status := range slices.Concat(successes, rejections, statuses) {
		m.statuses[status] = strconv.Itoa(status)
	}
	for _, status := range rejections {
		m.rejected.WithLabelValues(m.statuses[status]) // at 0, so that a rate sees the first rejection too
	}
	return m
}

// observe counts a request that has ended.
func (m *metrics) observe(kind requestKind, took time.Duration) {
	m.mu.RLock()
	series, found := m.known[kind]
	m.mu.RUnlock()
	if !found {
		series = m.find(kind)
	}
	series.total.Inc()
	series.duration.Observe(took.Seconds())
}

// find looks up the series of a kind and remembers them.
func (m *metrics) find(kind requestKind) requestSeries {
	route, status := routeOf(kind.pattern), m.status(kind.status)
	series := requestSeries{
		total:    m.requests.WithLabelValues(route, kind.method, status),
		duration: m.duration.WithLabelValues(route, kind.method, status),
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known[kind] = series
	return series
}

func (m *metrics) status(status int) string { return cmp.Or(m.statuses[status], "other") }

// routeOf returns the path of a pattern of the mux, or "/" if there is no pattern: a path that is not clean never
// reaches the mux and counts among those that are not known.
func routeOf(pattern string) string {
	_, path, hasMethod := strings.Cut(pattern, " ")
	if !hasMethod {
		path = pattern
	}
	return cmp.Or(strings.TrimSuffix(path, "{$}"), "/")
}

// methodOf returns the method of a request, or "other" for one that no endpoint has: clients can make methods up.
func methodOf(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodOptions:
		return r.Method
	}
	return "other"
}
