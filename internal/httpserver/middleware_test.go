package httpserver

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// A panic is a 500 that says nothing of its cause. The log has the cause, the stack and the id that the client got, and
// the server lives on.
func TestPanics(t *testing.T) {
	t.Parallel()
	asked := make(chan error, 1)
	s := newTestServer(t, Options{StatusOf: func(err error) (int, string) {
		asked <- err
		return http.StatusInternalServerError, "internal error"
	}}, endpoints{
		"GET /image/{session}": func(http.ResponseWriter, *http.Request) error { panic("a bug") },
		"/ok":                  succeeds,
	})
	got := s.get(t, "/image/a-session").wantStatus(t, 500)
	if !strings.Contains(got.body, `"internal error"`) || strings.Contains(got.body, "bug") {
		t.Errorf("got %s", got.body)
	}
	if err := <-asked; err != nil {
		t.Errorf("StatusOf was asked for %v, want nil", err)
	}
	lines := s.log.JSON(t, "panic")
	if len(lines) != 1 || lines[0]["level"] != "ERROR" || lines[0]["cause"] != "a bug" ||
		lines[0]["route"] != "/image/{session}" || lines[0]["request"] != got.Header.Get("X-Request-Id") ||
		!strings.Contains(fmt.Sprint(lines[0]["stack"]), "middleware_test.go") {
		t.Errorf("got log %s, want request %s", s.log, got.Header.Get("X-Request-Id"))
	}
	s.get(t, "/ok").wantStatus(t, 200)
	if n := s.value(t, "rejected_requests_total", "status=500"); n != 1 {
		t.Errorf("got %g rejected requests, want 1", n)
	}
}

// A handler that panics within its answer ends the connection: an error written behind half an image would be a part of
// the image.
func TestPanicWithinAnswer(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Options{}, endpoints{
		"/image": func(w http.ResponseWriter, _ *http.Request) error {
			io.WriteString(w, "half an image")
			http.NewResponseController(w).Flush()
			panic("a bug")
		},
	})
	resp := testkit.Must(testkit.Client.Get("http://" + s.addr + "/image"))(t)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if string(body) != "half an image" || err == nil {
		t.Errorf("got %q, error %v, want half an image and then a broken connection", body, err)
	}
	if len(s.log.JSON(t, "panic")) != 1 {
		t.Errorf("got log %s, want the panic once", s.log)
	}
}

// Nothing is redirected: a redirect is an HTML page and a second request, which may lose its body.
func TestUncleanPaths(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Options{}, endpoints{"/image/{session}": succeeds, "/image/{session}/": succeeds})
	for path, want := range map[string]int{
		"/image/a": 200, "/image/a/": 200, "/image/a%2Fb": 200, "/image/%2e": 200,
		"//image/a": 404, "/image//a": 404, "/image/a//": 404, "/./image/a": 404, "/image/../image/a": 404,
		"/image/a/..": 404, "/image/.": 404, "/image/..": 404, "/image/./a": 404, "": 404, "/": 404, "/nothing": 404,
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"} {
			if got := s.do(t, method, path, strings.NewReader("image")); got.StatusCode != want {
				t.Errorf("%s %s: got status %d, want %d", method, path, got.StatusCode, want)
			}
		}
	}
}

// The answer to an old client that asks to keep the connection says that it stays.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Options{}, endpoints{"/ok": succeeds})
	for header, want := range map[string]string{
		"": "", "keep-alive": "keep-alive", "Keep-Alive": "keep-alive", "close": "",
	} {
		conn := dial(t, s.addr)
		fmt.Fprintf(conn, "GET /ok HTTP/1.1\r\nHost: x\r\nConnection: %s\r\n\r\n", header)
		got := received(t, testkit.Must(http.ReadResponse(bufio.NewReader(conn), nil))(t), "GET").wantStatus(t, 200)
		if connection := got.Header.Get("Connection"); connection != want || got.Close != (header == "close") {
			t.Errorf("%q: got Connection %q, want %q", header, connection, want)
		}
	}
}

