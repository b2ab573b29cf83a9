package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// guarded is a server whose clock the test sets.
type guarded struct {
	*site
	server *server
	clock  atomic.Int64
}

// newGuarded starts a server on the embedded queue, which no rule of access
// depends on.
func newGuarded(t testing.TB, vars ...string) *guarded {
	t.Helper()
	cfg := testConfig(t, vars...)
	queue := newMemoryQueue(time.Minute, 64<<20, time.Now)
	t.Cleanup(queue.Close)
	g := &guarded{server: newServer(cfg, queue, slog.New(slog.DiscardHandler))}
	g.clock.Store(time.Now().Truncate(time.Second).UnixNano()) // links know whole seconds
	g.server.now = func() time.Time { return time.Unix(0, g.clock.Load()) }
	listener := httptest.NewServer(g.server.routes())
	t.Cleanup(listener.Close)
	g.site = &site{&fixture{engine: queue, ttl: time.Minute}, listener.Listener.Addr().String()}
	return g
}

// signed returns the query of a link of a path that is good for so long.
func (g *guarded) signed(path string, life time.Duration) string {
	_, query, _ := strings.Cut(g.server.signer.link(path, g.server.now().Add(life)), "?")
	return query
}

// status asks, and returns the status of the answer without waiting for its end.
func (g *guarded) status(t testing.TB, method, path, query string, headers ...string) int {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var body io.Reader
	switch {
	case strings.HasPrefix(path, "/imageForm/"):
		body, headers = strings.NewReader(oneFileForm), append(headers, "Content-Type: multipart/form-data; boundary=b")
	case method == "POST" && !strings.HasSuffix(path, "/pop") || method == "PUT":
		body = bytes.NewReader(numberedJPEG(1, 16, 16))
	}
	req := must(http.NewRequestWithContext(ctx, method, "http://"+g.addr+path, body))(t)
	req.URL.RawQuery = strings.Trim(req.URL.RawQuery+"&"+query, "&")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	resp := must(http.DefaultTransport.RoundTrip(req))(t)
	defer resp.Body.Close()
	if got, want := resp.Header.Get("WWW-Authenticate"), map[bool]string{true: "Bearer"}[resp.StatusCode == 401]; got != want {
		t.Errorf("status %d: got WWW-Authenticate %q, want %q", resp.StatusCode, got, want)
	}
	if resp.StatusCode >= 400 && method != http.MethodHead {
		received(t, resp, method)
	}
	return resp.StatusCode
}

// attempt is one request, to make credentials for.
type attempt struct {
	*guarded
	session, path string
}

func (a attempt) key() string { return a.server.signer.key(a.session) }

