package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// logged is a server whose log the test reads, a JSON object a line.
type logged struct {
	site
	log *logBuffer
}

// newLogged returns a server with a handler of the test's own at every path, or
// with its own routes for nil.
func newLogged(t testing.TB, level slog.Level, f *fixture, own handlerFunc) *logged {
	t.Helper()
	log := new(logBuffer)
	s := newServer(testConfig(t), f, slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: level})))
	h := s.routes()
	if own != nil {
		h = commonHeaders(s.cors, s.observe(s.recoverPanics(s.handler(own))))
	}
	listener := httptest.NewServer(h)
	t.Cleanup(listener.Close)
	return &logged{site{f, listener.Listener.Addr().String()}, log}
}

// lines returns the lines of the log with a message.
func (l *logged) lines(t testing.TB, message string) (lines []map[string]any) {
	t.Helper()
	for _, text := range l.log.lines() {
		var line map[string]any
		if text == "" {
			continue
		}
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("log line %q: %v", text, err)
		}
		if line["msg"] == message {
			lines = append(lines, line)
		}
	}
	return lines
}

// A failure of the server's, or a limit of it, has one line, with its cause, under
// the id that the client was told. What is the client's own fault has none.
func TestLogNamesFailures(t *testing.T) {
	t.Parallel()
	for status, fails := range map[int]bool{
		400: false, 401: false, 403: false, 404: false, 405: false, 411: false, 413: false, 415: false,
		408: true, 429: true, 500: true, 503: true, 507: true,
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			cause := map[int]error{500: errors.New("the cause"), 503: fmt.Errorf("pop: %w", errUnavailable), 507: errFull}[status]
			if cause == nil {
				cause = refuse(status, "the cause")
			}
			s := newLogged(t, slog.LevelInfo, memoryFixture(t, time.Minute), func(http.ResponseWriter, *http.Request) error { return cause })
			got := s.get(t, "/image/a-session?key=a-key").wantStatus(t, status)
			lines := s.lines(t, "request failed")
			if !fails {
				if log := s.log.String(); log != "" {
					t.Errorf("got log %s, want none", log)
				}
				return
			}
			if len(lines) != 1 || lines[0]["level"] != "WARN" || lines[0]["status"] != float64(status) || lines[0]["error"] == nil ||
				lines[0]["request"] != got.Header.Get("X-Request-Id") {
				t.Errorf("got log %s, want the failure of request %s once", s.log, got.Header.Get("X-Request-Id"))
			}
		})
	}
}

func TestLogNamesPanics(t *testing.T) {
	t.Parallel()
	s := newLogged(t, slog.LevelInfo, memoryFixture(t, time.Minute), func(http.ResponseWriter, *http.Request) error { panic("a bug") })
	got := s.get(t, "/").wantStatus(t, 500)
	lines := s.lines(t, "panic")
	if len(lines) != 1 || lines[0]["cause"] != "a bug" || lines[0]["request"] != got.Header.Get("X-Request-Id") {
		t.Errorf("got log %s, want request %s", s.log, got.Header.Get("X-Request-Id"))
	}
}

// An answer without an error has no id, and no line above debug level.
func TestLogIsSilentOnSuccess(t *testing.T) {
	t.Parallel()
	s := newLogged(t, slog.LevelInfo, memoryFixture(t, time.Minute), nil)
	for _, path := range []string{"/session", "/stats", "/image/x", "/metrics", "/image/x?nodata=503"} {
		if got := s.get(t, path); got.Header.Get("X-Request-Id") != "" {
			t.Errorf("%s: got id %s", path, got.Header.Get("X-Request-Id"))
		}
	}
	if log := s.log.String(); log != "" {
		t.Errorf("got log %s", log)
	}
}

