package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// cacheBusters are queries that clients add to get past caches.
var cacheBusters = []string{"", "?1595805826022", "?_cb=1", "?a=%zz;&=&session=other"}

var timestampForm = regexp.MustCompile(`^[0-9]{10}\.[0-9]{6}$`)

func TestGetImage(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		id := session.New()
		images := []string{"first", "\x00\xff second\r\n\r\n", "third", "fourth"}
		for _, image := range images {
			s.PushImage(t, id, image)
		}
		last := ""
		for i, image := range images {
			path := "/image/" + id + cacheBusters[i%len(cacheBusters)]
			head := s.Do(t, http.MethodHead, path, nil).WantStatus(t, 200)
			got := s.Get(t, path).WantStatus(t, 200)
			if got.Text != image || head.Text != "" {
				t.Errorf("image %d: got %q, and %q by HEAD, want %q", i, got.Text, head.Text, image)
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

// A request for the end of an image takes nothing: its answer would be lost. Any other range gets the whole image.
func TestGetImageRange(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		id := session.New()
		for _, row := range []struct {
			header string
			status int
		}{
			{"Range: bytes=2-", 416},
			{"Range: BYTES=2-3", 416},
			{"Range: bytes=-3", 416},
			{"Range: bytes=0-0, 4-", 416},
			{"Range: bytes=0-", 200},
			{"Range: bytes=0-2", 200},
			{"Range: lines=2-", 200},
			{"Range: bytes=x-", 200},
			{"Range: nonsense", 200},
		} {
			for _, method := range []string{"GET", "POST"} {
				path := "/image/" + id + map[string]string{"POST": "/pop"}[method]
				s.PushImage(t, id, "image")
				got := s.Do(t, method, path, nil, row.header)
				if got.StatusCode != row.status || row.status == 200 && got.Text != "image" {
					t.Errorf("%s: got status %d, %s, want %d", row.header, got.StatusCode, got.Text, row.status)
				}
				if row.status == 416 {
					s.Do(t, method, path, nil, row.header, "If-Range: \"x\"").WantStatus(t, 200)
				}
				s.WantEmpty(t, id)
			}
		}
	})
}

func TestGetImageEmpty(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		for _, query := range cacheBusters {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				got := s.Do(t, method, "/image/"+session.New()+query, nil).WantStatus(t, 200)
				if !got.IsNoData() || got.Header.Get("Content-Type") != "image/png" ||
					got.Header.Get("X-Sequence") != "" {
					t.Errorf("%s %q: got headers %v", method, query, got.Header)
				}
				if method == http.MethodGet {
					wantPNG(t, got.Text, 100, 50)
				}
				if got.ContentLength != int64(len(noDataPNG(100, 50))) {
					t.Errorf("%s: got Content-Length %d", method, got.ContentLength)
				}
			}
		}
	}, "NODATA_HEIGHT=50", "NODATA_ASPECT_RATIO=1/2")
}

// A gap in X-Sequence shows the images that nobody took in time.
func TestGetImageAfterExpiry(t *testing.T) {
	t.Parallel()
	onClocked(t, func(t *testing.T, s *testServer) {
		id := session.New()
		s.PushImage(t, id, "too old")
		s.Elapse(s.TTL * 6 / 10)
		s.PushImage(t, id, "fresh")
		s.Elapse(s.TTL * 6 / 10)
		got := s.Get(t, "/image/"+id)
		if got.Text != "fresh" || got.Header.Get("X-Sequence") != "2" || got.Header.Get("X-Queue-Length") != "0" {
			t.Errorf("got %q, X-Sequence %q, X-Queue-Length %q, want fresh, 2, 0",
				got.Text, got.Header.Get("X-Sequence"), got.Header.Get("X-Queue-Length"))
		}
	})
}

// A consumer that hangs up leaves the image to the next one, at its place.
func TestConsumerHangsUp(t *testing.T) {
	t.Parallel()
	for name, read := range map[string]int{"before reading": 0, "while reading": 64 << 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onEngines(t, func(t *testing.T, s *testServer) {
				id := session.New()
				big := string(bytes.Repeat([]byte("\x00jpeg\xff\r\n"), 2<<20)) // more than the sockets hold
				s.PushImage(t, id, big)
				s.PushImage(t, id, "next")

				conn := s.Dial(t)
				conn.SetReadBuffer(4 << 10)
				fmt.Fprintf(conn, "GET /image/%s HTTP/1.1\r\nHost: x\r\n\r\n", id)
				testkit.Eventually(t, func() bool { return s.Len(t, id) == 1 }) // it is being written
				testkit.Must(io.ReadFull(conn, make([]byte, read)))(t)
				conn.Close()
				testkit.Eventually(t, func() bool { return s.Len(t, id) == 2 })
				for i, want := range []string{big, "next"} {
					got := s.Get(t, "/image/"+id)
					if got.Text != want || got.Header.Get("X-Sequence") != strconv.Itoa(i+1) {
						t.Errorf("next consumer: got %d bytes, X-Sequence %s, want the %d of image %d",
							len(got.Text), got.Header.Get("X-Sequence"), len(want), i+1)
					}
				}
			})
		})
	}
}

// A consumer that closed its half of the connection while the image was fetched gets no answer rather than an empty
// one, because it may still be reading.
func TestConsumerHalfCloses(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		id := session.New()
		s.PushImage(t, id, "image")
		conn := newTestServer(t, testConfig(t), s.Harness, withQueue(lateQueue{s.Queue})).Dial(t)
		fmt.Fprintf(conn, "GET /image/%s HTTP/1.1\r\nHost: x\r\n\r\n", id)
		conn.CloseWrite()
		if got := testkit.Must(io.ReadAll(conn))(t); len(got) > 0 {
			t.Errorf("got %q, want nothing", got)
		}
		testkit.Eventually(t, func() bool { return s.Len(t, id) == 1 })
	})
}

