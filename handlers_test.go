package main

import (
	"bytes"
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
	"strconv"
	"strings"
	"testing"
	"time"
)

// site is a server under test, on a listener of its own, with its engine at hand.
type site struct {
	*fixture
	addr string
}

// onSites runs a test on both engines, with settings given as NAME=value.
func onSites(t *testing.T, test func(t *testing.T, s *site), vars ...string) {
	cfg := testConfig(t, vars...)
	for _, name := range []string{"memory", "redis"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newSite(t, cfg, engines[name](t, cfg.expire)))
		})
	}
}

func newSite(t testing.TB, cfg config, f *fixture) *site {
	t.Helper()
	listener := httptest.NewServer(newServer(cfg, f, slog.New(slog.DiscardHandler)).routes())
	t.Cleanup(listener.Close)
	return &site{f, listener.Listener.Addr().String()}
}

// testConfig checks settings as the program does; what is not named is small or
// has its default.
func testConfig(t testing.TB, vars ...string) config {
	t.Helper()
	return must(loadConfig(vary(append([]string{"NODATA_HEIGHT=90", "MAX_IMAGE_BYTES=1MiB"}, vars...)...)))(t)
}

// vary is an environment of its own: what is not named is set to nothing, so
// that no variable and no file of the developer's counts.
func vary(vars ...string) lookup {
	return func(name string) (value string, ok bool) {
		for _, v := range vars {
			if rest, found := strings.CutPrefix(v, name+"="); found {
				value = rest
			}
		}
		return value, true
	}
}

// response is an answer that keeps the rules for all answers.
type response struct {
	*http.Response
	body string
}

// do sends a request; headers are given as "Name: value".
func (s *site) do(t testing.TB, method, path string, body io.Reader, headers ...string) response {
	t.Helper()
	req := must(http.NewRequestWithContext(t.Context(), method, "http://"+s.addr+path, body))(t)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	return received(t, must(http.DefaultTransport.RoundTrip(req))(t), method)
}

func (s *site) get(t testing.TB, path string, headers ...string) response {
	t.Helper()
	return s.do(t, http.MethodGet, path, nil, headers...)
}

// dial opens a bare connection, for what net/http's client does not do.
func (s *site) dial(t testing.TB) *net.TCPConn {
	t.Helper()
	conn := must(net.Dial("tcp", s.addr))(t).(*net.TCPConn)
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(15 * time.Second))
	return conn
}

// received reads an answer whole and checks what holds for every one.
func received(t testing.TB, r *http.Response, method string) response {
	t.Helper()
	defer r.Body.Close()
	body := must(io.ReadAll(r.Body))(t)
	policy := "default-src 'none'; sandbox"
	if strings.HasPrefix(r.Header.Get("Content-Type"), "text/html") { // the page of the demo has its own
		policy = r.Header.Get("Content-Security-Policy")
	}
	for name, want := range map[string]string{
		"Cache-Control":                 "no-store",
		"X-Content-Type-Options":        "nosniff",
		"Content-Security-Policy":       policy,
		"Access-Control-Allow-Origin":   "*",
		"Access-Control-Expose-Headers": "X-Sequence, X-Timestamp, X-Queue-Length, X-No-Data, Retry-After",
	} {
		if got := strings.Join(r.Header[name], "|"); got != want {
			t.Errorf("%s, status %d: got %s %q, want %q", method, r.StatusCode, name, got, want)
		}
	}
	if r.StatusCode >= 300 && r.StatusCode < 400 {
		t.Errorf("%s: got status %d: nothing is ever redirected", method, r.StatusCode)
	}
	if r.StatusCode >= 400 && method != http.MethodHead && r.Header.Get("X-No-Data") == "" {
		wantError(t, r, body)
	}
	return response{r, string(body)}
}

// wantError checks that a refusal is JSON with a sentence in it, the id that the
// header has, and nothing else.
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

var requestIDForm = regexp.MustCompile(`^[A-Z2-7]{8}$`)

// wantStatus ends the test when the status is another one.
func (r response) wantStatus(t testing.TB, want int) response {
	t.Helper()
	if r.StatusCode != want {
		t.Fatalf("got status %d, %.200q, want %d", r.StatusCode, r.body, want)
	}
	return r
}

