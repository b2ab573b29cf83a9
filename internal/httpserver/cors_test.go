package httpserver

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// With a list each answer names the origin that asked, if it is listed, and no cache gives the answer to another
// origin. The same holds for errors and preflights.
func TestOrigins(t *testing.T) {
	t.Parallel()
	const list = "https://a.example, HTTP://192.168.1.5:8080 ,https://B.example:443,http://c.example:80," +
		"http://[::1]:3000,Capacitor://localhost"
	origins := testkit.Must(ParseOrigins(list))(t)
	const normal = "https://a.example,http://192.168.1.5:8080,https://b.example,http://c.example,http://[::1]:3000," +
		"capacitor://localhost"
	if origins != normal {
		t.Fatalf("got %s, want %s", origins, normal)
	}
	s := newTestServer(t, Options{CORS: NewCORS(origins)}, endpoints{
		"GET /ok": succeeds, "GET /refused": fails(Errorf(http.StatusBadRequest, "no")), "/ok": OtherMethods([]string{"GET"}),
	})
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
		{"capacitor://localhost", true},
		{"ionic://localhost", false},
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
		want := map[bool]string{true: row.origin}[row.listed]
		for _, path := range []string{"/ok", "/refused", "/nothing", "//x"} {
			for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
				got := s.do(t, method, path, nil, "Origin: "+row.origin, "Access-Control-Request-Method: POST").Header
				allowed := got["Access-Control-Allow-Origin"]
				if strings.Join(allowed, "") != want || len(allowed) > 1 || strings.Join(got["Vary"], "|") != "Origin" {
					t.Errorf("%s %s of %s: got Allow-Origin %q, Vary %q, want %q, Origin",
						method, path, row.origin, allowed, got["Vary"], want)
				}
				wantCredentials := map[bool]string{true: "true"}[row.listed]
				if credentials := strings.Join(got["Access-Control-Allow-Credentials"], "|"); credentials != wantCredentials {
					t.Errorf("%s %s of %s: got Allow-Credentials %q, want %q",
						method, path, row.origin, credentials, wantCredentials)
				}
			}
		}
	}
}

// The list holds origins as browsers write them, and nothing else.
func TestParseOriginsRefuses(t *testing.T) {
	t.Parallel()
	for _, list := range []string{
		"", ",", "a.example", "https://a.example,", "https://a.example,*", "https://a.example/", "https://a.example/x",
		"https://a.example?x", "https://a.example#x", "https://u@a.example", "https://:443", "https://a.example:0",
		"https://a.example:65536", "https://a.example:x", "ftp://a.example", "null", "https://*.example/",
		"https://a b.example", "https://*.example.org", "https://*", "*.example.org", "https://a.example:*", "*://a.example",
		"https://müller.example", "https://a.example:080", "https://a.example:", "capacitor://", "capacitor:localhost",
		"://a.example", "1app://x", "wss://a.example", "https://[::1", "https://::1", "file:///a",
	} {
		if got, err := ParseOrigins(list); err == nil {
			t.Errorf("%q: got %q, want an error", list, got)
		}
	}
	for list, want := range map[string]string{
		"*": "*", "capacitor://localhost, ionic://localhost": "capacitor://localhost,ionic://localhost", "app://X": "app://x",
		"chrome-extension://abcdef": "chrome-extension://abcdef", "http://a:443,https://b:80": "http://a:443,https://b:80",
		"tauri://localhost:1430": "tauri://localhost:1430", "https://xn--mller-kva.example": "https://xn--mller-kva.example",
	} {
		if got := testkit.Must(ParseOrigins(list))(t); got != want {
			t.Errorf("%q: got %q, want %q", list, got, want)
		}
	}
}

