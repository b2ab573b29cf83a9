package main

import (
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/image-streamer/image-streamer/internal/logwriter"
)

// namespace is the first part of the name of every metric.
const namespace = "imagestreamer"

// metrics counts what one server does with images. No label holds text that a client made up, so the number of series
// has a bound.
type metrics struct {
	page http.Handler // of everything in the registry

	pushes, pops, emptyPops, returned prometheus.Counter
	refused                           *prometheus.CounterVec // by reason
	expired, dropped                  prometheus.Counter
	received                          prometheus.Counter // bytes

	viewers, waiting          prometheus.Gauge
	framesSent, framesSkipped prometheus.Counter
}

// newRegistry returns a registry that has the metrics of the process and of its log.
func newRegistry(lines *logwriter.Writer) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	promauto.With(reg).NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "Always 1; its labels say what runs.",
		ConstLabels: prometheus.Labels{"version": version(), "goversion": runtime.Version()},
	}).Set(1)
	promauto.With(reg).NewCounterFunc(prometheus.CounterOpts{
		Namespace: namespace, Name: "log_lines_lost_total",
		Help: "Log lines that could not be written, or not fast enough.",
	}, func() float64 { return float64(lines.Lost()) })
	return reg
}

func newMetrics(reg *prometheus.Registry) *metrics {
	auto := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return auto.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return auto.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
	}
	m := &metrics{
		page: promhttp.HandlerFor(reg, promhttp.HandlerOpts{}),

		pushes: counter("pushes_total", "Images stored."),
		refused: auto.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "refused_images_total",
			Help: "Images that the queue did not take: it is full, has too many sessions, or does not answer.",
		}, []string{"reason"}),
		pops:      counter("pops_total", "Images taken."),
		emptyPops: counter("empty_pops_total", "Pops that found no image. A waiting reader repeats its pop once a second."),
		returned:  counter("returned_images_total", "Images taken that could not be written, and went back."),
		expired:   counter("expired_images_total", "Images that nobody took in time; counted at the next push."),
		dropped:   counter("dropped_images_total", "Images that gave way to newer ones at a limit of their session."),
		received:  counter("received_bytes_total", "Images stored, in bytes."),

		viewers:    gauge("viewers", "Streams being watched."),
		waiting:    gauge("waiting_readers", "Requests that wait for an image."),
		framesSent: counter("viewer_frames_total", "Images sent to viewers of streams; not those sent again."),
		framesSkipped: counter("viewer_skipped_frames_total",
			"Images that a viewer was not sent, because it was slow or asked for fewer."),
	}
	for _, reason := range []string{"full", "sessions", "unavailable", "other"} {
		m.refused.WithLabelValues(reason) // a series that begins at 0 shows its first event in a rate
	}
	return m
}

// countFrame counts an image that was sent to a viewer, and those that the viewer skipped before it.
func (m *metrics) countFrame(skipped int64) {
	m.framesSent.Inc()
	if skipped > 0 {
		m.framesSkipped.Add(float64(skipped))
	}
}