func (r response) isNoData() bool { return r.Header.Get("X-No-Data") == "true" }

// The queries that clients add to get past caches.
var cacheBusters = []string{"", "?1595805826022", "?_cb=1", "?a=%zz;&=&session=other"}

var timestampForm = regexp.MustCompile(`^[0-9]{10}\.[0-9]{6}$`)

func TestGetImage(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		session := newSession()
		images := []string{"first", "\x00\xff second\r\n\r\n", "third", "fourth"}
		for _, image := range images {
			s.push(t, session, image)
		}
		last := ""
		for i, image := range images {
			path := "/image/" + session + cacheBusters[i%len(cacheBusters)]
			head := s.do(t, http.MethodHead, path, nil).wantStatus(t, 200)
			got := s.get(t, path).wantStatus(t, 200)
			if got.body != image || head.body != "" {
				t.Errorf("image %d: got %q, and %q by HEAD, want %q", i, got.body, head.body, image)
			}
			for name, want := range map[string]string{
				"Content-Type":   "image/webp",
				"Content-Length": strconv.Itoa(len(image)),
				"X-Sequence":     strconv.Itoa(i + 1),
				"X-Queue-Length": strconv.Itoa(len(images) - i - 1),
				"X-No-Data":      "",
				"X-Timestamp":    head.Header.Get("X-Timestamp"),
			} {
				if got, head := got.Header.Get(name), head.Header.Get(name); got != want || head != want {
					t.Errorf("image %d: got %s %q, and %q by HEAD, want %q", i, name, got, head, want)
				}
			}
			arrival := got.Header.Get("X-Timestamp")
			seconds, _ := strconv.ParseFloat(arrival, 64)
			age := time.Since(time.UnixMicro(int64(seconds * 1e6)))
			if !timestampForm.MatchString(arrival) || arrival < last || age.Abs() > time.Minute {
				t.Errorf("image %d: got X-Timestamp %q after %q, want now in seconds.microseconds", i, arrival, last)
			}
			last = arrival
		}
	}, "MIMETYPE=image/webp")
}

func TestGetImageEmpty(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		for _, query := range cacheBusters {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				got := s.do(t, method, "/image/"+newSession()+query, nil).wantStatus(t, 200)
				if !got.isNoData() || got.Header.Get("Content-Type") != "image/png" || got.Header.Get("X-Sequence") != "" {
					t.Errorf("%s %q: got headers %v", method, query, got.Header)
				}
				if method == http.MethodGet {
					wantPNG(t, got.body, 100, 50)
				}
				if got.ContentLength != int64(len(noDataPNG(100, 50))) {
					t.Errorf("%s: got Content-Length %d", method, got.ContentLength)
				}
			}
		}
	}, "NODATA_HEIGHT=50", "NODATA_ASPECT_RATIO=1/2")
}

// A gap in X-Sequence shows what nobody took in time.
func TestGetImageAfterExpiry(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		session := newSession()
		s.push(t, session, "too old")
		s.elapse(s.ttl * 6 / 10)
		s.push(t, session, "fresh")
		s.elapse(s.ttl * 6 / 10)
		got := s.get(t, "/image/"+session)
		if got.body != "fresh" || got.Header.Get("X-Sequence") != "2" || got.Header.Get("X-Queue-Length") != "0" {
			t.Errorf("got %q, X-Sequence %q, X-Queue-Length %q, want fresh, 2, 0",
				got.body, got.Header.Get("X-Sequence"), got.Header.Get("X-Queue-Length"))
		}
	}, "EXPIRE=1")
}

