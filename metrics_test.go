package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// scraped is what /metrics shows, by name.
type scraped map[string]*dto.MetricFamily

// scrape reads /metrics, again where no request has ended yet: those have series
// from the first on.
func (s *site) scrape(t testing.TB) scraped {
	t.Helper()
	for {
		page := s.get(t, "/metrics").wantStatus(t, 200)
		parser := expfmt.NewTextParser(model.UTF8Validation)
		m := must(parser.TextToMetricFamilies(strings.NewReader(page.body)))(t)
		if m[namespace+"_http_requests_total"] != nil {
			return m
		}
	}
}

// value adds up the series of a name that have these labels, given as NAME=value; of
// a histogram the observations. The prefix of the name is left out.
func (m scraped) value(t testing.TB, name string, labels ...string) (sum float64) {
	t.Helper()
	family := m[namespace+"_"+name]
	if family == nil {
		t.Fatalf("no metric %s", name)
	}
	for _, series := range family.Metric {
		has := labelsOf(series)
		if !slices.ContainsFunc(labels, func(label string) bool { return !slices.Contains(has, label) }) {
			sum += series.GetCounter().GetValue() + series.GetGauge().GetValue() + float64(series.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

func labelsOf(series *dto.Metric) (labels []string) {
	for _, label := range series.Label {
		labels = append(labels, label.GetName()+"="+label.GetValue())
	}
	return labels
}

// want compares values, given by their name and labels, NAME=value, with spaces
// between.
func (m scraped) want(t testing.TB, values map[string]float64) {
	t.Helper()
	for what, want := range values {
		name, labels, _ := strings.Cut(what, " ")
		if got := m.value(t, name, strings.Fields(labels)...); got != want {
			t.Errorf("got %s %g, want %g", what, got, want)
		}
	}
}

// series returns every series with its labels.
func (m scraped) series() (all []string) {
	for name, family := range m {
		for _, s := range family.Metric {
			all = append(all, name+" "+strings.Join(labelsOf(s), " "))
		}
	}
	slices.Sort(all)
	return all
}

func TestMetricsCountImages(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		session := newSession()
		for _, image := range []string{"one", "three", "sixteen"} {
			s.do(t, "POST", "/image/"+session, strings.NewReader(image)).wantStatus(t, 200)
		}
		s.do(t, "POST", "/stream/"+session, strings.NewReader("--b\r\nContent-Type: image/jpeg\r\n\r\nin a stream\r\n--b--"),
			"Content-Type: multipart/x-mixed-replace; boundary=b").wantStatus(t, 200)
		for range 3 {
			s.get(t, "/image/"+session).wantStatus(t, 200)
		}
		s.do(t, "HEAD", "/image/"+session, nil).wantStatus(t, 200)
		s.get(t, "/snapshot/"+session).wantStatus(t, 200)
		s.get(t, "/image/"+newSession()+"?nodata=204").wantStatus(t, 204)
		summary := len(`{"session":"","stored":1,"skipped":0,"refused":0,"sequence":4}`+"\n") + len(session)
		s.scrape(t).want(t, map[string]float64{
			"pushes_total": 4, "pops_total": 3, "empty_pops_total": 1, "returned_images_total": 0,
			"received_bytes_total": 3 + 5 + 7 + 11, "sent_bytes_total": float64(3 + 5 + 7 + 11 + summary),
			"refused_images_total": 0, "dropped_images_total": 0, "expired_images_total": 0, "rejected_requests_total": 0,
		})
	})
}

// What is lost is counted by its cause, on the program as it is set.
func TestMetricsCountLosses(t *testing.T) {
	t.Parallel()
	for name, addr := range map[string]func() string{
		"embedded": func() string { return "" },
		"redis":    func() string { return ownRedis(t).addr },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startServer(t, "", "REDIS_HOST="+addr(), "EXPIRE=0.5", "MAX_IMAGES=2", "MAX_SESSIONS=1")
			push := func(session string) response {
				return p.do(t, "POST", "/image/"+session, strings.NewReader("image"))
			}
			for range 5 {
				push("a").wantStatus(t, 200)
			}
			push("b").wantStatus(t, 429)
			p.scrape(t).want(t, map[string]float64{
				"pushes_total": 5, "dropped_images_total": 3, "expired_images_total": 0,
				"refused_images_total reason=sessions": 1, "refused_images_total": 1, "rejected_requests_total status=429": 1,
			})
			time.Sleep(600 * time.Millisecond)
			eventually(t, func() bool { return push("a").StatusCode == 200 }) // Redis is asked once a second whether there is room
			p.scrape(t).want(t, map[string]float64{"dropped_images_total": 3, "expired_images_total": 2})
		})
	}
}

