package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

var sessionForm = regexp.MustCompile(`\A[A-Za-z0-9_-]{1,64}\z`)

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
		{"a browser", []string{"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, false},
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
			s := newSite(t, testConfig(t), memoryFixture(t, time.Minute)) // no engine is asked
			for _, query := range cacheBusters {
				got := s.get(t, "/session"+query, row.headers...).wantStatus(t, 200)
				id, kind := got.body, "text/plain; charset=utf-8"
				if row.json {
					kind = "application/json"
					fields := map[string]string{}
					if err := json.Unmarshal([]byte(got.body), &fields); err != nil || len(fields) != 1 {
						t.Errorf("got body %q, error %v, want one field", got.body, err)
					}
					id = fields["session"]
				}
				if got.Header.Get("Content-Type") != kind {
					t.Errorf("got Content-Type %q, want %q", got.Header.Get("Content-Type"), kind)
				}
				if !sessionForm.MatchString(id) || len(id) < 22 {
					t.Errorf("got id %q, want at least 22 URL-safe characters", id)
				}
			}
		})
	}
}

func TestSessionIsUnique(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	letters := map[rune]int{}
	const count = 10000
	for range count {
		id := newSession()
		if seen[id] || !validSession(id) {
			t.Fatalf("got %q: known %v, valid %v", id, seen[id], validSession(id))
		}
		seen[id] = true
		letters[rune(id[0])]++
	}
	for letter, times := range letters { // 32 letters of 5 bits each
		if len(letters) != 32 || times < count/32/2 || times > count/32*2 {
			t.Errorf("%d different first letters, %c came %d times of %d", len(letters), letter, times, count)
		}
	}
}

// A bad id is refused on every route that takes one, and nothing is stored.
func TestBadSession(t *testing.T) {
	t.Parallel()
	routes := []struct{ method, path, header string }{
		{"GET", "/image/", ""},
		{"HEAD", "/image/", ""},
		{"POST", "/image/", "Content-Type: image/jpeg"},
		{"PUT", "/image/", "Content-Type: image/jpeg"},
		{"POST", "/imageForm/", "Content-Type: multipart/form-data; boundary=b"},
	}
	onSites(t, func(t *testing.T, s *site) {
		for _, id := range []string{
			strings.Repeat("a", 65), strings.Repeat("a", 10000), "a%20b", "a.b", ".a", "a+b", "a%2Fb", "..%2f..", "%2e%2e", "%2e",
			"", "%2F", "a%0d%0ab", "a%0aX-Evil:%201", "%00", "a%00", "{a}", "%7Ba%7D", "{", "}", "%C3%A9", "é", "%ff", "a%25b",
			"*", "a:b", "a;b", "a,b", "~", "$", "a@b", "%E2%80%8B",
		} {
			for _, route := range routes {
				body := ""
				if route.method[0] == 'P' {
					body = oneFileForm
				}
				conn := s.dial(t)
				fmt.Fprintf(conn, "%s %s%s HTTP/1.1\r\nHost: x\r\n%s\r\nContent-Length: %d\r\n\r\n%s",
					route.method, route.path, id, cmp.Or(route.header, "X-None: 0"), len(body), body)
				req := &http.Request{Method: route.method}
				got := received(t, must(http.ReadResponse(bufio.NewReader(conn), req))(t), route.method)
				conn.Close()
				if got.StatusCode != http.StatusBadRequest || got.Header.Get("X-Evil") != "" {
					t.Errorf("%s %s%.80s: got status %d, %s, want 400", route.method, route.path, id, got.StatusCode, got.body)
				}
			}
			if decoded, err := url.PathUnescape(id); err != nil || s.length(t, decoded) != 0 {
				t.Errorf("%q: %d images stored, error %v", decoded, s.length(t, decoded), err)
			}
		}
	})
}

// Every good id works on every route, and one that was never issued too.
func TestGoodSession(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		own := newSession()[:8] // a part, to keep apart from other tests
		for _, id := range []string{own, own + "-_", "-" + own, "_" + own, own + strings.Repeat("z", 56), strings.ToLower(own)} {
			s.do(t, "POST", "/image/"+id, strings.NewReader("image")).wantStatus(t, 200)
			if got := s.get(t, "/image/"+id).wantStatus(t, 200); got.body != "image" {
				t.Errorf("%s: got %q", id, got.body)
			}
		}
	})
}

func FuzzSession(f *testing.F) {
	for _, seed := range []string{
		"", "a", "xyzabc", "..", ".", "a/b", "../..", "a b", "a\r\nb", "\x00", "{a}", "é", "a%2Fb", "?", "#", "-", "_",
		strings.Repeat("a", 64), strings.Repeat("a", 65),
	} {
		f.Add(seed)
	}
	queue := newMemoryQueue(time.Minute, 1<<20, time.Now)
	f.Cleanup(queue.Close)
	routes := newServer(testConfig(f), queue, slog.New(slog.DiscardHandler)).routes()
	f.Fuzz(func(t *testing.T, id string) {
		want := sessionForm.MatchString(id)
		if got := validSession(id); got != want {
			t.Errorf("%q: got valid %v, want %v", id, got, want)
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL = &url.URL{Path: "/image/" + id}
		w := recorder{httptest.NewRecorder()}
		routes.ServeHTTP(w, r)
		got := received(t, w.Result(), http.MethodGet)
		if ok := got.StatusCode == 200; ok != want {
			t.Errorf("%q: got status %d, valid %v", id, got.StatusCode, want)
		}
	})
}

// recorder stands for a connection: it takes deadlines.
type recorder struct{ *httptest.ResponseRecorder }

func (recorder) SetReadDeadline(time.Time) error  { return nil }
func (recorder) SetWriteDeadline(time.Time) error { return nil }

// FuzzAccept holds that JSON is answered only to those who named it, and that
// every plain way to name it counts.
func FuzzAccept(f *testing.F) {
	for _, seed := range []string{"", "*/*", "application/json", "text/html, application/json;q=0.5", "application/json;q=0", ",;=\""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, accept string) {
		r := &http.Request{Header: http.Header{"Accept": {accept}}}
		if acceptsJSON(r) && !strings.Contains(strings.ToLower(accept), "application/json") {
			t.Errorf("%q was taken for application/json", accept)
		}
		r.Header["Accept"] = []string{accept + ",application/json," + accept}
		if !acceptsJSON(r) {
			t.Errorf("application/json was not found between %q", accept)
		}
	})
}