// credentials are what a request may carry, right and wrong, and the status of the
// answer: of an issued id and of a chosen one, first where access is open to issued
// ids, then where it is not: REQUIRE_KEY for sending, PRIVATE for reading. The last
// one is what the operator's routes answer.
var credentials = []struct {
	name          string
	query, header func(a attempt) string
	send, read    [4]int
	operate       int
}{
	{"nothing", nil, nil, open, open, 401},
	{"key in the header", nil, func(a attempt) string { return "Bearer " + a.key() }, all, all, 401},
	{"key, scheme in small letters", nil, func(a attempt) string { return "bearer  " + a.key() }, all, all, 401},
	{"key in the query", func(a attempt) string { return "key=" + a.key() }, nil, all, all, 401},
	{"key with a cache-buster", func(a attempt) string { return "1595805826022&key=" + a.key() + "&_=%zz;" }, nil, all, all, 401},
	{"key twice", func(a attempt) string { return "key=" + a.key() }, func(a attempt) string { return "Bearer " + a.key() }, all, all, 401},
	{"key in the query, another in the header", func(a attempt) string { return "key=" + a.key() }, func(attempt) string { return "Bearer nonsense" }, all, all, 401},
	{"key in the header, another in the query", func(attempt) string { return "key=nonsense" }, func(a attempt) string { return "Bearer " + a.key() }, all, all, 401},
	{"key of another session", func(a attempt) string { return "key=" + a.server.signer.key("other") }, nil, open, open, 401},
	{"key of another secret", func(a attempt) string { return "key=" + signer{testSecret + "!"}.key(a.session) }, nil, open, open, 401},
	{"empty key", func(attempt) string { return "key=" }, func(attempt) string { return "Bearer " }, open, open, 401},
	{"key as a password", nil, func(a attempt) string { return "Basic " + a.key() }, open, open, 401},
	{"key alone", nil, func(a attempt) string { return a.key() }, open, open, 401},
	{"key as a signature", func(a attempt) string { return "expires=99999999999&signature=" + a.key() }, nil, open, open, 401},
	{"the secret", func(attempt) string { return "key=" + url.QueryEscape(testSecret) }, func(attempt) string { return "Bearer " + testSecret }, open, open, 401},
	{"link", func(a attempt) string { return a.signed(a.path, time.Hour) }, nil, open, all, 401},
	{"link with a cache-buster", func(a attempt) string { return a.signed(a.path, time.Hour) + "&1595805826022&wait=0&fps=5&after=0" }, nil, open, all, 401},
	{"link in its last second", func(a attempt) string { return a.signed(a.path, time.Second) }, nil, open, all, 401},
	{"link that has expired", func(a attempt) string { return a.signed(a.path, -time.Second) }, nil, open, late, 401},
	{"link and key", func(a attempt) string { return a.signed(a.path, -time.Second) + "&key=" + a.key() }, nil, all, all, 401},
	{"link of another session", func(a attempt) string { return a.signed(strings.Replace(a.path, a.session, "other", 1), time.Hour) }, nil, open, open, 401},
	{"link of another route", func(a attempt) string { return a.signed("/"+a.session, time.Hour) }, nil, open, open, 401},
	{"link of the session alone", func(a attempt) string { return a.signed(a.session, time.Hour) }, nil, open, open, 401},
	{"link that was made longer", func(a attempt) string { return strings.Replace(a.signed(a.path, time.Hour), "=1", "=2", 1) }, nil, open, open, 401},
	{"signature as a key", func(a attempt) string { return strings.Replace(a.signed(a.path, time.Hour), "signature", "key", 1) }, nil, open, open, 401},
	{"operator's token", nil, func(attempt) string { return "Bearer " + testToken }, open, all, 200},
	{"operator's token in the query", func(attempt) string { return url.Values{"key": {testToken}, "token": {testToken}}.Encode() }, nil, open, open, 401},
	{"operator's token with one letter more", nil, func(attempt) string { return "Bearer " + testToken + "s" }, open, open, 401},
	{"operator's token as a password", nil, func(attempt) string { return "Basic " + testToken }, open, open, 401},
}

// Who is let in: those with an issued id only where that is enough; all; or, with a
// link that was good once, nobody else.
var (
	open = [4]int{200, 403, 401, 401}
	all  = [4]int{200, 200, 200, 200}
	late = [4]int{200, 403, 403, 403}
)

// kinds tells what each route is: sending, reading, the operator's, or open to all.
var kinds = map[string]string{
	"GET /session": "operate", "GET /stats": "operate", "GET /metrics": "operate", "GET /healthz": "all", "GET /readyz": "all",
	"POST /image/{session}": "send", "PUT /image/{session}": "send", "POST /imageForm/{session}": "send",
	"POST /stream/{session}": "send", "PUT /stream/{session}": "send",
	"GET /image/{session}": "read", "HEAD /image/{session}": "read", "POST /image/{session}/pop": "read",
	"GET /stream/{session}": "read", "GET /snapshot/{session}": "read",
}

// aliases are other ways to reach some of them.
var aliases = map[string]string{
	"GET /snapshot/{session}.jpg": "read", "HEAD /snapshot/{session}.jpg": "read", "HEAD /snapshot/{session}": "read",
	"HEAD /stream/{session}": "read", "GET /stream/{session}?action=snapshot": "read", "GET /stream/{session}?action=stream": "read",
	"GET /image/{session}?after=0": "read", "HEAD /session": "operate", "HEAD /stats": "operate", "HEAD /metrics": "operate", "HEAD /healthz": "all",
}

// A route that is new has to be in the table above: so nobody forgets to ask who
// may use it.
func TestEveryRouteHasItsKind(t *testing.T) {
	t.Parallel()
	table := newGuarded(t).server.table()
	for _, row := range table {
		if kinds[row.pattern] == "" {
			t.Errorf("%s: who may use it?", row.pattern)
		}
	}
	if len(table) != len(kinds) {
		t.Errorf("got %d routes, want %d", len(table), len(kinds))
	}
}

