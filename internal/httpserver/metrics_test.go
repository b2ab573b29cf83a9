package httpserver

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// answers is an endpoint that answers with the status that a query asks for.
func answers(w http.ResponseWriter, r *http.Request) error {
	status, err := strconv.Atoi(r.URL.Query().Get("status"))
	if err != nil {
		return succeeds(w, r)
	}
	if status == http.StatusNoContent {
		return WriteEmpty(w, status)
	}
	return WriteBody(w, status, "image/png", []byte("image"))
}

// newImageServer has the routes of one resource.
func newImageServer(t testing.TB) *testServer {
	return newTestServer(t, Options{Statuses: []int{418}}, endpoints{
		"GET /image/{session}":  answers,
		"POST /image/{session}": answers,
		"/image/{session}":      OtherMethods([]string{"GET", "POST"}),
		"/image/{$}":            fails(Errorf(http.StatusBadRequest, "no session")),
	})
}

func TestMetricsCountRequests(t *testing.T) {
	t.Parallel()
	s := newImageServer(t)
	for _, row := range []struct {
		method, path string
		status       int
		series       string
	}{
		{"POST", "/image/x", 200, "route=/image/{session} method=POST status=200"},
		{"GET", "/image/x", 200, "route=/image/{session} method=GET status=200"},
		{"HEAD", "/image/x", 200, "route=/image/{session} method=HEAD status=200"},
		{"HEAD", "/image/x?status=418", 418, "route=/image/{session} method=HEAD status=418"},
		{"GET", "/image/x?status=418", 418, "route=/image/{session} method=GET status=418"},
		{"GET", "/image/x?status=201", 201, "route=/image/{session} method=GET status=other"},
		{"GET", "/image/x?status=299", 299, "route=/image/{session} method=GET status=other"},
		{"OPTIONS", "/image/x", 204, "route=/image/{session} method=OPTIONS status=204"},
		{"MKCOL", "/image/x", 405, "route=/image/{session} method=other status=405"},
		{"GET", "/image/", 400, "route=/image/ method=GET status=400"},
		{"GET", "/nothing/here", 404, "route=/ method=GET status=404"},
		{"GET", "//image/x", 404, "route=/ method=GET status=404"},
	} {
		counted := func() [3]float64 {
			labels := strings.Fields(row.series)
			return [3]float64{
				s.value(t, "http_requests_total", labels...),
				s.value(t, "http_request_duration_seconds", labels...),
				s.value(t, "rejected_requests_total", "status="+strconv.Itoa(row.status)),
			}
		}
		want := counted()
		want[0]++
		want[1]++
		if row.status >= 400 && row.status != 418 {
			want[2]++
		}
		resp := testkit.Must(testkit.Client.Transport.RoundTrip(testkit.Must(
			http.NewRequestWithContext(t.Context(), row.method, "http://"+s.addr+row.path, nil))(t)))(t)
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != row.status {
			t.Errorf("%s %s: got status %d, want %d", row.method, row.path, resp.StatusCode, row.status)
		}
		testkit.Eventually(t, func() bool { return counted() == want }) // after the client has the answer
	}
}

// A client that hangs up before the answer begins has the status none, and the bodies of all answers are counted as
// they go.
func TestMetricsCountAnswers(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Options{}, endpoints{
		"/x":    succeeds,
		"/gone": func(http.ResponseWriter, *http.Request) error { return Aborted(errCause) },
		"/part": func(w http.ResponseWriter, r *http.Request) error {
			io.WriteString(w, "part")
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return nil
		},
	})
	s.get(t, "/x").wantStatus(t, 200)
	s.do(t, "HEAD", "/x", nil).wantStatus(t, 200)
	if resp, err := testkit.Client.Get("http://" + s.addr + "/gone"); err == nil {
		t.Errorf("got status %d, want no answer", resp.StatusCode)
	}
	testkit.Eventually(t, func() bool { return s.value(t, "http_requests_total", "route=/gone", "status=none") >= 1 })
	if n := s.value(t, "sent_bytes_total"); n != 3 {
		t.Errorf("got %g bytes sent, want the 3 of GET", n)
	}
	resp := testkit.Must(testkit.Client.Get("http://" + s.addr + "/part"))(t)
	testkit.Eventually(t, func() bool { return s.value(t, "sent_bytes_total") == 3+4 })
	resp.Body.Close()
	testkit.Eventually(t, func() bool { return s.value(t, "http_requests_total", "route=/part", "status=200") == 1 })
}