// A consumer that hangs up leaves the image to the next one, at its place.
func TestConsumerHangsUp(t *testing.T) {
	t.Parallel()
	for name, read := range map[string]int{"before reading": 0, "while reading": 64 << 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onSites(t, func(t *testing.T, s *site) {
				session := newSession()
				big := string(bytes.Repeat([]byte("\x00jpeg\xff\r\n"), 2<<20)) // more than the sockets hold
				s.push(t, session, big)
				s.push(t, session, "next")

				conn := s.dial(t)
				conn.SetReadBuffer(4 << 10)
				fmt.Fprintf(conn, "GET /image/%s HTTP/1.1\r\nHost: x\r\n\r\n", session)
				eventually(t, func() bool { return s.length(t, session) == 1 }) // it is being written
				must(io.ReadFull(conn, make([]byte, read)))(t)
				conn.Close()
				eventually(t, func() bool { return s.length(t, session) == 2 })
				for i, want := range []string{big, "next"} {
					got := s.get(t, "/image/"+session)
					if got.body != want || got.Header.Get("X-Sequence") != strconv.Itoa(i+1) {
						t.Errorf("next consumer: got %d bytes, X-Sequence %s, want the %d of image %d",
							len(got.body), got.Header.Get("X-Sequence"), len(want), i+1)
					}
				}
			})
		})
	}
}

// lateQueue hands out images only after their consumer has hung up.
type lateQueue struct{ engine }

func (q lateQueue) Pop(ctx context.Context, session string) (frame, error) {
	f, err := q.engine.Pop(ctx, session)
	<-ctx.Done()
	return f, err
}

// A consumer that closed its end while the image was fetched gets no answer
// rather than an empty one: it may still be reading.
func TestConsumerHalfCloses(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		session := newSession()
		s.push(t, session, "image")
		f := *s.fixture
		f.engine = lateQueue{f.engine}
		conn := newSite(t, testConfig(t), &f).dial(t)
		fmt.Fprintf(conn, "GET /image/%s HTTP/1.1\r\nHost: x\r\n\r\n", session)
		conn.CloseWrite()
		if got := must(io.ReadAll(conn))(t); len(got) > 0 {
			t.Errorf("got %q, want nothing", got)
		}
		eventually(t, func() bool { return s.length(t, session) == 1 })
	})
}

func TestStats(t *testing.T) {
	t.Parallel()
	for name, newFixture := range map[string]func(*testing.T, time.Duration) *fixture{
		"memory": memoryFixture,
		"redis": func(t *testing.T, ttl time.Duration) *fixture { // nobody else's sessions
			return redisFixture(t, ownRedis(t).client(t), ttl)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(t, "EXPIRE=1.5")
			s := newSite(t, cfg, newFixture(t, cfg.expire))
			const none = `{"numImages":0,"numSessions":0,"sessions":[]}` + "\n"
			s.wantStats(t, none)
			for _, session := range []string{"b", "a", "Z", "b", "_", "10", "9", "b"} {
				s.push(t, session, "image")
			}
			s.wantStats(t, `{"numImages":8,"numSessions":6,"sessions":[{"id":"10","len":1},{"id":"9","len":1},`+
				`{"id":"Z","len":1},{"id":"_","len":1},{"id":"a","len":1},{"id":"b","len":3}]}`+"\n")
			s.elapse(s.ttl / 2)
			s.push(t, "b", "a later one")
			s.take(t, "_")
			s.elapse(s.ttl * 6 / 10)
			s.wantStats(t, `{"numImages":1,"numSessions":1,"sessions":[{"id":"b","len":1}]}`+"\n")
			s.take(t, "b")
			s.wantStats(t, none)
		})
	}
}

// details is what /stats tells of a session besides its length: see TestStatsDetails.
var details = regexp.MustCompile(`,"bytes":\d+,"age":[0-9.e-]+,"sent":\d+,"taken":\d+,"expired":\d+,"dropped":\d+}`)

func (s *site) wantStats(t *testing.T, want string) {
	t.Helper()
	for _, query := range cacheBusters {
		got := s.get(t, "/stats"+query).wantStatus(t, 200)
		if got.body = details.ReplaceAllString(got.body, "}"); got.body != want || got.Header.Get("Content-Type") != "application/json" {
			t.Errorf("got %s, %s, want %s", got.Header.Get("Content-Type"), got.body, want)
		}
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		for _, path := range []string{"/healthz", "/readyz", "/healthz?_cb=1"} {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				if got := s.do(t, method, path, nil).wantStatus(t, 200); !strings.HasPrefix("ok\n", got.body) {
					t.Errorf("%s %s: got %q", method, path, got.body)
				}
			}
		}
	})
}

