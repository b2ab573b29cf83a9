package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/image-streamer/image-streamer/internal/httpserver"
	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

func TestMetricsCountImages(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		id := session.New()
		for _, image := range []string{"one", "three", "sixteen"} {
			s.Do(t, "POST", "/image/"+id, strings.NewReader(image)).WantStatus(t, 200)
		}
		body := strings.NewReader("--b\r\nContent-Type: image/jpeg\r\n\r\nin a stream\r\n--b--")
		s.Do(t, "POST", "/stream/"+id, body, "Content-Type: "+relaytest.MixedType).WantStatus(t, 200)
		for range 3 {
			s.Get(t, "/image/"+id).WantStatus(t, 200)
		}
		s.Do(t, "HEAD", "/image/"+id, nil).WantStatus(t, 200)
		s.Get(t, "/snapshot/"+id).WantStatus(t, 200)
		s.Get(t, "/image/"+session.New()+"?nodata=204").WantStatus(t, 204)
		summary := len(`{"session":"","stored":1,"skipped":0,"refused":0,"sequence":4}`+"\n") + len(id)
		s.Scrape(t).Want(t, map[string]float64{
			"pushes_total": 4, "pops_total": 3, "empty_pops_total": 1, "returned_images_total": 0,
			"received_bytes_total": 3 + 5 + 7 + 11, "sent_bytes_total": float64(3 + 5 + 7 + 11 + summary),
			"refused_images_total": 0, "dropped_images_total": 0, "expired_images_total": 0,
			"rejected_requests_total": 0,
		})
	})
}

// Images that are lost are counted by cause, by the whole program with its settings.
func TestMetricsCountLosses(t *testing.T) {
	t.Parallel()
	for name, addr := range map[string]func(testing.TB) string{
		"embedded": func(testing.TB) string { return "" },
		"redis":    func(t testing.TB) string { return redistest.Own(t).Addr },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startServer(t, "", "REDIS_HOST="+addr(t), "EXPIRE=0.5", "MAX_IMAGES=2", "MAX_SESSIONS=1")
			push := func(id string) relaytest.Response {
				return p.Do(t, "POST", "/image/"+id, strings.NewReader("image"))
			}
			for range 5 {
				push("a").WantStatus(t, 200)
			}
			push("b").WantStatus(t, 429)
			p.Scrape(t).Want(t, map[string]float64{
				"pushes_total": 5, "dropped_images_total": 3, "expired_images_total": 0,
				"refused_images_total reason=sessions": 1, "refused_images_total": 1,
				"rejected_requests_total status=429": 1,
			})
			time.Sleep(600 * time.Millisecond)
			// The sessions of Redis are counted once a second.
			testkit.Eventually(t, func() bool { return push("a").StatusCode == 200 })
			p.Scrape(t).Want(t, map[string]float64{"dropped_images_total": 3, "expired_images_total": 2})
		})
	}
}

// An image that did not reach its consumer was popped, and went back.
func TestMetricsCountReturns(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		late, id := newTestServer(t, testConfig(t), s.Harness, withQueue(lateQueue{s.Queue})), session.New()
		s.PushImage(t, id, "image")
		conn := late.Dial(t)
		fmt.Fprintf(conn, "GET /image/%s HTTP/1.1\r\nHost: x\r\n\r\n", id)
		conn.CloseWrite()
		testkit.Eventually(t, func() bool { return s.Len(t, id) == 1 })
		testkit.Eventually(t, func() bool {
			return late.Scrape(t).Value(t, "http_requests_total", "status=none") == 1
		})
		late.Scrape(t).Want(t, map[string]float64{"pops_total": 1, "returned_images_total": 1})
	})
}

// failingQueue refuses every image for one cause.
type failingQueue struct {
	queue.Queue
	cause error
}

func (q failingQueue) Push(context.Context, string, []byte) (queue.Receipt, error) {
	return queue.Receipt{}, fmt.Errorf("push: %w", q.cause)
}

