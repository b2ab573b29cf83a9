package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/image-streamer/image-streamer/internal/httpserver"
	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// ask sends a request, made by httptest.NewRequest, and returns the answer without its body. The client believes the
// host of the request to be that of the server. Headers are given as "Name: value".
func (s *testServer) ask(t testing.TB, r *http.Request, headers ...string) *http.Response {
	t.Helper()
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	r.RequestURI, r.URL.Scheme, r.URL.Host = "", "http", s.Addr
	resp := testkit.Must(testkit.Client.Transport.RoundTrip(r.WithContext(t.Context())))(t)
	resp.Body.Close()
	return resp
}

// With a list each answer of each path names the origin that asked, if it is listed, and caches keep the answers to
// different origins apart. Errors and preflights do so as well.
func TestOrigins(t *testing.T) {
	t.Parallel()
	const list = "https://a.example, HTTP://192.168.1.5:8080 ,https://B.example:443,http://c.example:80,http://[::1]:3000"
	for origin, listed := range map[string]bool{
		"https://a.example":        true,
		"HTTPS://A.Example":        true,
		"http://192.168.1.5:8080":  true,
		"https://b.example":        true,
		"http://c.example":         true,
		"http://[::1]:3000":        true,
		"https://evil.example":     false,
		"http://a.example":         false,
		"https://192.168.1.5:8080": false,
		"null":                     false,
		"*":                        false,
		"":                         false,
	} {
		t.Run(origin, func(t *testing.T) {
			t.Parallel()
			s := newMemoryServer(t, "CORS_ORIGINS="+list, "ALLOWED_HOSTS=relay.example")
			want := map[bool]string{true: origin}[listed]
			for _, path := range []string{
				"/session", "/image/x", "/snapshot/x", "/stats", "/healthz", "/nothing", "//x", "/image/a%20b",
			} {
				for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
					r := httptest.NewRequest(method, "http://relay.example"+path, nil)
					h := s.ask(t, r, "Origin: "+origin, "Access-Control-Request-Method: POST",
						"Access-Control-Request-Headers: content-type").Header
					allowed := h["Access-Control-Allow-Origin"]
					if strings.Join(allowed, "|") != want || strings.Join(h["Vary"], "|") != "Origin" {
						t.Errorf("%s %s: got Allow-Origin %q, Vary %q, want %q, Origin", method, path, allowed, h["Vary"], want)
					}
					if method == "OPTIONS" && path == "/image/x" {
						wantPreflight(t, h, path, listed)
					}
				}
			}
		})
	}
}

// wantPreflight checks the headers of the answer to a preflight.
func wantPreflight(t *testing.T, h http.Header, path string, listed bool) {
	t.Helper()
	headers := map[bool]string{true: "content-type", false: "*, Authorization"}[listed]
	for name, want := range map[string]string{
		"Access-Control-Allow-Methods": allowedMethods[path],
		"Access-Control-Allow-Headers": headers,
		"Access-Control-Max-Age":       "86400",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("preflight of %s: got %s %q, want %q", path, name, got, want)
		}
	}
}

// What a page of another origin sends is refused before it is stored, since the page's browser would only hide the
// answer. So is a script that would take an image. The server's own pages may do both, and so may clients that are not
// browsers. (The package httpserver tests all that a browser may say of the page.)
func TestForeignPagesChangeNothing(t *testing.T) {
	t.Parallel()
	const own, evil = "http://relay.example:3000", "https://evil.example"
	for name, row := range map[string]struct {
		origins string
		headers []string
		want    int
	}{
		"no browser":                     {"https://a.example", nil, 200},
		"listed":                         {"https://a.example", []string{"Origin: https://a.example"}, 200},
		"of the server":                  {"https://a.example", []string{"Origin: " + own}, 200},
		"foreign":                        {"https://a.example", []string{"Origin: " + evil}, 403},
		"foreign, without a name":        {"https://a.example", []string{"Origin: null"}, 403},
		"foreign, tells no origin":       {"https://a.example", []string{"Sec-Fetch-Site: cross-site"}, 403},
		"foreign, where any origin may":  {"*", []string{"Origin: " + evil, "Sec-Fetch-Site: cross-site"}, 200},
		"nameless, where any origin may": {"*", []string{"Origin: null"}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newMemoryServer(t, "CORS_ORIGINS="+row.origins, "ALLOWED_HOSTS=relay.example")
			for _, target := range []string{
				"POST /image/x", "PUT /image/x", "POST /imageForm/x", "POST /stream/x", "PUT /stream/x", "POST /image/x/pop",
				"GET /image/x", "GET /image/x?wait=1",
			} {
				s.PushImage(t, "x", "kept")
				method, path, _ := strings.Cut(target, " ")
				want := row.want
				if method == "GET" && name == "foreign, tells no origin" { // as an <img> does
					want = 200
				}
				body, contentType := smallJPEG("image"), "text/plain"
				if strings.Contains(path, "Form") {
					body, contentType = relaytest.Form("image"), relaytest.FormType
				}
				r := httptest.NewRequest(method, own+path, strings.NewReader(body))
				r.Header.Set("Content-Type", contentType)
				if got := s.ask(t, r, row.headers...); got.StatusCode != want {
					t.Errorf("%s: got status %d, want %d", target, got.StatusCode, want)
				}
				if n := s.Len(t, "x"); want == 403 && n != 1 {
					t.Errorf("%s: refused, and the session has %d images, want 1", target, n)
				}
				s.drain(t, "x")
			}
			for _, path := range []string{"/snapshot/x", "/stats"} { // the browser hides what it must
				r := httptest.NewRequest(http.MethodGet, own+path, nil)
				if got := s.ask(t, r, row.headers...); got.StatusCode != 200 {
					t.Errorf("GET %s: got status %d, want 200", path, got.StatusCode)
				}
			}
		})
	}
}

