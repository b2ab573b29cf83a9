package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// ask sends a request and returns the answer as it is; headers are given as
// "Name: value".
func (s *site) ask(t testing.TB, method, path, body string, headers ...string) *http.Response {
	t.Helper()
	req := must(http.NewRequestWithContext(t.Context(), method, "http://"+s.addr+path, strings.NewReader(body)))(t)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	resp := must(http.DefaultTransport.RoundTrip(req))(t)
	resp.Body.Close()
	return resp
}

// With a list each answer names the origin that asked, if it is listed, and no
// cache gives it to another; errors and preflights as well.
func TestOrigins(t *testing.T) {
	t.Parallel()
	const list = "CORS_ORIGINS=https://a.example, HTTP://192.168.1.5:8080 ,https://B.example:443,http://c.example:80,http://[::1]:3000"
	for _, row := range []struct {
		origin string
		listed bool
	}{
		{"https://a.example", true},
		{"https://a.example:443", true},
		{"HTTPS://A.Example", true},
		{"http://192.168.1.5:8080", true},
		{"https://b.example", true},
		{"http://c.example", true},
		{"http://[::1]:3000", true},
		{"http://a.example", false},
		{"https://a.example:8443", false},
		{"https://a.example.evil.example", false},
		{"https://evil.example", false},
		{"https://a.example, https://evil.example", false},
		{"https://x.a.example", false},
		{"http://192.168.1.5", false},
		{"https://192.168.1.5:8080", false},
		{"https://a.example/", false},
		{"https://a.example/x", false},
		{"https://u@a.example", false},
		{"https://c.example:80", false},
		{"null", false},
		{"*", false},
		{"a.example", false},
		{"", false},
	} {
		t.Run(row.origin, func(t *testing.T) {
			t.Parallel()
			g := newGuarded(t, list)
			want := map[bool]string{true: row.origin}[row.listed]
			for _, path := range []string{"/session", "/image/x", "/snapshot/x", "/stats", "/healthz", "/nothing", "//x", "/image/a%20b"} {
				for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
					got := g.ask(t, method, path, "", "Origin: "+row.origin, "Access-Control-Request-Method: POST").Header
					if got.Get("Access-Control-Allow-Origin") != want || len(got["Access-Control-Allow-Origin"]) > 1 || strings.Join(got["Vary"], "|") != "Origin" {
						t.Errorf("%s %s: got Allow-Origin %q, Vary %q, want %q, Origin", method, path, got["Access-Control-Allow-Origin"], got["Vary"], want)
					}
					if methods := got.Get("Access-Control-Allow-Methods"); method == "OPTIONS" && path == "/image/x" &&
						(methods != allowed[path] || got.Get("Access-Control-Allow-Headers") != "*, Authorization" || got.Get("Access-Control-Max-Age") != "86400") {
						t.Errorf("preflight of %s: got headers %v", path, got)
					}
				}
			}
		})
	}
}

// What a page of another origin sends is refused before it is stored, since its
// browser would only hide the answer. The relay's own pages may send, and whoever
// is no browser.
func TestForeignPagesSendNothing(t *testing.T) {
	t.Parallel()
	const own = "http://relay.example:3000"
	for name, row := range map[string]struct {
		setting string
		headers []string
		want    int
	}{
		"no browser":                     {"https://a.example", nil, 200},
		"listed":                         {"https://a.example", []string{"Origin: https://a.example"}, 200},
		"listed, in a new browser":       {"https://a.example", []string{"Origin: https://a.example", "Sec-Fetch-Site: cross-site"}, 200},
		"listed, written another way":    {"https://a.example", []string{"Origin: HTTPS://a.example:443", "Sec-Fetch-Site: cross-site"}, 200},
		"of the relay":                   {"https://a.example", []string{"Origin: " + own}, 200},
		"of the relay, behind a proxy":   {"https://a.example", []string{"Origin: https://relay.example", "Sec-Fetch-Site: same-origin"}, 200},
		"foreign":                        {"https://a.example", []string{"Origin: https://evil.example"}, 403},
		"foreign, in a new browser":      {"https://a.example", []string{"Origin: https://evil.example", "Sec-Fetch-Site: cross-site"}, 403},
		"foreign, of the same site":      {"https://a.example", []string{"Origin: https://x.relay.example", "Sec-Fetch-Site: same-site"}, 403},
		"foreign, without a name":        {"https://a.example", []string{"Origin: null"}, 403},
		"foreign, tells no origin":       {"https://a.example", []string{"Sec-Fetch-Site: cross-site"}, 403},
		"foreign, where any origin may":  {"*", []string{"Origin: https://evil.example", "Sec-Fetch-Site: cross-site"}, 200},
		"nameless, where any origin may": {"*", []string{"Origin: null"}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGuarded(t, "CORS_ORIGINS="+row.setting)
			for _, target := range []string{"POST /image/x", "PUT /image/x", "POST /imageForm/x", "POST /stream/x", "POST /image/x/pop"} {
				g.push(t, "x", "kept")
				method, path, _ := strings.Cut(target, " ")
				body, kind := string(numberedJPEG(1, 16, 16)), "Content-Type: text/plain"
				if strings.Contains(path, "Form") {
					body, kind = oneFileForm, "Content-Type: multipart/form-data; boundary=b"
				}
				got := g.askAs(t, own, method, path, body, append(row.headers, kind)...)
				if got.StatusCode != row.want {
					t.Errorf("%s: got status %d, want %d", target, got.StatusCode, row.want)
				}
				if n := g.length(t, "x"); row.want == 403 && n != 1 {
					t.Errorf("%s: refused, and the session has %d images, want 1", target, n)
				}
				g.drain(t, "x")
			}
			for _, path := range []string{"/image/x", "/snapshot/x", "/stats"} { // reading is for the browser to allow
				if got := g.askAs(t, own, "GET", path, "", row.headers...); got.StatusCode != 200 {
					t.Errorf("GET %s: got status %d, want 200", path, got.StatusCode)
				}
			}
		})
	}
}

// askAs is ask with the name that the client knows the server by.
func (s *site) askAs(t testing.TB, own, method, path, body string, headers ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, own+path, strings.NewReader(body))
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	r.RequestURI, r.URL.Scheme, r.URL.Host = "", "http", s.addr
	resp := must(http.DefaultTransport.RoundTrip(r.WithContext(t.Context())))(t)
	resp.Body.Close()
	return resp
}

// The way of most servers costs nothing. Allocations are counted in the whole
// process, so this test runs alone.
func TestAnyOriginAllocatesNothing(t *testing.T) {
	h, c := http.Header{"Access-Control-Allow-Origin": nil}, newCORS("*")
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Origin", "https://a.example")
	if got := testing.AllocsPerRun(100, func() { c.allow(h, r) }); got != 0 || h.Get("Access-Control-Allow-Origin") != "*" || h["Vary"] != nil {
		t.Errorf("got %v allocations, headers %v, want none and *", got, h)
	}
}