// Every route, with every kind of credential, under every setting: who may not is
// refused, and nothing is stored or removed.
func TestAccess(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		vars                         []string
		secret, key, private, tokens bool
	}{
		{[]string{}, false, false, false, false},
		{[]string{"OPERATOR_TOKEN=" + testToken}, false, false, false, true},
		{[]string{"SESSION_SECRET=" + testSecret}, true, false, false, false},
		{[]string{"SESSION_SECRET=" + testSecret, "OPERATOR_TOKEN=" + testToken}, true, false, false, true},
		{[]string{"SESSION_SECRET=" + testSecret, "REQUIRE_KEY=true"}, true, true, false, false},
		{[]string{"SESSION_SECRET=" + testSecret, "REQUIRE_KEY=true", "OPERATOR_TOKEN=" + testToken}, true, true, false, true},
		{[]string{"SESSION_SECRET=" + testSecret, "PRIVATE=true"}, true, false, true, false},
		{[]string{"SESSION_SECRET=" + testSecret, "PRIVATE=true", "OPERATOR_TOKEN=" + testToken}, true, false, true, true},
		{[]string{"SESSION_SECRET=" + testSecret, "REQUIRE_KEY=true", "PRIVATE=true"}, true, true, true, false},
		{[]string{"SESSION_SECRET=" + testSecret, "REQUIRE_KEY=true", "PRIVATE=true", "OPERATOR_TOKEN=" + testToken}, true, true, true, true},
	} {
		t.Run(strings.Join(row.vars, " "), func(t *testing.T) {
			t.Parallel()
			g := newGuarded(t, row.vars...)
			expected := func(kind string, chosen bool, with int) int {
				c := credentials[with]
				column := map[bool]int{true: 1}[chosen]
				switch {
				case kind == "operate" && row.tokens:
					return c.operate
				case kind == "all", kind == "operate", !row.secret:
					return 200
				case kind == "read" && strings.HasPrefix(c.name, "operator's token") && !row.tokens:
					c.read = open // there is no such token
				}
				statuses, closed := c.read, row.private
				if kind == "send" {
					statuses, closed = c.send, row.key
				}
				if closed {
					column += 2
				}
				return statuses[column]
			}
			for _, kinds := range []map[string]string{kinds, aliases} {
				for pattern, kind := range kinds {
					for with := range credentials {
						for _, chosen := range []bool{false, true} {
							g.try(t, pattern, with, chosen, expected(kind, chosen, with))
						}
					}
				}
			}
		})
	}
}

// try makes one attempt on a session of its own that holds one image.
func (g *guarded) try(t *testing.T, pattern string, with int, chosen bool, want int) {
	t.Helper()
	session, c := g.server.signer.newSession(), credentials[with]
	if chosen {
		session = newSession()
	}
	g.push(t, session, "kept")
	method, target, _ := strings.Cut(strings.ReplaceAll(pattern, "{session}", session), " ")
	path, query, _ := strings.Cut(target, "?")
	a := attempt{g, session, path}
	var headers []string
	if c.query != nil {
		query += "&" + c.query(a)
	}
	if c.header != nil {
		headers = append(headers, "Authorization: "+c.header(a))
	}
	if got := g.status(t, method, path, query, headers...); got != want {
		t.Errorf("%s, chosen id %v, %s: got status %d, want %d", pattern, chosen, c.name, got, want)
	}
	if n := g.length(t, session); want != 200 && n != 1 {
		t.Errorf("%s, chosen id %v, %s: refused, and the session has %d images, want 1", pattern, chosen, c.name, n)
	}
	g.drain(t, session)
}

// drain takes what a session holds.
func (f *fixture) drain(t testing.TB, session string) {
	t.Helper()
	for f.length(t, session) > 0 {
		f.take(t, session)
	}
}

// An id that is none is told so before anything is asked of who sends it.
func TestAccessOfBadSession(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, "SESSION_SECRET="+testSecret, "REQUIRE_KEY=true", "PRIVATE=true")
	for pattern := range kinds {
		method, path, ofSession := strings.Cut(strings.ReplaceAll(pattern, "{session}", "a%20b"), " ")
		if !ofSession || !strings.Contains(path, "a%20b") {
			continue
		}
		if got := g.status(t, method, path, g.signed(path, time.Hour)); got != 400 {
			t.Errorf("%s: got status %d, want 400", pattern, got)
		}
	}
}