func TestStats(t *testing.T) {
	t.Parallel()
	onClocked(t, func(t *testing.T, s *testServer) {
		const none = `{"numImages":0,"numSessions":0,"sessions":[]}` + "\n"
		s.wantStats(t, none)
		for _, id := range []string{"b", "a", "Z", "b", "_", "10", "9", "b"} {
			s.PushImage(t, id, "image")
		}
		s.wantStats(t, `{"numImages":8,"numSessions":6,"sessions":[{"id":"10","len":1},{"id":"9","len":1},`+
			`{"id":"Z","len":1},{"id":"_","len":1},{"id":"a","len":1},{"id":"b","len":3}]}`+"\n")
		s.Elapse(s.TTL / 2)
		s.PushImage(t, "b", "a later one")
		s.Take(t, "_")
		s.Elapse(s.TTL * 6 / 10)
		s.wantStats(t, `{"numImages":1,"numSessions":1,"sessions":[{"id":"b","len":1}]}`+"\n")
		s.Take(t, "b")
		s.wantStats(t, none)
	})
}

// sessionDetails matches the fields of a session in /stats that this test does not compare.
var sessionDetails = regexp.MustCompile(`,"bytes":\d+,"age":[0-9.e-]+,"sent":\d+,"taken":\d+,"expired":\d+,` +
	`"dropped":\d+}`)

func (s *testServer) wantStats(t *testing.T, want string) {
	t.Helper()
	for _, query := range cacheBusters {
		got := s.Get(t, "/stats"+query).WantStatus(t, 200)
		text := sessionDetails.ReplaceAllString(got.Text, "}")
		if kind := got.Header.Get("Content-Type"); text != want || kind != "application/json" {
			t.Errorf("got %s, %s, want %s", kind, text, want)
		}
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		for _, path := range []string{"/healthz", "/readyz", "/healthz?_cb=1"} {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				if got := s.Do(t, method, path, nil).WantStatus(t, 200); !strings.HasPrefix("ok\n", got.Text) {
					t.Errorf("%s %s: got %q", method, path, got.Text)
				}
			}
		}
	})
}

// allowedMethods are the methods of each path.
var allowedMethods = map[string]string{
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
	s := newMemoryServer(t) // the queue is not asked
	for path, methods := range allowedMethods {
		got := s.Do(t, http.MethodOptions, path, nil, "Origin: https://camera.example",
			"Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,content-type,x-own")
		for name, want := range map[string]string{
			"Allow":                        methods,
			"Access-Control-Allow-Methods": methods,
			"Access-Control-Allow-Headers": "*, Authorization", // * does not cover Authorization
			"Access-Control-Max-Age":       "86400",
		} {
			if got.StatusCode != http.StatusNoContent || got.Header.Get(name) != want {
				t.Errorf("%s: got status %d, %s %q, want 204, %q",
					path, got.StatusCode, name, got.Header.Get(name), want)
			}
		}
	}
}

func TestMethodNotAllowed(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		for path, methods := range allowedMethods {
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"} {
				if strings.Contains(", "+methods+",", ", "+method+",") {
					continue
				}
				got := s.Do(t, method, path, strings.NewReader("image"))
				if got.StatusCode != http.StatusMethodNotAllowed || got.Header.Get("Allow") != methods {
					t.Errorf("%s %s: got status %d, Allow %q, want 405, %q",
						method, path, got.StatusCode, got.Header.Get("Allow"), methods)
				}
			}
		}
		if n := s.Len(t, "x"); n != 0 {
			t.Errorf("stored %d images", n)
		}
	})
}

// No path is redirected: a redirect is an HTML page, and may lose an image.
func TestNotFound(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		for _, path := range []string{
			"/", "", "/index.html", "/image", "/image/a/b", "/image/a/b/", "/images/a", "/session.jpg", "/session//",
			"/session/a", "/imageForm", "/imageForm/a/b", "//image/a", "/image//a", "/./image/a",
			"/image/../image/a", "/image/a/..", "/image/.", "/image/..", "/x/../stats", "/stats//", "/favicon.ico",
			"/%2e%2e/etc/passwd", "/image%2Fa",
		} {
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"} {
				got := s.Do(t, method, path, strings.NewReader("image"))
				if got.StatusCode != http.StatusNotFound {
					t.Errorf("%s %s: got status %d, want 404", method, path, got.StatusCode)
				}
			}
		}
		if n := s.Len(t, "a"); n != 0 {
			t.Errorf("stored %d images", n)
		}
	})
}

// brokenQueue fails as a bug would.
type brokenQueue struct{ queue.Queue }

func (brokenQueue) Sessions(context.Context) ([]queue.Session, error) { panic("a bug") }

func (brokenQueue) Find(context.Context, string, queue.Query) (queue.Ref, error) {
	return queue.Ref{}, errors.New("a secret cause")
}

func (brokenQueue) PopAtMost(context.Context, string, int) (queue.Delivery, error) {
	return queue.Delivery{}, errors.New("a secret cause")
}

// The cause of an internal error goes to the log, not to the client.
func TestInternalError(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	h := memoryHarness(t, cfg)
	s := newTestServer(t, cfg, h, withQueue(brokenQueue{h.Queue}))
	for _, path := range []string{"/stats", "/image/x"} {
		got := s.Get(t, path).WantStatus(t, 500)
		if strings.Contains(got.Text, "bug") || strings.Contains(got.Text, "secret") {
			t.Errorf("%s: got %q", path, got.Text)
		}
	}
	s.Do(t, http.MethodHead, "/image/x", nil).WantStatus(t, 500)
	s.Get(t, "/healthz").WantStatus(t, 200)
}