func TestMetricsCountRefusals(t *testing.T) {
	t.Parallel()
	for reason, row := range map[string]struct {
		cause  error
		status int
	}{
		"full":        {queue.ErrFull, 507},
		"sessions":    {queue.ErrTooManySessions, 429},
		"unavailable": {queue.ErrUnavailable, 503},
		"other":       {errors.New("another cause"), 500},
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(t)
			h := memoryHarness(t, cfg)
			s := newTestServer(t, cfg, h, withQueue(failingQueue{h.Queue, row.cause}))
			s.Do(t, "POST", "/image/x", strings.NewReader("image")).WantStatus(t, row.status)
			s.Scrape(t).Want(t, map[string]float64{
				"refused_images_total": 1, "refused_images_total reason=" + reason: 1,
				"rejected_requests_total": 1, fmt.Sprint("rejected_requests_total status=", row.status): 1,
				"pushes_total": 0, "received_bytes_total": 0,
			})
		})
	}
}

// Each server has counters of its own.
func TestMetricsAreOfOneServer(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	h := memoryHarness(t, cfg)
	a, b := newTestServer(t, cfg, h), newTestServer(t, cfg, h)
	a.Do(t, "POST", "/image/x", strings.NewReader("image")).WantStatus(t, 200)
	a.Scrape(t).Want(t, map[string]float64{"pushes_total": 1})
	b.Scrape(t).Want(t, map[string]float64{"pushes_total": 0})
}

func TestMetricsNeedTheToken(t *testing.T) {
	t.Parallel()
	s := newMemoryServer(t, "OPERATOR_TOKEN="+testToken)
	s.Get(t, "/metrics").WantStatus(t, 401)
	s.Get(t, "/metrics", "Authorization: Bearer "+testToken).WantStatus(t, 200)
	newMemoryServer(t).Get(t, "/metrics").WantStatus(t, 200)
}

// Counting costs a push and a pop no allocation.
func TestMetricsAllocateNothing(t *testing.T) {
	m := newMetrics(prometheus.NewRegistry())
	ctx, image := t.Context(), []byte("image")
	q := &counted{&budgeted{idleQueue{}, httpserver.NewSendBudget(httpserver.SendBudgetOptions{Bytes: 1 << 20})}, m}
	for name, call := range map[string]func(){
		"push": func() { q.Push(ctx, "x", image) },
		"pop": func() {
			d, _ := q.Pop(ctx, "x")
			d.Ack()
		},
	} {
		if got := testing.AllocsPerRun(100, call); got != 0 {
			t.Errorf("%s: got %g allocations, want none", name, got)
		}
	}
}

// idleQueue does nothing, at no cost.
type idleQueue struct{ queue.Queue }

func (idleQueue) Push(context.Context, string, []byte) (queue.Receipt, error) {
	return queue.Receipt{}, nil
}

func (idleQueue) PopAtMost(context.Context, string, int) (queue.Delivery, error) {
	return queue.Delivery{}, nil
}

func (idleQueue) Ack(queue.Image) {}

func TestMetricsCountViewers(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		id := session.New()
		s.PushImage(t, id, "first")
		metrics := func(what string, want float64) func() bool {
			return func() bool {
				name, labels, _ := strings.Cut(what, " ")
				return s.Scrape(t).Value(t, name, strings.Fields(labels)...) == want
			}
		}
		var conns []net.Conn
		for _, path := range []string{
			"/stream/" + id, "/stream/" + id + "?fps=1000",
			"/snapshot/" + id + "?wait=60", "/image/" + id + "?after=1&wait=60", "/image/" + session.New() + "?wait=60",
		} {
			conn := s.Dial(t)
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
			conns = append(conns, conn)
		}
		testkit.Eventually(t, metrics("viewers", 2))
		testkit.Eventually(t, metrics("waiting_readers", 3))
		testkit.Eventually(t, metrics("viewer_frames_total", 2))
		time.Sleep(pollPeriod + pollPeriod/2) // the frame is repeated
		s.Scrape(t).Want(t, map[string]float64{
			"viewers": 2, "waiting_readers": 3, "viewer_frames_total": 2, "viewer_skipped_frames_total": 0,
		})
		for _, conn := range conns {
			conn.Close()
		}
		testkit.Eventually(t, metrics("viewers", 0))
		testkit.Eventually(t, metrics("waiting_readers", 0))
		testkit.Eventually(t, metrics("http_requests_total route=/stream/{session} status=200", 2))
	})
}