// Every status that rejections have begins at 0, so that a rate sees the first one.
func TestMetricsBeginAtZero(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	New(Options{Registerer: registry})
	s := &testServer{metrics: registry}
	var want []string
	for _, status := range rejections {
		want = append(want, fmt.Sprint("imagestreamer_rejected_requests_total status=", status))
	}
	want = append(want, "imagestreamer_sent_bytes_total")
	if got := slices.Sorted(maps.Keys(s.series(t))); !slices.Equal(got, want) {
		t.Errorf("got series %q, want %q", got, want)
	}
}

// stranger makes up requests from a seed, as a client might that means harm.
type stranger struct{ *rand.Rand }

// word returns some characters of an alphabet.
func (x stranger) word(alphabet string, least, most int) string {
	word := make([]byte, least+x.IntN(most-least+1))
	for i := range word {
		word[i] = alphabet[x.IntN(len(alphabet))]
	}
	return string(word)
}

func (x stranger) method() string {
	known := []string{"GET", "HEAD", "POST", "PUT", "OPTIONS", "DELETE", "PATCH", "TRACE"}
	if n := x.IntN(2 * len(known)); n < len(known) {
		return known[n]
	}
	return x.word("ABCDEFGHIJKLMNOPQRSTUVWXYZ-_!~", 1, 12)
}

// url returns a path below /image/ or anywhere, with a query that asks for a status.
func (x stranger) url() *url.URL {
	path := "/zz" + x.word("abc/.\x01\xff%?#\"{}\n $", 0, 30)
	if x.IntN(2) == 0 {
		path = "/image" + path
	}
	return &url.URL{Path: path, RawQuery: fmt.Sprint("zz&status=", 400+x.IntN(200))}
}

// However many requests come, in whatever form, they make no more series than there are routes, methods and statuses,
// and no label holds what a client made up.
func TestMetricsHaveBoundedLabels(t *testing.T) {
	t.Parallel()
	s := newImageServer(t)
	serve := func(method string, u *url.URL) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Method, r.URL = method, u
		s.handler.ServeHTTP(newRecordedConn(), r)
	}
	for _, path := range []string{"/image/x", "/image/", "/nothing", "//image"} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "OPTIONS", "DELETE"} {
			for _, status := range slices.Concat(successes, rejections, []int{201, 418}) {
				serve(method, &url.URL{Path: path, RawQuery: fmt.Sprint("status=", status)})
			}
		}
	}
	usual := s.series(t)
	for seed := range uint64(5000) {
		x := stranger{rand.New(rand.NewPCG(seed, 1))}
		serve(x.method(), x.url())
	}
	for series := range s.series(t) {
		if _, found := usual[series]; !found || strings.Contains(strings.ToLower(series), "zz") {
			t.Errorf("a series more than the usual %d: %q", len(usual), series)
		}
	}
}

func TestRoute(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]string{
		"GET /image/{session}": "/image/{session}", "/image/{session}": "/image/{session}", "/image/{$}": "/image/",
		"GET /{$}": "/", "/": "/", "": "/",
	} {
		if got := routeOf(pattern); got != want {
			t.Errorf("%q: got %q, want %q", pattern, got, want)
		}
	}
}

// Counting costs a request no allocation. Allocations are counted in the whole process, so this test runs alone.
func TestMetricsAllocateNothing(t *testing.T) {
	m := newMetrics(prometheus.NewRegistry(), nil)
	kind := requestKind{"GET /image/{session}", "GET", 200}
	if got := testing.AllocsPerRun(100, func() { m.observe(kind, time.Millisecond) }); got != 0 {
		t.Errorf("got %g allocations, want none", got)
	}
}

// BenchmarkObserve shows what it saves to look the series of each kind of request up only once.
func BenchmarkObserve(b *testing.B) {
	m := newMetrics(prometheus.NewRegistry(), nil)
	kind := requestKind{"GET /image/{session}", "GET", 200}
	b.Run("once", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m.observe(kind, time.Millisecond)
		}
	})
	b.Run("each time", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			labels := []string{routeOf(kind.pattern), kind.method, m.status(kind.status)}
			m.requests.WithLabelValues(labels...).Inc()
			m.duration.WithLabelValues(labels...).Observe(time.Millisecond.Seconds())
		}
	})
}

// BenchmarkWrap is a request through everything that Wrap and Handle put around an endpoint.
func BenchmarkWrap(b *testing.B) {
	s := newTestServer(b, Options{}, endpoints{"GET /ok": func(http.ResponseWriter, *http.Request) error { return nil }})
	w, r := newRecordedConn(), httptest.NewRequest("GET", "/ok", nil)
	b.ReportAllocs()
	for b.Loop() {
		w.writes = w.writes[:0]
		s.handler.ServeHTTP(w, r)
	}
}