// The answer to a request whose body nobody reads comes although the body stands still, whatever the endpoint does. The
// answer to a GET or HEAD does not even wait, and ends the connection.
func TestUnreadBodies(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Options{BodyIdle: time.Hour}, endpoints{
		"/ok":      succeeds,
		"/refused": fails(Errorf(http.StatusBadRequest, "no")),
		"/empty":   func(w http.ResponseWriter, _ *http.Request) error { return WriteEmpty(w, 204) },
		"/panics":  func(http.ResponseWriter, *http.Request) error { panic("a bug") },
	})
	addr := s.hasten(t)
	for request, want := range map[string]int{
		"GET /ok": 200, "HEAD /ok": 200, "GET /refused": 400, "GET /nothing": 404, "GET //ok": 404, "GET /panics": 500,
		"POST /refused": 400, "POST /nothing": 404, "POST //ok": 404, "POST /panics": 500, "PUT /empty": 204,
	} {
		for _, body := range []string{"Content-Length: 10\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n10\r\nhalf"} {
			t.Run(request+" "+body[:7], func(t *testing.T) {
				t.Parallel()
				conn := dial(t, addr)
				fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\n%s", request, body)
				method, _, _ := strings.Cut(request, " ")
				in := bufio.NewReader(conn)
				got := received(t, testkit.Must(http.ReadResponse(in, &http.Request{Method: method}))(t), method)
				got.wantStatus(t, want)
				if closes := method == "GET" || method == "HEAD"; closes && !got.Close {
					t.Error("the answer to a GET does not announce the end of the connection")
				}
				if more, err := io.ReadAll(in); len(more) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("after the answer came %q, error %v, want the end", more, err)
				}
			})
		}
	}
}

// An endpoint may read its body for BodyIdle, unless it sets a deadline of its own. A request without a body has no
// deadline to read, because it may have to wait for an image.
func TestBodyDeadlines(t *testing.T) {
	t.Parallel()
	const bodyIdle = 2 * time.Second
	var read error
	s := newTestServer(t, Options{BodyIdle: bodyIdle}, endpoints{
		"POST /x": func(w http.ResponseWriter, r *http.Request) error {
			_, read = io.ReadAll(r.Body)
			return Errorf(http.StatusRequestTimeout, "too slowly")
		},
		"/ok": succeeds,
	})
	conn := dial(t, s.hasten(t))
	fmt.Fprint(conn, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
	received(t, testkit.Must(http.ReadResponse(bufio.NewReader(conn), nil))(t), "POST").wantStatus(t, 408)
	if !errors.Is(read, os.ErrDeadlineExceeded) {
		t.Errorf("got error %v, want that of a deadline", read)
	}
	if by := New(Options{Registerer: prometheus.NewRegistry()}).bodyIdle; by != 30*time.Second {
		t.Errorf("got a default of %s, want 30s", by)
	}

	for method, want := range map[string]int{"GET": 0, "POST": 2} {
		w := newRecordedConn()
		var body io.Reader
		if want > 0 {
			body = strings.NewReader("image")
		}
		begun := time.Now()
		s.handler.ServeHTTP(w, httptest.NewRequest(method, "/ok", body))
		if len(w.reads) != want {
			t.Fatalf("%s: got deadlines %v, want %d", method, w.reads, want)
		}
		for i, limit := range []time.Duration{bodyIdle, restLimit}[:want] {
			if got := w.reads[i].Sub(begun); got < limit || got > limit+time.Since(begun) {
				t.Errorf("%s: got deadline %d after %s, want %s", method, i, got, limit)
			}
		}
	}
}

// A client that asks and does not read the answers is cut off, whatever the answers are.
func TestUnreadAnswersAreCut(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Options{}, endpoints{"GET /ok": succeeds, "/ok": OtherMethods([]string{"GET"})})
	addr := s.hasten(t)
	for _, request := range []string{"GET /nothing", "OPTIONS /ok", "GET /ok"} {
		t.Run(request, func(t *testing.T) {
			t.Parallel()
			conn := dial(t, addr)
			many := bytes.Repeat([]byte(request+" HTTP/1.1\r\nHost: x\r\n\r\n"), 1000)
			var err error
			for err == nil {
				conn.SetDeadline(time.Now().Add(30 * time.Second)) // no write moves if the connection is not cut
				_, err = conn.Write(many)
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the connection is still open")
			}
		})
	}
}

