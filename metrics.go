package main

import (
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics counts what one server does, for Prometheus. No label holds what a client
// made up: the series are as many after a year as after a day.
type metrics struct {
	registry *prometheus.Registry
	page     http.Handler
	requests *requestSeries
	rejected *prometheus.CounterVec // by status

	pushes, pops, emptyPops, returned prometheus.Counter
	refusedImages                     *prometheus.CounterVec // by reason
	expired, dropped                  prometheus.Counter
	received, sent                    prometheus.Counter // bytes

	framesSent, framesSkipped prometheus.Counter
}

func newMetrics(cfg config) *metrics {
	registry := prometheus.NewRegistry()
	m := &metrics{registry: registry, page: promhttp.HandlerFor(registry, promhttp.HandlerOpts{})}
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.gauge("build_info", "Always 1; its labels say what runs.", prometheus.Labels{
		"version": version(), "goversion": runtime.Version(),
	}, func() float64 { return 1 })

	m.requests = newRequestSeries(m, cfg.noDataStatus)
	m.rejected = m.counters("rejected_requests_total", "Requests answered with an error.", "status", rejections...)

	m.pushes = m.counter("pushes_total", "Images stored.")
	m.refusedImages = m.counters("refused_images_total",
		"Images that the queue did not take: it is full, has too many sessions, or does not answer.",
		"reason", "full", "sessions", "unavailable", "other")
	m.pops = m.counter("pops_total", "Images taken.")
	m.emptyPops = m.counter("empty_pops_total", "Pops that found no image; who waits tries again once a second.")
	m.returned = m.counter("returned_images_total", "Images taken that could not be written, and went back.")
	m.expired = m.counter("expired_images_total", "Images that nobody took in time; counted at the next push.")
	m.dropped = m.counter("dropped_images_total", "Images that gave way to newer ones at a limit of their session.")
	m.received = m.counter("received_bytes_total", "Images stored, in bytes.")
	m.sent = m.counter("sent_bytes_total", "Bodies of all answers, streams as they go.")

	m.framesSent = m.counter("viewer_frames_total", "Images sent to viewers of streams; not those sent again.")
	m.framesSkipped = m.counter("viewer_skipped_frames_total",
		"Images that a viewer was not sent, since it was slow or wanted fewer.")
	return m
}

// handleMetrics answers with everything that was counted.
func (s *server) handleMetrics(w http.ResponseWriter, r *http.Request) error {
	const size = 256 << 10 // more than there is
	if err := limitWrite(http.NewResponseController(w), size); err != nil {
		return cutShort(err)
	}
	s.metrics.page.ServeHTTP(w, r)
	return nil
}

const namespace = "imagestreamer"

func (m *metrics) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
	m.registry.MustRegister(c)
	return c
}

// counters returns counters by the values of a label, which all begin at 0: so a
// rate sees the first event too.
func (m *metrics) counters(name, help, label string, values ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, []string{label})
	for _, value := range values {
		c.WithLabelValues(value)
	}
	m.registry.MustRegister(c)
	return c
}

// gauge asks for a value that is known elsewhere, whenever it is wanted.
func (m *metrics) gauge(name, help string, labels prometheus.Labels, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: labels}, value))
}

// total is gauge for what only rises.
func (m *metrics) total(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(
		prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, value))
}

// histogram returns a histogram of seconds by some labels.
func (m *metrics) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: name, Help: help, Buckets: buckets,
	}, labels)
	m.registry.MustRegister(h)
	return h
}
