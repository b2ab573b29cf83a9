package redisqueue

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// gather returns the values of all series, each under its name and labels, such as "calls_total call=push". The value
// of a histogram is how many observations it has; sums has their sums.
func gather(t *testing.T, registry *prometheus.Registry) (values, sums map[string]float64) {
	t.Helper()
	values, sums = map[string]float64{}, map[string]float64{}
	for _, family := range testkit.Must(registry.Gather())(t) {
		for _, series := range family.Metric {
			name := family.GetName()
			for _, label := range series.Label {
				name += " " + label.GetName() + "=" + label.GetValue()
			}
			switch family.GetType() {
			case dto.MetricType_HISTOGRAM:
				values[name] = float64(series.GetHistogram().GetSampleCount())
				sums[name] = series.GetHistogram().GetSampleSum()
			case dto.MetricType_GAUGE:
				values[name] = series.GetGauge().GetValue()
			default:
				values[name] = series.GetCounter().GetValue()
			}
		}
	}
	return values, sums
}

// Calls to Redis are timed, and what becomes of them is counted.
func TestMetrics(t *testing.T) {
	t.Parallel()
	proxy := redistest.NewFaultProxy(t, redistest.Use(t).Addr, redistest.FIN, 0)
	registry := prometheus.NewRegistry()
	h := openHarness(t, Options{Redis: at(proxy.Addr), Registerer: registry})
	session := newSession()
	want := func(values map[string]float64, want map[string]float64) {
		t.Helper()
		for name, value := range want {
			if got, ok := values["imagestreamer_"+name]; !ok || got != value {
				t.Errorf("%s: got %g, present %v, want %g", name, got, ok, value)
			}
		}
	}

	h.PushImage(t, session, "image")
	h.Take(t, session)
	h.PushImage(t, session, "image")
	testkit.Must(queue.Get(t.Context(), h, session, queue.Newest))(t)
	testkit.Must(h.Find(t.Context(), session, queue.Query{}))(t)
	testkit.Must(h.Sessions(t.Context()))(t)
	testkit.NoError(t, h.Ready(t.Context()))
	values, sums := gather(t, registry)
	want(values, map[string]float64{
		"redis_call_duration_seconds call=push": 2, "redis_call_duration_seconds call=pop": 1,
		"redis_call_duration_seconds call=look": 2, "redis_call_duration_seconds call=read": 1,
		"redis_call_duration_seconds call=stats": buckets, // a slice of each index shard
		"redis_call_duration_seconds call=ready": 1,
		"redis_call_failures_total call=push":    0, "redis_call_failures_total call=pop": 0,
		"redis_call_failures_total call=look": 0, "redis_call_failures_total call=read": 0,
		"redis_call_failures_total call=stats": 0,
		"redis_repeats_total":                  0, "redis_unknown_outcomes_total": 0, "redis_pool_timeouts_total": 0,
	})
	for _, name := range []string{
		"redis_pool_connections", "redis_pool_idle_connections", "redis_pool_hits_total", "redis_pool_misses_total",
	} {
		if got := values["imagestreamer_"+name]; got < 1 {
			t.Errorf("got %s %g, want some", name, got)
		}
	}
	if len(sums) != 6 {
		t.Errorf("got the histograms %v, want 6 kinds of call", slices.Sorted(maps.Keys(sums)))
	}
	for name, sum := range sums {
		if sum <= 0 || sum > 100 {
			t.Errorf("%s: got %g seconds in all", name, sum)
		}
	}

	proxy.CutOneIn(1)
	if _, err := h.Push(t.Context(), session, []byte("image")); !errors.Is(err, queue.ErrUnavailable) {
		t.Errorf("push without replies: got error %v, want ErrUnavailable", err)
	}
	proxy.Heal()
	values, _ = gather(t, registry)
	want(values, map[string]float64{
		"redis_call_failures_total call=push": 1, "redis_call_failures_total call=pop": 0,
		"redis_call_failures_total call=look": 0, "redis_call_failures_total call=read": 0,
		"redis_call_failures_total call=stats": 0, "redis_unknown_outcomes_total": 1,
		"redis_call_duration_seconds call=push": 3,
	})
	for _, name := range []string{"redis_repeats_total", "redis_pool_stale_connections_total"} {
		if got := values["imagestreamer_"+name]; got < 1 {
			t.Errorf("got %s %g, want some", name, got)
		}
	}
}
