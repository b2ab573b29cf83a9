package httpserver

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

func TestAcceptsJSON(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		accept []string
		want   bool
	}{
		{"no Accept", nil, false},
		{"any", []string{"*/*"}, false},
		{"any application", []string{"application/*"}, false},
		{"a browser", []string{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, false},
		{"a longer name", []string{"application/json-seq, application/jsonp"}, false},
		{"another type's parameter", []string{`text/plain; x="application/json"`}, false},
		{"excluded", []string{"application/json;q=0, text/plain"}, false},
		{"excluded in full", []string{"text/plain, application/json; q=0.000"}, false},
		{"alone", []string{"application/json"}, true},
		{"in the middle", []string{"text/html, application/json ,*/*"}, true},
		{"with q", []string{"text/plain;q=0.9, application/json;q=0.1"}, true},
		{"in capitals", []string{"Application/JSON"}, true},
		{"in another header", []string{"text/plain", "application/json"}, true},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Accept"] = row.accept
		if got := AcceptsJSON(r); got != row.want {
			t.Errorf("%s: got %v, want %v", row.name, got, row.want)
		}
	}
}

// FuzzAccept holds that JSON is answered only to clients that named it, and that every plain way to name it counts.
func FuzzAccept(f *testing.F) {
	for _, seed := range []string{
		"", "*/*", "application/json", "text/html, application/json;q=0.5", "application/json;q=0", ",;=\"",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, accept string) {
		r := &http.Request{Header: http.Header{"Accept": {accept}}}
		if AcceptsJSON(r) && !strings.Contains(strings.ToLower(accept), "application/json") {
			t.Errorf("%q was taken for application/json", accept)
		}
		r.Header["Accept"] = []string{accept + ",application/json," + accept}
		if !AcceptsJSON(r) {
			t.Errorf("application/json was not found between %q", accept)
		}
	})
}

// Every reply has the length of its body, so that the client can tell a whole answer from a part.
func TestReplies(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Options{}, endpoints{
		"/body": func(w http.ResponseWriter, _ *http.Request) error {
			return WriteBody(w, http.StatusTeapot, "image/png", []byte("\x00png"))
		},
		"/json": func(w http.ResponseWriter, _ *http.Request) error {
			return WriteJSON(w, map[string]int{"n": 1})
		},
		"/text": func(w http.ResponseWriter, _ *http.Request) error { return WriteText(w, "text") },
		"/200":  func(w http.ResponseWriter, _ *http.Request) error { return WriteEmpty(w, http.StatusOK) },
		"/204":  func(w http.ResponseWriter, _ *http.Request) error { return WriteEmpty(w, http.StatusNoContent) },
	})
	for _, row := range []struct {
		path   string
		status int
		kind   string
		length string
		body   string
	}{
		{"/body", 418, "image/png", "4", "\x00png"},
		{"/json", 200, "application/json", "8", `{"n":1}` + "\n"},
		{"/text", 200, "text/plain; charset=utf-8", "4", "text"},
		{"/200", 200, "", "0", ""},
		{"/204", 204, "", "", ""},
	} {
		resp := testkit.Must(testkit.Client.Get("http://" + s.addr + row.path))(t)
		body := testkit.Must(io.ReadAll(resp.Body))(t)
		resp.Body.Close()
		h := resp.Header
		if resp.StatusCode != row.status || h.Get("Content-Type") != row.kind || h.Get("Content-Length") != row.length ||
			string(body) != row.body || h.Get("X-Request-Id") != "" {
			t.Errorf("%s: got status %d, %v, %q", row.path, resp.StatusCode, h, body)
		}
	}
}

// A value that cannot be encoded is the server's fault, and nothing is written.
func TestWriteJSONOfNoValue(t *testing.T) {
	t.Parallel()
	w := newRecordedConn()
	if err := WriteJSON(w, func() {}); err == nil || errors.Is(err, ErrAborted) || w.Body.Len() > 0 || len(w.writes) > 0 {
		t.Errorf("got error %v and body %q", err, w.Body)
	}
}

// An answer has no deadline but the one that its endpoint gives it.
func TestWriteDeadlines(t *testing.T) {
	t.Parallel()
	end := time.Now().Add(time.Minute)
	for _, want := range []time.Time{{}, end} {
		w := newRecordedConn()
		err := WriteBodyUntil(w, 200, "image/jpeg", []byte("image"), want)
		if err != nil || len(w.writes) != 1 || !w.writes[0].Equal(want) {
			t.Errorf("got error %v, deadlines %v, want %v", err, w.writes, want)
		}
	}
	w := newRecordedConn()
	newTestServer(t, Options{}, endpoints{"/ok": succeeds}).handler.ServeHTTP(w, httptest.NewRequest("GET", "/ok", nil))
	for _, end := range w.writes {
		if !end.IsZero() {
			t.Errorf("got deadlines %v, want that of the previous answer removed, and no other", w.writes)
		}
	}
}

// brokenConn is a connection on which one thing fails.
type brokenConn struct {
	recordedConn
	deadline, write, flush error
}

func (c *brokenConn) SetWriteDeadline(time.Time) error { return c.deadline }
func (c *brokenConn) Write(p []byte) (int, error)      { return 0, c.write }
func (c *brokenConn) FlushError() error                { return c.flush }

// An answer that did not go out is ErrAborted, with its cause.
func TestRepliesAreAborted(t *testing.T) {
	t.Parallel()
	cause := errors.New("broken")
	for name, w := range map[string]*brokenConn{
		"deadline": {deadline: cause}, "write": {write: cause}, "flush": {flush: cause},
	} {
		w.recordedConn = *newRecordedConn()
		err := WriteText(w, "text")
		if !errors.Is(err, ErrAborted) || !errors.Is(err, cause) || err.Error() != "answer cut short: broken" {
			t.Errorf("%s: got %v", name, err)
		}
		if again := Aborted(err); again != err {
			t.Errorf("%s: marked twice: %v", name, again)
		}
	}
	if err := Aborted(nil); err != nil {
		t.Errorf("got %v of no error", err)
	}
}
