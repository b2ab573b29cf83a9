package httpserver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// testServer is a Stack with endpoints, on a listener of its own.
type testServer struct {
	*Stack
	handler http.Handler
	addr    string
	log     *testkit.Log
	metrics *prometheus.Registry
}

// endpoints are handlers by their pattern of the mux.
type endpoints map[string]HandlerFunc

// errCause is an error that the client must not learn.
var errCause = errors.New("the secret cause")

// newTestServer serves endpoints. What the options do not name is made for the test; every other path is not found.
func newTestServer(t testing.TB, o Options, served endpoints) *testServer {
	t.Helper()
	s := &testServer{log: new(testkit.Log), metrics: prometheus.NewRegistry()}
	o.Log = cmp.Or(o.Log, slog.New(slog.NewJSONHandler(s.log, nil)))
	o.Registerer = s.metrics
	if o.StatusOf == nil {
		o.StatusOf = func(error) (int, string) { return http.StatusInternalServerError, "internal error" }
	}
	o.NotFound = func(http.ResponseWriter, *http.Request) error { return Errorf(http.StatusNotFound, "no such path") }
	s.Stack = New(o)
	mux := http.NewServeMux()
	mux.Handle("/", s.Handle(o.NotFound))
	for pattern, h := range served {
		mux.Handle(pattern, s.Handle(h))
	}
	s.handler = s.Wrap(mux)
	listener := httptest.NewUnstartedServer(s.handler)
	listener.Config.ConnContext = ConnContext
	listener.Start()
	t.Cleanup(listener.Close)
	s.addr = listener.Listener.Addr().String()
	return s
}

// fails returns an endpoint that returns an error.
func fails(err error) HandlerFunc {
	return func(http.ResponseWriter, *http.Request) error { return err }
}

// succeeds is an endpoint that answers 200.
func succeeds(w http.ResponseWriter, _ *http.Request) error { return WriteText(w, "ok\n") }

// response is an answer that was read whole.
type response struct {
	*http.Response
	body string
}

// do sends a request with headers given as "Name: value", and checks what holds for every answer.
func (s *testServer) do(t testing.TB, method, path string, body io.Reader, headers ...string) response {
	t.Helper()
	r := testkit.Must(http.NewRequestWithContext(t.Context(), method, "http://"+s.addr+path, body))(t)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	return received(t, testkit.Must(testkit.Client.Transport.RoundTrip(r))(t), method)
}

func (s *testServer) get(t testing.TB, path string, headers ...string) response {
	t.Helper()
	return s.do(t, http.MethodGet, path, nil, headers...)
}

func received(t testing.TB, r *http.Response, method string) response {
	t.Helper()
	defer r.Body.Close()
	body := testkit.Must(io.ReadAll(r.Body))(t)
	for name, want := range map[string]string{
		"Cache-Control":                 "no-store",
		"X-Content-Type-Options":        "nosniff",
		"Content-Security-Policy":       "default-src 'none'; sandbox",
		"Access-Control-Expose-Headers": "X-Sequence, X-Timestamp, X-Queue-Length, X-No-Data, Retry-After",
	} {
		if got := strings.Join(r.Header[name], "|"); got != want {
			t.Errorf("%s, status %d: got %s %q, want %q", method, r.StatusCode, name, got, want)
		}
	}
	if allowed := strings.Join(r.Header["Access-Control-Allow-Origin"], "|"); r.Header["Vary"] == nil && allowed != "*" {
		t.Errorf("%s, status %d: got Access-Control-Allow-Origin %q, want *", method, r.StatusCode, allowed)
	}
	if r.StatusCode >= 300 && r.StatusCode < 400 {
		t.Errorf("%s: got status %d: nothing is ever redirected", method, r.StatusCode)
	}
	if r.StatusCode >= 400 && method != http.MethodHead {
		wantError(t, r, body)
	}
	return response{r, string(body)}
}

var requestIDForm = regexp.MustCompile(`^[A-Z2-7]{8}$`)