// A preflight carries no credentials, and a wrong method is told whoever asks.
func TestAccessLeavesPreflight(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, "SESSION_SECRET="+testSecret, "REQUIRE_KEY=true", "PRIVATE=true", "OPERATOR_TOKEN="+testToken)
	for path := range allowed {
		g.do(t, http.MethodOptions, path, nil, "Origin: https://a.example", "Access-Control-Request-Method: GET").wantStatus(t, 204)
		g.do(t, http.MethodDelete, path, nil).wantStatus(t, 405)
	}
}

// An issued id comes with its key, which is good for sending at once.
func TestSessionWithKey(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, "SESSION_SECRET="+testSecret, "REQUIRE_KEY=true", "PRIVATE=true", "OPERATOR_TOKEN="+testToken)
	token := "Authorization: Bearer " + testToken
	text := g.get(t, "/session", token).wantStatus(t, 200)
	if !g.server.signer.issued(text.body) {
		t.Errorf("got %q, want a signed id alone", text.body)
	}
	got := g.get(t, "/session", token, "Accept: application/json").wantStatus(t, 200)
	var fields map[string]string
	if err := json.Unmarshal([]byte(got.body), &fields); err != nil {
		t.Fatal(err)
	}
	session, key := fields["session"], fields["key"]
	if !g.server.signer.issued(session) || len(fields) != 2 {
		t.Errorf("got %s, want a session and a key", got.body)
	}
	g.do(t, "POST", "/image/"+session, strings.NewReader("image"), "Authorization: Bearer "+key).wantStatus(t, 200)
	if got := g.get(t, "/image/"+session+"?key="+key).wantStatus(t, 200); got.body != "image" {
		t.Errorf("got %q", got.body)
	}
}

// No log line of the whole program and no answer to a stranger holds a secret, or
// what gives access.
func TestSecretsStayOutOfTheLog(t *testing.T) {
	t.Parallel()
	for name, vars := range map[string][]string{
		"text": {}, "json": {"LOG_FORMAT=json"}, "redis away": {"REDIS_HOST=127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startQuietly(t, append([]string{"LOG_LEVEL=debug", "SESSION_SECRET=" + testSecret, "REQUIRE_KEY=true", "PRIVATE=true", "OPERATOR_TOKEN=" + testToken}, vars...)...)
			s := signer{testSecret}
			session := s.newSession()
			key, link := s.key(session), s.link("/snapshot/"+session, time.Now().Add(time.Hour))
			signature := link[strings.LastIndex(link, "=")+1:]
			var all sync.WaitGroup
			for _, path := range []string{"/image/" + session, "/snapshot/" + session, "/stream/" + session + "?action=snapshot", link, "/image/" + session + "/pop", "/nothing/" + session, "//" + session} {
				for _, method := range []string{"GET", "POST", "HEAD", "DELETE"} {
					for _, auth := range []string{"Bearer " + key, "Bearer " + testToken, "Bearer " + signature, "Bearer nonsense"} {
						all.Go(func() {
							got := p.do(t, method, path, strings.NewReader("image"), "Authorization: "+auth)
							if got.StatusCode >= 400 && containsAny(got.body, testSecret, testToken, session, key, signature, "nonsense") {
								t.Errorf("%s %s: got %s", method, path, got.body)
							}
						})
					}
				}
			}
			all.Wait()
			p.get(t, "/session?key="+key, "Authorization: Bearer "+testToken)
			p.stop()
			p.wantExit(t, 0, 15*time.Second)
			if log := p.log.String(); containsAny(log, testSecret, testToken, session, key, signature, "nonsense") || !strings.Contains(log, "/image/{session}") {
				t.Errorf("the log tells too much, or nothing: %s", log)
			}
		})
	}
}

// startQuietly runs a server whose log is in any form.
func startQuietly(t testing.TB, vars ...string) *program {
	t.Helper()
	port := freePort()
	p := start(t, "", append(vars, "NODATA_HEIGHT=90", "PORT="+port)...)
	p.addr = "127.0.0.1:" + port
	p.log.await(t, "listening")
	return p
}

func containsAny(s string, parts ...string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(s, part) })
}