// A viewer that asks for two frames a second skips the images in between.
func TestMetricsCountSkippedFrames(t *testing.T) {
	t.Parallel()
	s := newMemoryServer(t)
	id := session.New()
	s.PushImage(t, id, "first")
	conn := s.Dial(t)
	fmt.Fprintf(conn, "GET /stream/%s?fps=2 HTTP/1.1\r\nHost: x\r\n\r\n", id)
	testkit.Eventually(t, func() bool { return s.Scrape(t).Value(t, "viewer_frames_total") == 1 })
	for range 5 {
		s.PushImage(t, id, "more")
	}
	testkit.Eventually(t, func() bool { return s.Scrape(t).Value(t, "viewer_frames_total") >= 2 })
	testkit.Eventually(t, func() bool {
		m := s.Scrape(t)
		return m.Value(t, "viewer_frames_total")+m.Value(t, "viewer_skipped_frames_total") == 6
	})
	if got := s.Scrape(t).Value(t, "viewer_skipped_frames_total"); got < 3 {
		t.Errorf("got %g frames skipped of 5 in half a second", got)
	}
}

func TestMetricsCountUploads(t *testing.T) {
	t.Parallel()
	s := newMemoryServer(t)
	conn := s.Dial(t)
	fmt.Fprint(conn, "POST /image/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nfirst")
	s.awaitUploads(t, 1, 1000)
	fmt.Fprint(conn, strings.Repeat("x", 1000-len("first")))
	s.awaitUploads(t, 0, 0)
}

func TestMetricsCountRequests(t *testing.T) {
	t.Parallel()
	s := newMemoryServer(t, "NODATA_STATUS=418")
	for _, row := range []struct {
		method, path string
		status       int
		series       string
	}{
		{"POST", "/image/x", 200, "route=/image/{session} method=POST status=200"},
		{"GET", "/image/x", 200, "route=/image/{session} method=GET status=200"},
		{"HEAD", "/image/x", 418, "route=/image/{session} method=HEAD status=418"},
		{"HEAD", "/stats", 200, "route=/stats method=HEAD status=200"},
		{"GET", "/image/x", 418, "route=/image/{session} method=GET status=418"},
		{"GET", "/image/x?nodata=451", 451, "route=/image/{session} method=GET status=other"},
		{"GET", "/image/x?nodata=599", 599, "route=/image/{session} method=GET status=other"},
		{"GET", "/image/x?nodata=204", 204, "route=/image/{session} method=GET status=204"},
		{"OPTIONS", "/image/x", 204, "route=/image/{session} method=OPTIONS status=204"},
		{"MKCOL", "/image/x", 405, "route=/image/{session} method=other status=405"},
		{"GET", "/image/x%20y", 400, "route=/image/{session} method=GET status=400"},
		{"GET", "/nothing/here", 404, "route=/ method=GET status=404"},
		{"GET", "//image/x", 404, "route=/ method=GET status=404"},
		{"GET", "/snapshot/x.jpg", 200, "route=/snapshot/{session} method=GET status=200"},
		{"PUT", "/IMAGEFORM/x.png/", 405, "route=/imageForm/{session} method=PUT status=405"},
	} {
		counted := func() (requests, durations float64) {
			m := s.Scrape(t)
			labels := strings.Fields(row.series)
			return m.Value(t, "http_requests_total", labels...), m.Value(t, "http_request_duration_seconds", labels...)
		}
		requests, durations := counted()
		s.Do(t, row.method, row.path, strings.NewReader("image")).WantStatus(t, row.status)
		testkit.Eventually(t, func() bool { // a request is counted after its answer
			r, d := counted()
			return r == requests+1 && d == durations+1
		})
	}
}