// A connection outlives the end of an answer that was read.
func TestDeadlineEndsWithAnswer(t *testing.T) {
	t.Parallel()
	const within = 200 * time.Millisecond
	s := newTestServer(t, Options{}, endpoints{"/ok": func(w http.ResponseWriter, r *http.Request) error {
		return WriteBodyUntil(w, http.StatusOK, "text/plain", []byte("ok"), time.Now().Add(within))
	}, "/plain": succeeds})
	conn := dial(t, s.hasten(t))
	in := bufio.NewReader(conn)
	for _, path := range []string{"/ok", "/plain"} {
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
		received(t, testkit.Must(http.ReadResponse(in, nil))(t), "GET").wantStatus(t, 200)
		time.Sleep(within * 3 / 2)
	}
}

// Each request has one line at debug level. No line holds what could name a session, a key or a path.
func TestLogDebugsRequests(t *testing.T) {
	t.Parallel()
	log := new(testkit.Log)
	s := newTestServer(t, Options{
		Log: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}, endpoints{
		"GET /image/{session}": succeeds,
		"PUT /image/{session}": func(http.ResponseWriter, *http.Request) error { return nil },
		"/image/{session}":     OtherMethods([]string{"GET"}),
	})
	for i, row := range []struct {
		method, path, route, logged string
		status, bytes               float64
	}{
		{"GET", "/image/zzsession?zzquery", "/image/{session}", "GET", 200, 3},
		{"HEAD", "/image/zzsession", "/image/{session}", "HEAD", 200, 0},
		{"PUT", "/image/zzsession", "/image/{session}", "PUT", 200, 0},
		{"ZZMETHOD", "/image/zzsession", "/image/{session}", "other", 405, -1},
		{"GET", "/zzpath?zzquery", "/", "GET", 404, -1},
		{"GET", "//zzpath", "/", "GET", 404, -1},
	} {
		got := s.do(t, row.method, row.path, nil,
			"Authorization: Bearer zztoken", "X-Request-Id: zzid", "User-Agent: zzagent")
		testkit.Eventually(t, func() bool { return len(log.JSON(t, "request")) > i })
		line, want := log.JSON(t, "request")[i], row.bytes
		if want < 0 {
			want = float64(len(got.body))
		}
		if line["level"] != "DEBUG" || line["route"] != row.route || line["method"] != row.logged ||
			line["status"] != row.status || line["bytes"] != want || line["duration"] == nil ||
			!requestIDForm.MatchString(fmt.Sprint(line["request"])) {
			t.Errorf("%s %s: got line %v", row.method, row.path, line)
		}
		if id := got.Header.Get("X-Request-Id"); id != "" && line["request"] != id {
			t.Errorf("%s %s: got line %v of request %s", row.method, row.path, line, id)
		}
	}
	if log := log.String(); strings.Contains(log, "zz") || strings.Contains(log, "ZZMETHOD") { // ids are in capitals
		t.Errorf("the log holds what it should not: %s", log)
	}
}

// Ids are random and never the client's. An answer without an error has none, and no line above debug level.
func TestRequestIDs(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Options{}, endpoints{"/ok": succeeds})
	seen := map[string]bool{}
	for range 100 {
		seen[s.get(t, "/nothing", "X-Request-Id: AAAAAAAA").wantStatus(t, 404).Header.Get("X-Request-Id")] = true
	}
	if len(seen) != 100 || seen["AAAAAAAA"] {
		t.Errorf("got %d ids for 100 requests: %v", len(seen), seen)
	}
	if got := s.get(t, "/ok", "X-Request-Id: AAAAAAAA"); got.Header.Get("X-Request-Id") != "" || s.log.String() != "" {
		t.Errorf("got id %s and log %s of a success", got.Header.Get("X-Request-Id"), s.log)
	}
	if id := requestID(httptest.NewRecorder()); id != "" {
		t.Errorf("got id %q outside of Wrap", id)
	}
}