// Each request has one line at debug level that tells what became of it. No line
// holds what could name a session, a key or a path.
func TestLogDebugsRequests(t *testing.T) {
	t.Parallel()
	f := memoryFixture(t, time.Minute)
	s := newLogged(t, slog.LevelDebug, f, nil)
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
		known := len(s.lines(t, "request"))
		got := s.do(t, row.method, row.path, strings.NewReader(row.body), "Authorization: Bearer zztoken", "X-Request-Id: zzid", "User-Agent: zzagent")
		eventually(t, func() bool { return len(s.lines(t, "request")) > known })
		line := s.lines(t, "request")[known]
		want := row.bytes
		if want < 0 {
			want = float64(len(got.body))
		}
		if line["level"] != "DEBUG" || line["route"] != row.route || line["status"] != row.status || line["bytes"] != want ||
			line["duration"] == nil || !requestIDForm.MatchString(fmt.Sprint(line["request"])) {
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

// A stream has its line when it ends, with what was sent.
func TestLogDebugsStreams(t *testing.T) {
	t.Parallel()
	s := newLogged(t, slog.LevelDebug, memoryFixture(t, time.Minute), nil)
	s.push(t, "zzsession", strings.Repeat("x", 100))
	conn := s.dial(t)
	fmt.Fprint(conn, "GET /stream/zzsession HTTP/1.1\r\nHost: x\r\n\r\n")
	must(conn.Read(make([]byte, 1)))(t)
	conn.Close()
	eventually(t, func() bool { return len(s.lines(t, "request")) == 1 })
	if line := s.lines(t, "request")[0]; line["route"] != "/stream/{session}" || line["status"] != 200.0 || line["bytes"].(float64) < 100 {
		t.Errorf("got line %v", line)
	}
	if strings.Contains(s.log.String(), "zz") {
		t.Errorf("the session is in the log: %s", s.log)
	}
}

// Ids come from chance, not from the client.
func TestRequestIDsDiffer(t *testing.T) {
	t.Parallel()
	s := newLogged(t, slog.LevelError, memoryFixture(t, time.Minute), nil)
	seen := map[string]bool{}
	for range 100 {
		seen[s.get(t, "/nothing", "X-Request-Id: AAAAAAAA").wantStatus(t, 404).Header.Get("X-Request-Id")] = true
	}
	if len(seen) != 100 || seen["AAAAAAAA"] {
		t.Errorf("got %d ids for 100 requests: %v", len(seen), seen)
	}
}

// What Redis answers is no line of the log: it may name sessions.
func TestLogHidesReplies(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, values := range [][]any{{int64(1), "zzsession"}, {"1", "zzsession", int64(1)}, {int64(1), "zzsession", "1"}} {
		reply := redis.NewCmd(ctx)
		reply.SetVal(values)
		if _, err := parseStats(reply, map[string]int{}); err == nil || strings.Contains(err.Error(), "zz") {
			t.Errorf("%v: got error %v", values, err)
		}
	}
}

// The line at the start says where the queues are, what is bounded and who may do
// what; never a secret.
func TestLogSummarizesSettings(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		vars []string
		want []string
	}{
		{nil, []string{
			`queue="embedded, 256 MiB at most, lost at exit"`, "access=open", "expire=2m0s", `limits.MAX_IMAGE_BYTES="10 MiB"`,
			"limits.MAX_IMAGES=1000", `limits.MAX_SESSION_BYTES="64 MiB"`, "limits.MAX_SESSIONS=10000", `limits.UPLOAD_LIMIT="64 MiB"`,
			"limits.MAX_VIEWERS=1000", "version=",
		}},
		{[]string{"REDIS_HOST=redis://hunter2:hunter2@127.0.0.1:1"}, []string{"queue=redis", "mode=single"}},
		{[]string{"REDIS_HOST=127.0.0.1:1,127.0.0.1:2", "REDIS_MODE=cluster"}, []string{"queue=redis", "mode=cluster"}},
		{
			[]string{"MAX_IMAGES=0", "MAX_SESSION_BYTES=0", "MAX_SESSIONS=0", "UPLOAD_LIMIT=0", "MAX_VIEWERS=0"},
			[]string{"limits.MAX_IMAGES=none", "limits.MAX_SESSION_BYTES=none", "limits.MAX_SESSIONS=none", "limits.UPLOAD_LIMIT=none", "limits.MAX_VIEWERS=none"},
		},
		{[]string{"UPLOAD_LIMIT=1MiB"}, []string{`limits.MAX_IMAGE_BYTES="1.0 MiB"`}},
		{
			[]string{"SESSION_SECRET=hunter2hunter2hunter2", "REQUIRE_KEY=true", "PRIVATE=true", "OPERATOR_TOKEN=hunter2hunter2hunter2"},
			[]string{`access="SESSION_SECRET, REQUIRE_KEY, PRIVATE, OPERATOR_TOKEN"`},
		},
		{[]string{"OPERATOR_TOKEN=hunter2hunter2hunter2"}, []string{"access=OPERATOR_TOKEN"}},
	} {
		t.Run(strings.Join(row.vars, " "), func(t *testing.T) {
			t.Parallel()
			p := startServer(t, "", row.vars...)
			line := ""
			for _, l := range p.log.lines() {
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
	if got := (config{tlsCert: "c", tlsKey: "k"}).access(); got != "TLS" {
		t.Errorf("got access %q, want TLS", got)
	}
}