// What a page of another origin sends reaches no endpoint, since the page's browser would only hide the answer. The
// server's own pages may send, and clients that are not browsers may too.
func TestForeignPagesSendNothing(t *testing.T) {
	t.Parallel()
	const own = "http://relay.example:3000"
	for name, row := range map[string]struct {
		list, origin, site string // of the setting, of the headers Origin and Sec-Fetch-Site
		want               int
	}{
		"no browser":                     {"https://a.example", "", "", 200},
		"listed":                         {"https://a.example", "https://a.example", "", 200},
		"listed, in a new browser":       {"https://a.example", "https://a.example", "cross-site", 200},
		"listed, written another way":    {"https://a.example", "HTTPS://a.example:443", "cross-site", 200},
		"of the server":                  {"https://a.example", own, "", 200},
		"of the server, behind a proxy":  {"https://a.example", "https://relay.example", "same-origin", 200},
		"foreign":                        {"https://a.example", "https://evil.example", "", 403},
		"foreign, in a new browser":      {"https://a.example", "https://evil.example", "cross-site", 403},
		"foreign, of the same site":      {"https://a.example", "https://x.relay.example", "same-site", 403},
		"foreign, without a name":        {"https://a.example", "null", "", 403},
		"foreign, without an origin":     {"https://a.example", "", "cross-site", 403},
		"foreign, where any origin may":  {"*", "https://evil.example", "cross-site", 200},
		"nameless, where any origin may": {"*", "null", "", 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reached := 0
			s := newTestServer(t, Options{CORS: NewCORS(row.list)}, endpoints{
				"/x": func(w http.ResponseWriter, _ *http.Request) error { reached++; return WriteText(w, "ok") },
			})
			for _, method := range []string{"POST", "PUT", "GET"} {
				want := row.want
				if method == "GET" { // reading is for the browser to allow
					want = 200
				}
				reached = 0
				r := httptest.NewRequest(method, own+"/x", strings.NewReader("image"))
				r.Header.Set("Content-Type", "text/plain")
				if row.origin != "" {
					r.Header.Set("Origin", row.origin)
				}
				if row.site != "" {
					r.Header.Set("Sec-Fetch-Site", row.site)
				}
				w := newRecordedConn()
				s.handler.ServeHTTP(w, r)
				if w.Code != want || reached != map[int]int{200: 1}[want] {
					t.Errorf("%s: got status %d, the endpoint ran %d times, want %d", method, w.Code, reached, want)
				}
			}
		})
	}
}

// The browser of a script that reads names the script's origin, and hides the answer if that is not listed.
func TestHides(t *testing.T) {
	t.Parallel()
	const own, listed, evil = "http://relay.example:3000", "https://a.example", "https://evil.example"
	for _, row := range []struct {
		list, origin, site string // of the setting, of the headers Origin and Sec-Fetch-Site
		hides              bool
	}{
		{listed, evil, "cross-site", true},
		{listed, evil, "", true},
		{listed, "https://x.relay.example", "same-site", true},
		{listed, "null", "cross-site", true},
		{listed, listed, "cross-site", false},
		{listed, own, "", false},
		{listed, "https://relay.example", "same-origin", false}, // behind a proxy
		{listed, "", "cross-site", false},                       // an <img>
		{listed, "", "", false},
		{"*", evil, "cross-site", false},
	} {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			r := httptest.NewRequest(method, own+"/x", nil)
			r.Header.Set("Sec-Fetch-Site", row.site)
			r.Header.Set("Origin", row.origin)
			if got := NewCORS(row.list).Hides(r); got != row.hides || r.Method != method {
				t.Errorf("%s %+v: got %v", method, row, got)
			}
		}
	}
}

// A preflight allows every header. A page that may send with credentials is told so in full, because its browser takes
// * for a name then.
func TestPreflightHeaders(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ list, origin, asked, want string }{
		{"*", "https://a.example", "content-type", "*, Authorization"},
		{"*", "", "", "*, Authorization"},
		{"https://a.example", "https://evil.example", "content-type", "*, Authorization"},
		{"https://a.example", "https://a.example", "content-type", "content-type"},
		{"https://a.example", "https://a.example", "authorization,content-type,x-own", "authorization,content-type,x-own"},
		{"https://a.example", "https://a.example", "", ""},
	} {
		s := newTestServer(t, Options{CORS: NewCORS(row.list)}, endpoints{"/x": OtherMethods([]string{"POST"})})
		headers := []string{"Origin: " + row.origin, "Access-Control-Request-Method: POST"}
		if row.asked != "" {
			headers = append(headers, "Access-Control-Request-Headers: "+row.asked)
		}
		got := s.do(t, "OPTIONS", "/x", nil, headers...).wantStatus(t, 204).Header
		if allowed := strings.Join(got["Access-Control-Allow-Headers"], "|"); allowed != row.want {
			t.Errorf("%s asks %s for %q: got %q, want %q", row.origin, row.list, row.asked, allowed, row.want)
		}
	}
}

// The default setting costs nothing. Allocations are counted in the whole process, so this test runs alone.
func TestAnyOriginAllocatesNothing(t *testing.T) {
	h, c := http.Header{"Access-Control-Allow-Origin": nil}, NewCORS("*")
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Origin", "https://a.example")
	got := testing.AllocsPerRun(100, func() { c.allow(h, r) })
	if got != 0 || h.Get("Access-Control-Allow-Origin") != "*" || h["Vary"] != nil {
		t.Errorf("got %v allocations, headers %v, want none and *", got, h)
	}
}
