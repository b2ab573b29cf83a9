package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/image-streamer/image-streamer/internal/httpserver"
	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// loggedServer is a server whose log the test reads, a JSON object a line.
type loggedServer struct {
	*testServer
	log *testkit.Log
}

// newLoggedServer starts a server on the embedded queue that logs from a level on.
func newLoggedServer(t testing.TB, level slog.Level, options ...testOption) *loggedServer {
	t.Helper()
	log, cfg := new(testkit.Log), testConfig(t)
	handler := slog.NewJSONHandler(log, &slog.HandlerOptions{Level: level})
	options = append(options, withLog(slog.New(handler)))
	return &loggedServer{newTestServer(t, cfg, memoryHarness(t, cfg), options...), log}
}

// A failure of the server, or a limit of it, has one line with its cause, under the id that the client got. A mistake
// of the client has no line.
func TestLogNamesFailures(t *testing.T) {
	t.Parallel()
	for status, logged := range map[int]bool{
		400: false, 401: false, 403: false, 404: false, 405: false, 411: false, 413: false, 415: false,
		408: true, 429: true, 500: true, 503: true, 507: true,
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			cause := map[int]error{
				500: errors.New("the cause"), 503: fmt.Errorf("pop: %w", queue.ErrUnavailable), 507: queue.ErrFull,
			}[status]
			if cause == nil {
				cause = httpserver.Errorf(status, "the cause")
			}
			fails := func(http.ResponseWriter, *http.Request) error { return cause }
			s := newLoggedServer(t, slog.LevelInfo, withHandler(fails))
			got := s.Get(t, "/image/a-session?key=a-key").WantStatus(t, status)
			lines := s.log.JSON(t, "request failed")
			if !logged {
				if log := s.log.String(); log != "" {
					t.Errorf("got log %s, want none", log)
				}
				return
			}
			if len(lines) != 1 || lines[0]["level"] != "WARN" || lines[0]["status"] != float64(status) ||
				lines[0]["error"] == nil || lines[0]["request"] != got.Header.Get("X-Request-Id") {
				t.Errorf("got log %s, want the failure of request %s once", s.log, got.Header.Get("X-Request-Id"))
			}
		})
	}
}

func TestLogNamesPanics(t *testing.T) {
	t.Parallel()
	panics := func(http.ResponseWriter, *http.Request) error { panic("a bug") }
	s := newLoggedServer(t, slog.LevelInfo, withHandler(panics))
	got := s.Get(t, "/").WantStatus(t, 500)
	lines := s.log.JSON(t, "panic")
	if len(lines) != 1 || lines[0]["cause"] != "a bug" || lines[0]["request"] != got.Header.Get("X-Request-Id") {
		t.Errorf("got log %s, want request %s", s.log, got.Header.Get("X-Request-Id"))
	}
}

// An answer without an error has no id, and no line above debug level.
func TestLogIsSilentOnSuccess(t *testing.T) {
	t.Parallel()
	s := newLoggedServer(t, slog.LevelInfo)
	for _, path := range []string{"/session", "/stats", "/image/x", "/metrics", "/image/x?nodata=503"} {
		if got := s.Get(t, path); got.Header.Get("X-Request-Id") != "" {
			t.Errorf("%s: got id %s", path, got.Header.Get("X-Request-Id"))
		}
	}
	if log := s.log.String(); log != "" {
		t.Errorf("got log %s", log)
	}
}

// Each request has one line at debug level with its outcome. No line holds a session, a key or a path.
func TestLogDebugsRequests(t *testing.T) {
	t.Parallel()
	s := newLoggedServer(t, slog.LevelDebug)
	for _, row := range []struct {
		method, path, body string
		route              string
		status, bytes      float64
	}{
		{"POST", "/image/zzsession?key=zzkey", "image", "/image/{session}", 200, 0},
		{"HEAD", "/image/zzsession", "", "/image/{session}", 200, 0},
		{"GET", "/image/zzsession?zzquery", "", "/image/{session}", 200, 5},
		{"ZZMETHOD", "/image/zzsession", "", "/image/{session}", 405, -1},
		{"GET", "/image/zz%20session", "", "/image/{session}", 400, -1},
		{"GET", "/image/zzsession?wait=zzwait", "", "/image/{session}", 400, -1},
		{"GET", "/zzpath?zzquery", "", "/", 404, -1},
		{"GET", "//zzpath", "", "/", 404, -1},
	} {
		known := len(s.log.JSON(t, "request"))
		got := s.Do(t, row.method, row.path, strings.NewReader(row.body),
			"Authorization: Bearer zztoken", "X-Request-Id: zzid", "User-Agent: zzagent")
		testkit.Eventually(t, func() bool { return len(s.log.JSON(t, "request")) > known })
		line := s.log.JSON(t, "request")[known]
		want := row.bytes
		if want < 0 {
			want = float64(len(got.Text))
		}
		if line["level"] != "DEBUG" || line["route"] != row.route || line["status"] != row.status ||
			line["bytes"] != want || line["duration"] == nil ||
			!relaytest.RequestIDForm.MatchString(fmt.Sprint(line["request"])) {
			t.Errorf("%s %s: got line %v", row.method, row.path, line)
		}
		if id := got.Header.Get("X-Request-Id"); id != "" && line["request"] != id {
			t.Errorf("%s %s: got line %v of request %s", row.method, row.path, line, id)
		}
	}
	if log := s.log.String(); strings.Contains(log, "zz") || strings.Contains(log, "ZZMETHOD") { // ids are in capitals
		t.Errorf("the log holds what it should not: %s", log)
	}
}