// A page that is isolated by Cross-Origin-Embedder-Policy shows only what says that it may be shown anywhere. Images
// say so, also the No Data image, whatever CORS_ORIGINS holds: it is about scripts.
func TestEveryPageMayEmbedImages(t *testing.T) {
	t.Parallel()
	for _, origins := range []string{"*", "https://a.example"} {
		s := newMemoryServer(t, "CORS_ORIGINS="+origins)
		for target, want := range map[string]string{
			"GET /image/x": "cross-origin", "HEAD /image/x": "cross-origin", "GET /image/x?nodata=404": "cross-origin",
			"GET /image/x?after=0": "cross-origin", "POST /image/x/pop": "cross-origin", "GET /snapshot/x.jpg": "cross-origin",
			"HEAD /stream/x": "cross-origin", "GET /stream/x?action=snapshot": "cross-origin", "GET /stream/x": "cross-origin",
			"GET /stats": "", "GET /session": "", "GET /metrics": "", "POST /image/x": "", "GET /nothing": "",
		} {
			for _, images := range []int{1, 0} {
				s.drain(t, "x")
				for range images {
					s.PushImage(t, "x", "image")
				}
				method, path, _ := strings.Cut(target, " ")
				r := httptest.NewRequest(method, "http://127.0.0.1"+path, nil)
				if got := s.ask(t, r).Header.Get("Cross-Origin-Resource-Policy"); got != want {
					t.Errorf("%s, %d images, CORS_ORIGINS=%s: got %q, want %q", target, images, origins, got, want)
				}
			}
		}
	}
}

// A page whose name was made to resolve to the server (DNS rebinding) looks like the server's own page, but for the
// name. It gets nothing and takes nothing, also of the page of the demo, which may hold a link.
func TestForeignHostsGetNothing(t *testing.T) {
	t.Parallel()
	const evil = "http://evil.example"
	for host, want := range map[string]int{
		evil: 421, evil + ":3000": 421, "http://relay.example:3000": 200, "http://a.example": 200, "http://localhost": 200,
		"http://192.168.1.5:3000": 200, "http://[::1]:3000": 200,
	} {
		s := newMemoryServer(t, "CORS_ORIGINS=https://a.example", "ALLOWED_HOSTS=relay.example")
		access := testConfig(t, "CORS_ORIGINS=https://a.example", "ALLOWED_HOSTS=relay.example").Access
		page := func() []byte { return []byte("<script></script><style></style>") }
		demo := withPage(page, httpserver.NewCORS(access.CORSOrigins), allowedHosts(access), s.server.routes())
		for _, target := range []string{
			"GET /image/x", "POST /image/x/pop", "POST /image/x", "GET /snapshot/x", "GET /stats", "GET /session",
			"GET /healthz", "GET /readyz", "GET /metrics", "GET /stream/x?action=snapshot",
		} {
			s.drain(t, "x")
			s.PushImage(t, "x", "image")
			method, path, _ := strings.Cut(target, " ")
			r := httptest.NewRequest(method, host+path, strings.NewReader("image"))
			if got := s.ask(t, r, "Origin: "+host, "Sec-Fetch-Site: same-origin"); got.StatusCode != want {
				t.Errorf("%s %s: got status %d, want %d", target, host, got.StatusCode, want)
			}
			if n := s.Len(t, "x"); want == 421 && n != 1 {
				t.Errorf("%s %s: refused, and the session has %d images, want 1", target, host, n)
			}
		}
		w := connection{httptest.NewRecorder()}
		demo.ServeHTTP(w, httptest.NewRequest(http.MethodGet, host+"/", nil))
		if w.Code != want {
			t.Errorf("the page of the demo at %s: got status %d, want %d", host, w.Code, want)
		}
	}
}