// wantError checks that an error is JSON with a sentence and the id that the header has, and nothing else.
func wantError(t testing.TB, r *http.Response, body []byte) {
	t.Helper()
	var fields map[string]string
	if err := json.Unmarshal(body, &fields); err != nil || len(fields) != 2 || fields["error"] == "" {
		t.Errorf("status %d: got body %q, want {\"error\":\"...\",\"request\":\"<id>\"}", r.StatusCode, body)
	}
	if id := r.Header.Get("X-Request-Id"); !requestIDForm.MatchString(id) || fields["request"] != id {
		t.Errorf("status %d: got request id %q, and X-Request-Id %q", r.StatusCode, fields["request"], id)
	}
	if kind := r.Header.Get("Content-Type"); kind != "application/json" {
		t.Errorf("status %d: got Content-Type %q, want application/json", r.StatusCode, kind)
	}
}

// wantStatus ends the test if the status is another one.
func (r response) wantStatus(t testing.TB, want int) response {
	t.Helper()
	if r.StatusCode != want {
		t.Fatalf("got status %d, %.200q, want %d", r.StatusCode, r.body, want)
	}
	return r
}

// dial opens a bare connection, for what the client of net/http does not do. It fails after longer than any healthy
// machine needs.
func dial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	conn := testkit.Must(net.Dial("tcp", addr))(t).(*net.TCPConn)
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	return conn
}

// hasten serves the same on another listener, where the deadlines of the server pass faster and the kernel takes little
// of an answer that the client does not read.
func (s *testServer) hasten(t testing.TB) (addr string) {
	t.Helper()
	listener := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.handler.ServeHTTP(hasty{w}, r)
	}))
	listener.Listener = LimitStalls(listener.Listener, answerIdle/haste)
	listener.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		conn.(*progressConn).socket.SetWriteBuffer(16 << 10)
		return ConnContext(ctx, conn)
	}
	listener.Start()
	t.Cleanup(listener.Close)
	return listener.Listener.Addr().String()
}

// haste is how much faster deadlines pass.
const haste = 50

// hasty moves the deadlines of a connection nearer.
type hasty struct{ http.ResponseWriter }

func (w hasty) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w hasty) SetReadDeadline(at time.Time) error {
	return http.NewResponseController(w.ResponseWriter).SetReadDeadline(sooner(at))
}

func sooner(at time.Time) time.Time {
	if at.IsZero() {
		return at // no limit
	}
	return time.Now().Add(time.Until(at) / haste)
}

// value adds up the series of a metric that have these labels, given as NAME=value. Of a histogram it counts the
// observations.
func (s *testServer) value(t testing.TB, name string, labels ...string) (sum float64) {
	t.Helper()
	for series, value := range s.series(t) {
		words := strings.Split(series, " ")
		missing := func(label string) bool { return !slices.Contains(words[1:], label) }
		if words[0] == "imagestreamer_"+name && !slices.ContainsFunc(labels, missing) {
			sum += value
		}
	}
	return sum
}

// series returns the value of every series, by its name and labels.
func (s *testServer) series(t testing.TB) map[string]float64 {
	t.Helper()
	all := map[string]float64{}
	for _, family := range testkit.Must(s.metrics.Gather())(t) {
		for _, m := range family.Metric {
			series := family.GetName()
			for _, label := range m.Label {
				series += fmt.Sprint(" ", label.GetName(), "=", label.GetValue())
			}
			all[series] = m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return all
}

// recordedConn is a connection that only records: the answer, and the deadlines that were set.
type recordedConn struct {
	*httptest.ResponseRecorder
	reads, writes []time.Time
}

func newRecordedConn() *recordedConn { return &recordedConn{ResponseRecorder: httptest.NewRecorder()} }

func (c *recordedConn) SetReadDeadline(at time.Time) error {
	c.reads = append(c.reads, at)
	return nil
}

func (c *recordedConn) SetWriteDeadline(at time.Time) error {
	c.writes = append(c.writes, at)
	return nil
}