// A stream has its line when it ends, with the bytes that were sent.
func TestLogDebugsStreams(t *testing.T) {
	t.Parallel()
	s := newLoggedServer(t, slog.LevelDebug)
	s.PushImage(t, "zzsession", strings.Repeat("x", 100))
	conn := s.Dial(t)
	fmt.Fprint(conn, "GET /stream/zzsession HTTP/1.1\r\nHost: x\r\n\r\n")
	testkit.Must(conn.Read(make([]byte, 1)))(t)
	conn.Close()
	testkit.Eventually(t, func() bool { return len(s.log.JSON(t, "request")) == 1 })
	line := s.log.JSON(t, "request")[0]
	if line["route"] != "/stream/{session}" || line["status"] != 200.0 || line["bytes"].(float64) < 100 {
		t.Errorf("got line %v", line)
	}
	if strings.Contains(s.log.String(), "zz") {
		t.Errorf("the session is in the log: %s", s.log)
	}
}

// Request ids are random; the client cannot choose one.
func TestRequestIDsDiffer(t *testing.T) {
	t.Parallel()
	s := newLoggedServer(t, slog.LevelError)
	seen := map[string]bool{}
	for range 100 {
		got := s.Get(t, "/nothing", "X-Request-Id: AAAAAAAA").WantStatus(t, 404)
		seen[got.Header.Get("X-Request-Id")] = true
	}
	if len(seen) != 100 || seen["AAAAAAAA"] {
		t.Errorf("got %d ids for 100 requests: %v", len(seen), seen)
	}
}

// The line at the start says where the queues are, which limits hold and which access rules are on. It holds no secret.
func TestLogSummarizesSettings(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		vars []string
		want []string
	}{
		{nil, []string{
			`queue="embedded, 256 MiB at most, lost at exit"`, "access=open", "expire=2m0s",
			`limits.MAX_IMAGE_BYTES="10 MiB"`, "limits.MAX_IMAGES=1000", `limits.MAX_SESSION_BYTES="64 MiB"`,
			"limits.MAX_SESSIONS=10000", `limits.UPLOAD_LIMIT="64 MiB"`, `limits.MIN_UPLOAD_RATE="1.0 KiB"`,
			"limits.MAX_VIEWERS=1000", "version=",
		}},
		{[]string{"REDIS_HOST=redis://hunter2:hunter2@127.0.0.1:1"}, []string{"queue=redis", "mode=single"}},
		{[]string{"REDIS_HOST=127.0.0.1:1,127.0.0.1:2", "REDIS_MODE=cluster"}, []string{"queue=redis", "mode=cluster"}},
		{
			[]string{
				"MAX_IMAGES=0", "MAX_SESSION_BYTES=0", "MAX_SESSIONS=0", "UPLOAD_LIMIT=0", "MIN_UPLOAD_RATE=0",
				"MAX_VIEWERS=0",
			},
			[]string{
				"limits.MAX_IMAGES=none", "limits.MAX_SESSION_BYTES=none", "limits.MAX_SESSIONS=none",
				"limits.UPLOAD_LIMIT=none", "limits.MIN_UPLOAD_RATE=none", "limits.MAX_VIEWERS=none",
			},
		},
		{[]string{"UPLOAD_LIMIT=1MiB"}, []string{`limits.MAX_IMAGE_BYTES="1.0 MiB"`}},
		{
			[]string{
				"SESSION_SECRET=hunter2hunter2hunter2", "REQUIRE_KEY=true", "PRIVATE=true",
				"OPERATOR_TOKEN=hunter2hunter2hunter2",
			},
			[]string{`access="SESSION_SECRET, REQUIRE_KEY, PRIVATE, OPERATOR_TOKEN"`},
		},
		{[]string{"OPERATOR_TOKEN=hunter2hunter2hunter2"}, []string{"access=OPERATOR_TOKEN"}},
	} {
		t.Run(strings.Join(row.vars, " "), func(t *testing.T) {
			t.Parallel()
			p := startServer(t, "", row.vars...)
			line := ""
			for _, l := range p.log.Lines() {
				if strings.Contains(l, "msg=listening ") {
					line = l
				}
			}
			for _, want := range row.want {
				if !strings.Contains(line+" ", " "+want+" ") && !strings.HasSuffix(want, "=") || !strings.Contains(line, want) {
					t.Errorf("got %s, want %s", line, want)
				}
			}
			if strings.Contains(p.log.String(), "hunter2") {
				t.Errorf("a secret is in the log: %s", p.log)
			}
		})
	}
}
