package main

import (
	"log/slog"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Calls to Redis are timed, and what becomes of them is counted.
func TestMetricsOfRedis(t *testing.T) {
	t.Parallel()
	q, proxy := throughProxy(t, faultFIN, 0, time.Minute)
	listener := httptest.NewServer(newServer(testConfig(t), q, slog.New(slog.DiscardHandler)).routes())
	t.Cleanup(listener.Close)
	s := &site{addr: listener.Listener.Addr().String()}
	session := newSession()
	for _, path := range []string{"/image/", "/snapshot/"} {
		s.do(t, "POST", "/image/"+session, strings.NewReader("image")).wantStatus(t, 200)
		s.get(t, path+session).wantStatus(t, 200)
	}
	s.do(t, "HEAD", "/image/"+session, nil).wantStatus(t, 200) // an answer whose status nobody writes
	s.get(t, "/stats").wantStatus(t, 200)
	m := s.scrape(t)
	m.want(t, map[string]float64{
		"redis_call_duration_seconds call=push": 2, "redis_call_duration_seconds call=pop": 1,
		"redis_call_duration_seconds call=look": 2, "redis_call_duration_seconds call=read": 1,
		"redis_call_duration_seconds call=stats":     2, // a list, and what it tells of each
		"http_requests_total method=HEAD status=200": 1,
		"redis_call_failures_total":                  0, "redis_repeats_total": 0, "redis_unknown_outcomes_total": 0,
		"redis_pool_timeouts_total": 0,
	})
	for _, name := range []string{
		"redis_pool_connections", "redis_pool_idle_connections", "redis_pool_hits_total", "redis_pool_misses_total",
	} {
		if got := m.value(t, name); got < 1 {
			t.Errorf("got %s %g, want some", name, got)
		}
	}
	for _, series := range m[namespace+"_redis_call_duration_seconds"].Metric {
		if h := series.GetHistogram(); h.GetSampleSum() <= 0 || h.GetSampleSum() > 10 {
			t.Errorf("%v: got %g seconds in all", labelsOf(series), h.GetSampleSum())
		}
	}

	proxy.oneIn.Store(1)
	s.do(t, "POST", "/image/"+session, strings.NewReader("image")).wantStatus(t, 503)
	proxy.heal()
	m = s.scrape(t)
	m.want(t, map[string]float64{
		"redis_call_failures_total call=push": 1, "redis_call_failures_total": 1, "redis_unknown_outcomes_total": 1,
		"redis_call_duration_seconds call=push": 3, "refused_images_total reason=unavailable": 1,
	})
	if m.value(t, "redis_repeats_total") < 3 || m.value(t, "redis_pool_stale_connections_total") < 3 {
		t.Errorf("got %g repeats, %g broken connections, want some of each",
			m.value(t, "redis_repeats_total"), m.value(t, "redis_pool_stale_connections_total"))
	}
}

func TestMetricsOfMemory(t *testing.T) {
	t.Parallel()
	p := startServer(t, "", "MEMORY_LIMIT=1MiB", "MAX_IMAGE_BYTES=100KiB")
	p.do(t, "POST", "/image/x", strings.NewReader(strings.Repeat("x", 1000))).wantStatus(t, 200)
	p.do(t, "POST", "/image/x", strings.NewReader("small")).wantStatus(t, 200)
	p.scrape(t).want(t, map[string]float64{"memory_held_bytes": 1000 + leastCharge, "memory_limit_bytes": 1 << 20, "build_info goversion=" + runtime.Version(): 1})
}
