package httpserver

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// An error becomes its status and a JSON body. The text of an *Error is for the client, also if the error was wrapped;
// of any other error the client learns what StatusOf says.
func TestErrors(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Options{StatusOf: func(err error) (int, string) {
		if errors.Is(err, errCause) {
			return http.StatusServiceUnavailable, "try again"
		}
		return http.StatusInternalServerError, "internal error"
	}}, endpoints{
		"/own":     fails(Errorf(http.StatusTeapot, "a %s\n\"<\xff>\"", "pot")),
		"/wrapped": fails(fmt.Errorf("while asked: %w", Errorf(http.StatusConflict, "not now"))),
		"/mapped":  fails(fmt.Errorf("pop: %w", errCause)),
		"/other":   fails(errors.New("another secret")),
	})
	for _, row := range []struct {
		path   string
		status int
		text   string
	}{
		{"/own", 418, `a pot\n\"\u003c\ufffd\u003e\"`},
		{"/wrapped", 409, "not now"},
		{"/mapped", 503, "try again"},
		{"/other", 500, "internal error"},
		{"/nothing", 404, "no such path"},
	} {
		for _, method := range []string{"GET", "POST", "HEAD"} {
			got := s.do(t, method, row.path, nil).wantStatus(t, row.status)
			want := fmt.Sprintf(`{"error":"%s","request":"%s"}`+"\n", row.text, got.Header.Get("X-Request-Id"))
			if got.ContentLength != int64(len(want)) || method != "HEAD" && got.body != want {
				t.Errorf("%s %s: got %d bytes, %q, want %q", method, row.path, got.ContentLength, got.body, want)
			}
		}
	}
}

// A client that can try again learns when, and one that lacks a token learns of which kind.
func TestErrorHeaders(t *testing.T) {
	t.Parallel()
	for status, want := range map[int][2]string{
		400: {}, 403: {}, 404: {}, 408: {}, 413: {}, 500: {}, 507: {},
		401: {"Bearer", ""}, 429: {"", "1"}, 503: {"", "1"},
	} {
		s := newTestServer(t, Options{}, endpoints{"/x": fails(Errorf(status, "no"))})
		h := s.get(t, "/x").wantStatus(t, status).Header
		if got := [2]string{h.Get("WWW-Authenticate"), h.Get("Retry-After")}; got != want {
			t.Errorf("%d: got WWW-Authenticate and Retry-After %q, want %q", status, got, want)
		}
	}
}

// A failure of the server, or of one of its limits, has one log line with its cause, under the id that the client got.
// What the client itself did wrong has none.
func TestLogNamesFailures(t *testing.T) {
	t.Parallel()
	for status, fail := range map[int]bool{
		400: false, 401: false, 403: false, 404: false, 405: false, 411: false, 413: false, 415: false,
		408: true, 429: true, 500: true, 503: true, 507: true,
	} {
		s := newTestServer(t, Options{}, endpoints{
			"GET /image/{session}": fails(fmt.Errorf("%w: %w", errCause, Errorf(status, "no"))),
		})
		got := s.get(t, "/image/a-session?key=a-key").wantStatus(t, status)
		if strings.Contains(got.body, "secret") {
			t.Errorf("%d: the client got the cause: %s", status, got.body)
		}
		if log := s.log.String(); !fail && log != "" || strings.Contains(log, "a-session") || strings.Contains(log, "a-key") {
			t.Errorf("%d: got log %s", status, log)
		}
		lines := s.log.JSON(t, "request failed")
		if !fail {
			continue
		}
		if len(lines) != 1 || lines[0]["level"] != "WARN" || lines[0]["status"] != float64(status) ||
			lines[0]["error"] != errCause.Error()+": no" || lines[0]["route"] != "/image/{session}" ||
			lines[0]["request"] != got.Header.Get("X-Request-Id") {
			t.Errorf("got log %s, want the failure of request %s once", s.log, got.Header.Get("X-Request-Id"))
		}
	}
}

// The connection of an answer that was cut short ends, so that the client sees that the answer is not whole. At debug
// level the log says so.
func TestAbortedAnswerEndsConnection(t *testing.T) {
	t.Parallel()
	log := new(testkit.Log)
	s := newTestServer(t, Options{
		Log: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}, endpoints{"/x": func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Length", "100")
		testkit.Must(io.WriteString(w, "part"))(t)
		http.NewResponseController(w).Flush()
		return fmt.Errorf("write: %w", Aborted(errCause))
	}})
	resp := testkit.Must(testkit.Client.Get("http://" + s.addr + "/x"))(t)
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); string(body) != "part" || err != io.ErrUnexpectedEOF {
		t.Errorf("got %q, error %v, want a part and its sudden end", body, err)
	}
	testkit.Eventually(t, func() bool { return len(log.JSON(t, "request")) == 1 })
	lines := log.JSON(t, "client hung up")
	if len(lines) != 1 || lines[0]["error"] != "write: answer cut short: the secret cause" || lines[0]["route"] != "/x" ||
		lines[0]["request"] != log.JSON(t, "request")[0]["request"] {
		t.Errorf("got log %s", log)
	}
	if rejected := s.value(t, "rejected_requests_total"); rejected != 0 {
		t.Errorf("got %g rejected requests, want none", rejected)
	}
}

// OPTIONS says which methods a path has, to a browser's preflight too. A method that the path does not have is 405.
func TestOtherMethods(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Options{}, endpoints{
		"GET /x": succeeds, "POST /x": succeeds, "/x": OtherMethods([]string{"POST", "GET", "HEAD", "OPTIONS"}),
	})
	const list = "POST, GET, HEAD, OPTIONS"
	for _, method := range []string{"OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"} {
		got := s.do(t, method, "/x", strings.NewReader("image"), "Origin: https://a.example",
			"Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,content-type,x-own")
		preflight := map[string]string{}
		if method == "OPTIONS" {
			got.wantStatus(t, 204)
			preflight = map[string]string{
				"Access-Control-Allow-Methods": list,
				"Access-Control-Allow-Headers": "*, Authorization",
				"Access-Control-Max-Age":       "86400",
			}
		} else if want := "method " + method + " is not for this path: allowed are " + list; got.StatusCode != 405 ||
			!strings.Contains(got.body, want) {
			t.Errorf("%s: got status %d, %s, want 405, %s", method, got.StatusCode, got.body, want)
		}
		if got.Header.Get("Allow") != list {
			t.Errorf("%s: got Allow %q, want %q", method, got.Header.Get("Allow"), list)
		}
		for _, name := range []string{
			"Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Max-Age",
		} {
			if got.Header.Get(name) != preflight[name] {
				t.Errorf("%s: got %s %q, want %q", method, name, got.Header.Get(name), preflight[name])
			}
		}
	}
}