// An image that a consumer did not take to its end is popped, and goes back.
func TestMetricsCountReturns(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		f := *s.fixture
		f.engine = lateQueue{f.engine}
		late, session := newSite(t, testConfig(t), &f), newSession()
		s.push(t, session, "image")
		conn := late.dial(t)
		fmt.Fprintf(conn, "GET /image/%s HTTP/1.1\r\nHost: x\r\n\r\n", session)
		conn.CloseWrite()
		eventually(t, func() bool { return s.length(t, session) == 1 })
		eventually(t, func() bool { return late.scrape(t).value(t, "http_requests_total", "status=none") == 1 })
		late.scrape(t).want(t, map[string]float64{"pops_total": 1, "returned_images_total": 1})
	})
}

// failingQueue refuses every image for one cause.
type failingQueue struct {
	engine
	cause error
}

func (q failingQueue) Push(context.Context, string, []byte) (receipt, error) {
	return receipt{}, fmt.Errorf("push: %w", q.cause)
}

func TestMetricsCountRefusals(t *testing.T) {
	t.Parallel()
	for reason, row := range map[string]struct {
		cause  error
		status int
	}{
		"full": {errFull, 507}, "sessions": {errManySessions, 429}, "unavailable": {errUnavailable, 503}, "other": {errors.New("else"), 500},
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			f := memoryFixture(t, time.Minute)
			f.engine = failingQueue{f.engine, row.cause}
			s := newSite(t, testConfig(t), f)
			s.do(t, "POST", "/image/x", strings.NewReader("image")).wantStatus(t, row.status)
			s.scrape(t).want(t, map[string]float64{
				"refused_images_total": 1, "refused_images_total reason=" + reason: 1,
				"rejected_requests_total": 1, fmt.Sprint("rejected_requests_total status=", row.status): 1,
				"pushes_total": 0, "received_bytes_total": 0,
			})
		})
	}
}

// Each server counts for itself.
func TestMetricsAreOfOneServer(t *testing.T) {
	t.Parallel()
	f := memoryFixture(t, time.Minute)
	a, b := newSite(t, testConfig(t), f), newSite(t, testConfig(t), f)
	a.do(t, "POST", "/image/x", strings.NewReader("image")).wantStatus(t, 200)
	a.scrape(t).want(t, map[string]float64{"pushes_total": 1})
	b.scrape(t).want(t, map[string]float64{"pushes_total": 0})
}

func TestMetricsNeedTheToken(t *testing.T) {
	t.Parallel()
	s := newSite(t, testConfig(t, "OPERATOR_TOKEN="+testToken), memoryFixture(t, time.Minute))
	s.get(t, "/metrics").wantStatus(t, 401)
	s.get(t, "/metrics", "Authorization: Bearer "+testToken).wantStatus(t, 200)
	newSite(t, testConfig(t), memoryFixture(t, time.Minute)).get(t, "/metrics").wantStatus(t, 200)
}

// To count costs a push and a pop no allocation.
func TestMetricsAllocateNothing(t *testing.T) {
	m := newMetrics(testConfig(t))
	ctx, image := t.Context(), []byte("image")
	bare := stillQueue{}
	queue := m.around(bare)
	for name, call := range map[string]func(){
		"push":    func() { queue.Push(ctx, "x", image) },
		"pop":     func() { queue.Pop(ctx, "x") },
		"settle":  func() { queue.Settle(frame{}, true) },
		"request": func() { m.requests.observe(requestKind{"GET /image/{session}", "GET", 200}, time.Millisecond) },
	} {
		if got := testing.AllocsPerRun(100, call); got != 0 {
			t.Errorf("%s: got %g allocations, want none", name, got)
		}
	}
}

// stillQueue does nothing, at no cost.
type stillQueue struct{ engine }

func (stillQueue) Push(context.Context, string, []byte) (receipt, error) { return receipt{}, nil }
func (stillQueue) Pop(context.Context, string) (frame, error)            { return frame{}, nil }
func (stillQueue) Settle(frame, bool)                                    {}