var allowed = map[string]string{
	"/session":      "GET, HEAD, OPTIONS",
	"/image/x":      "POST, PUT, GET, HEAD, OPTIONS",
	"/image/x/pop":  "POST, OPTIONS",
	"/imageForm/x":  "POST, OPTIONS",
	"/stats":        "GET, HEAD, OPTIONS",
	"/healthz":      "GET, HEAD, OPTIONS",
	"/readyz?_cb=1": "GET, HEAD, OPTIONS",
}

// A browser asks before it sends an image or reads a header from another origin.
func TestPreflight(t *testing.T) {
	t.Parallel()
	s := newSite(t, testConfig(t), memoryFixture(t, time.Minute)) // no engine is asked
	for path, methods := range allowed {
		got := s.do(t, http.MethodOptions, path, nil, "Origin: https://camera.example",
			"Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,content-type,x-own")
		for name, want := range map[string]string{
			"Allow":                        methods,
			"Access-Control-Allow-Methods": methods,
			"Access-Control-Allow-Headers": "*, Authorization", // * does not cover Authorization
			"Access-Control-Max-Age":       "86400",
		} {
			if got.StatusCode != http.StatusNoContent || got.Header.Get(name) != want {
				t.Errorf("%s: got status %d, %s %q, want 204, %q", path, got.StatusCode, name, got.Header.Get(name), want)
			}
		}
	}
}

func TestMethodNotAllowed(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		for path, methods := range allowed {
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"} {
				if strings.Contains(", "+methods+",", ", "+method+",") {
					continue
				}
				got := s.do(t, method, path, strings.NewReader("image"))
				if got.StatusCode != http.StatusMethodNotAllowed || got.Header.Get("Allow") != methods {
					t.Errorf("%s %s: got status %d, Allow %q, want 405, %q",
						method, path, got.StatusCode, got.Header.Get("Allow"), methods)
				}
			}
		}
		if n := s.length(t, "x"); n != 0 {
			t.Errorf("stored %d images", n)
		}
	})
}

// Nothing is redirected: a redirect is an HTML page, and may lose an image.
func TestNotFound(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		for _, path := range []string{
			"/", "", "/index.html", "/image", "/image/a/b", "/image/a/", "/images/a", "/Image/a", "/session/", "/session/a",
			"/stats/", "/imageForm", "/imageForm/a/b", "//image/a", "/image//a", "/./image/a", "/image/../image/a", "/image/a/..",
			"/image/.", "/image/..", "/x/../stats", "/stats//", "/favicon.ico", "/%2e%2e/etc/passwd", "/image%2Fa",
		} {
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"} {
				got := s.do(t, method, path, strings.NewReader("image"))
				if got.StatusCode != http.StatusNotFound {
					t.Errorf("%s %s: got status %d, want 404", method, path, got.StatusCode)
				}
			}
		}
		if n := s.length(t, "a"); n != 0 {
			t.Errorf("stored %d images", n)
		}
	})
}

// brokenQueue panics, as a bug would.
type brokenQueue struct{ engine }

func (brokenQueue) Stats(context.Context) ([]sessionStats, error) { panic("a bug") }

func (brokenQueue) Look(context.Context, string, pick) (frame, error) {
	return frame{}, errors.New("a secret cause")
}

func (brokenQueue) Pop(context.Context, string) (frame, error) {
	return frame{}, errors.New("a secret cause")
}

// What breaks inside is told to the log, not to the client.
func TestInternalError(t *testing.T) {
	t.Parallel()
	f := memoryFixture(t, time.Minute)
	f.engine = brokenQueue{f.engine}
	s := newSite(t, testConfig(t), f)
	for _, path := range []string{"/stats", "/image/x"} {
		got := s.get(t, path).wantStatus(t, 500)
		if strings.Contains(got.body, "bug") || strings.Contains(got.body, "secret") {
			t.Errorf("%s: got %q", path, got.body)
		}
	}
	s.do(t, http.MethodHead, "/image/x", nil).wantStatus(t, 500)
	s.get(t, "/healthz").wantStatus(t, 200)
}
