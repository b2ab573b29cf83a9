package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

func TestSession(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		headers []string
		json    bool
	}{
		{"no Accept", nil, false},
		{"any", []string{"Accept: */*"}, false},
		{"any application", []string{"Accept: application/*"}, false},
		{
			"a browser",
			[]string{"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
			false,
		},
		{"a longer name", []string{"Accept: application/json-seq, application/jsonp"}, false},
		{"another type's parameter", []string{`Accept: text/plain; x="application/json"`}, false},
		{"excluded", []string{"Accept: application/json;q=0, text/plain"}, false},
		{"excluded in full", []string{"Accept: text/plain, application/json; q=0.000"}, false},
		{"alone", []string{"Accept: application/json"}, true},
		{"first", []string{"Accept: application/json, text/plain, */*"}, true},
		{"in the middle", []string{"Accept: text/html, application/json ,*/*"}, true},
		{"last", []string{"Accept: text/html,application/json"}, true},
		{"with q", []string{"Accept: text/plain;q=0.9, application/json;q=0.1"}, true},
		{"with a space and q", []string{"Accept: text/plain, application/json ; q=0.5 , */*"}, true},
		{"with charset", []string{"Accept: application/json; charset=utf-8"}, true},
		{"upper case", []string{"Accept: Application/JSON;Q=1"}, true},
		{"second header", []string{"Accept: text/plain", "Accept: application/json"}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := newMemoryServer(t) // the queue is not asked
			for _, query := range cacheBusters {
				got := s.Get(t, "/session"+query, row.headers...).WantStatus(t, 200)
				id, contentType := got.Text, "text/plain; charset=utf-8"
				if row.json {
					contentType = "application/json"
					fields := map[string]string{}
					if err := json.Unmarshal([]byte(got.Text), &fields); err != nil || len(fields) != 1 {
						t.Errorf("got body %q, error %v, want one field", got.Text, err)
					}
					id = fields["session"]
				}
				if got.Header.Get("Content-Type") != contentType {
					t.Errorf("got Content-Type %q, want %q", got.Header.Get("Content-Type"), contentType)
				}
				if !session.Valid(id) || len(id) < 22 {
					t.Errorf("got id %q, want at least 22 URL-safe characters", id)
				}
			}
		})
	}
}

// A malformed id is refused on every route that takes one, and nothing is stored.
func TestMalformedSession(t *testing.T) {
	t.Parallel()
	routes := []struct{ method, path, header string }{
		{"GET", "/image/", ""},
		{"HEAD", "/image/", ""},
		{"POST", "/image/", "Content-Type: image/jpeg"},
		{"PUT", "/image/", "Content-Type: image/jpeg"},
		{"POST", "/imageForm/", "Content-Type: " + relaytest.FormType},
	}
	onEngines(t, func(t *testing.T, s *testServer) {
		for _, id := range []string{
			strings.Repeat("a", 65), strings.Repeat("a", 10000), "a%20b", ".jpg", "..png", "a.jpg.jpg", "a+b", "a%2Fb",
			"..%2f..", "%2e%2e", "%2e", "", "%2F", "a%0d%0ab", "a%0aX-Evil:%201", "%00", "a%00", "{a}", "%7Ba%7D", "{", "}",
			"%C3%A9", "é", "%ff", "a%25b", "*", "a;b", "a,b", "~", "$", "a@b", "%E2%80%8B",
		} {
			for _, route := range routes {
				body := ""
				if route.method[0] == 'P' {
					body = relaytest.Form("image")
				}
				conn := s.Dial(t)
				fmt.Fprintf(conn, "%s %s%s HTTP/1.1\r\nHost: x\r\n%s\r\nContent-Length: %d\r\n\r\n%s",
					route.method, route.path, id, cmp.Or(route.header, "X-None: 0"), len(body), body)
				answer := testkit.Must(http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: route.method}))(t)
				got := relaytest.Received(t, answer, route.method)
				conn.Close()
				if got.StatusCode != http.StatusBadRequest || got.Header.Get("X-Evil") != "" {
					t.Errorf("%s %s%.80s: got status %d, %s, want 400",
						route.method, route.path, id, got.StatusCode, got.Text)
				}
			}
			if decoded, err := url.PathUnescape(id); err != nil || s.Len(t, decoded) != 0 {
				t.Errorf("%q: %d images stored, error %v", decoded, s.Len(t, decoded), err)
			}
		}
	})
}

// A session is open to every well-formed id, also to one that was never issued.
func TestSessionNeverIssued(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		own := session.New()[:8] // a part, to keep apart from other tests
		for _, id := range []string{
			own, own + "-_", "-" + own, "_" + own, own + strings.Repeat("z", 56), strings.ToLower(own),
			"AA:BB:CC:" + own, own + ":AA%3ABB", own + ".door", "..." + own, "::" + own + ".",
		} {
			s.Do(t, "POST", "/image/"+id, sized("image")).WantStatus(t, 200)
			if got := s.Get(t, "/image/"+id).WantStatus(t, 200); got.Text != "image" {
				t.Errorf("%s: got %q", id, got.Text)
			}
		}
	})
}

// FuzzSessionPath holds that a path is served if and only if its id is well-formed, and that every answer keeps the
// rules for all answers.
func FuzzSessionPath(f *testing.F) {
	for _, seed := range []string{
		"", "a", "xyzabc", "..", ".", "a/b", "../..", "a b", "a\r\nb", "\x00", "{a}", "é", "a%2Fb", "?", "#", "-", "_",
		strings.Repeat("a", 64), strings.Repeat("a", 65), "a.jpg", "a/", "a.PNG/", "..jpg", ".jpg/", "a//", "./", "a/pop",
	} {
		f.Add(seed)
	}
	routes := newMemoryServer(f).server.routes()
	f.Fuzz(func(t *testing.T, id string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL = &url.URL{Path: "/image/" + id}
		w := connection{httptest.NewRecorder()}
		routes.ServeHTTP(w, r)
		got := relaytest.Received(t, w.Result(), http.MethodGet)
		canonical, _ := canonicalPath(r.URL.Path)
		if want := session.Valid(strings.TrimPrefix(canonical, "/image/")); (got.StatusCode == 200) != want {
			t.Errorf("%q: got status %d, valid %v", id, got.StatusCode, want)
		}
	})
}
