package main

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/session"
)

// attempt is one request, for which credentials are made.
type attempt struct {
	*accessServer
	id, path string
}

func (a attempt) key() string         { return a.server.signer.Key(a.id) }
func (a attempt) link() string        { return a.linkQuery(a.path, time.Hour) }
func (a attempt) expiredLink() string { return a.linkQuery(a.path, -time.Second) }

// credential is what a request may carry, right or wrong, and the status of the answer under each kind of guard.
type credential struct {
	name          string
	query, header func(attempt) string // the query, and the Authorization header; nil: none
	publish, view outcome
	operate       int // 0: 401
}

// outcome is the status of the answer, first where issued session ids give access, for such an id and for a chosen one,
// and then for both where they do not: REQUIRE_KEY for the routes of producers, PRIVATE for those of readers.
type outcome [4]int

var (
	onlyIssued = outcome{200, 403, 401, 401}
	everything = outcome{200, 200, 200, 200}
	expired    = outcome{200, 403, 403, 403}
)

// text returns a function that returns a text.
func text(s string) func(attempt) string { return func(attempt) string { return s } }

// prefixed returns a function that puts a prefix in front of a value.
func prefixed(prefix string, value func(attempt) string) func(attempt) string {
	return func(a attempt) string { return prefix + value(a) }
}

// basic returns a function that makes a Basic header of a user name and a password.
func basic(user string, password func(attempt) string) func(attempt) string {
	return func(a attempt) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password(a)))
	}
}

var credentials = []credential{
	{"nothing", nil, nil, onlyIssued, onlyIssued, 0},
	{"key in the header", nil, prefixed("Bearer ", attempt.key), everything, everything, 0},
	{"key, scheme in small letters", nil, prefixed("bearer  ", attempt.key), everything, everything, 0},
	{"key in the query", prefixed("key=", attempt.key), nil, everything, everything, 0},
	{
		"key with a cache-buster",
		func(a attempt) string { return "1595805826022&key=" + a.key() + "&_=%zz;" }, nil,
		everything, everything, 0,
	},
	{"key twice", prefixed("key=", attempt.key), prefixed("Bearer ", attempt.key), everything, everything, 0},
	{
		"key in the query, another in the header",
		prefixed("key=", attempt.key), text("Bearer nonsense"),
		everything, everything, 0,
	},
	{
		"key in the header, another in the query",
		text("key=nonsense"), prefixed("Bearer ", attempt.key),
		everything, everything, 0,
	},
	{
		"key of another session",
		func(a attempt) string { return "key=" + a.server.signer.Key("other") }, nil,
		onlyIssued, onlyIssued, 0,
	},
	{
		"key of another secret",
		func(a attempt) string { return "key=" + session.NewSigner(testSecret+"!").Key(a.id) }, nil,
		onlyIssued, onlyIssued, 0,
	},
	{"empty key", text("key="), text("Bearer "), onlyIssued, onlyIssued, 0},
	{"key as a password", nil, basic("camera", attempt.key), everything, everything, 0},
	{"key as a password of nobody", nil, basic("", attempt.key), everything, everything, 0},
	{"key as a user name", nil, func(a attempt) string { return basic(a.key(), text(""))(a) }, onlyIssued, onlyIssued, 0},
	{"key as a password and more", nil, basic("camera:", attempt.key), onlyIssued, onlyIssued, 0},
	{"key as a password, not encoded", nil, prefixed("Basic ", attempt.key), onlyIssued, onlyIssued, 0},
	{"key alone", nil, attempt.key, onlyIssued, onlyIssued, 0},
	{
		"key as a signature",
		prefixed("expires=99999999999&signature=", attempt.key), nil,
		onlyIssued, onlyIssued, 0,
	},
	{
		"the secret",
		text("key=" + url.QueryEscape(testSecret)), text("Bearer " + testSecret),
		onlyIssued, onlyIssued, 0,
	},
	{"link", attempt.link, nil, onlyIssued, everything, 0},
	{
		"link with a cache-buster",
		func(a attempt) string { return a.link() + "&1595805826022&wait=0&fps=5&after=0" }, nil,
		onlyIssued, everything, 0,
	},
	{
		"link that expires soon",
		func(a attempt) string { return a.linkQuery(a.path, 20*time.Second) }, nil,
		onlyIssued, everything, 0,
	},
	{"link that has expired", attempt.expiredLink, nil, onlyIssued, expired, 0},
	{
		"expired link and key",
		func(a attempt) string { return a.expiredLink() + "&key=" + a.key() }, nil,
		everything, everything, 0,
	},
	{
		"link of another session",
		func(a attempt) string { return a.linkQuery(strings.Replace(a.path, a.id, "other", 1), time.Hour) }, nil,
		onlyIssued, onlyIssued, 0,
	},
	{
		"link of another route",
		func(a attempt) string { return a.linkQuery("/"+a.id, time.Hour) }, nil,
		onlyIssued, onlyIssued, 0,
	},
	{
		"link of the session alone",
		func(a attempt) string { return a.linkQuery(a.id, time.Hour) }, nil,
		onlyIssued, onlyIssued, 0,
	},
	{
		"link that was made longer",
		func(a attempt) string { return strings.Replace(a.link(), "=1", "=2", 1) }, nil,
		onlyIssued, onlyIssued, 0,
	},
	{
		"signature as a key",
		func(a attempt) string { return strings.Replace(a.link(), "signature", "key", 1) }, nil,
		onlyIssued, onlyIssued, 0,
	},
	{"operator's token", nil, text("Bearer " + testToken), onlyIssued, everything, 200},
	{
		"operator's token in the query",
		text(url.Values{"key": {testToken}, "token": {testToken}}.Encode()), nil,
		onlyIssued, onlyIssued, 0,
	},
	{"operator's token and one letter more", nil, text("Bearer " + testToken + "s"), onlyIssued, onlyIssued, 0},
	{"operator's token as a password", nil, basic("operator", text(testToken)), onlyIssued, everything, 200},
	{"operator's token as a password, not encoded", nil, text("Basic " + testToken), onlyIssued, onlyIssued, 0},
}

// guards says who may use each route: "publish", "view" and "operate" are the guards of access.go, "none" is for
// everybody.
var guards = map[string]string{
	"GET /session": "operate", "GET /stats": "operate", "GET /metrics": "operate",
	"GET /healthz": "none", "GET /readyz": "none",
	"POST /image/{session}": "publish", "PUT /image/{session}": "publish", "POST /imageForm/{session}": "publish",
	"POST /stream/{session}": "publish", "PUT /stream/{session}": "publish",
	"GET /image/{session}": "view", "HEAD /image/{session}": "view", "POST /image/{session}/pop": "view",
	"GET /stream/{session}": "view", "GET /snapshot/{session}": "view",
}

// aliasGuards has other ways to reach some of the routes.
var aliasGuards = map[string]string{
	"GET /snapshot/{session}.jpg": "view", "HEAD /snapshot/{session}.jpg": "view", "HEAD /snapshot/{session}": "view",
	"PUT /Image/{session}.jpg": "publish", "POST /IMAGEFORM/{session}/": "publish", "GET /STREAM/{session}.MJPG": "view",
	"POST /image/{session}.png/pop/": "view", "GET /Stats/": "operate", "GET /healthz/": "none",
	"HEAD /stream/{session}": "view", "GET /stream/{session}?action=snapshot": "view",
	"GET /stream/{session}?action=stream": "view", "GET /image/{session}?after=0": "view",
	"HEAD /session": "operate", "HEAD /stats": "operate", "HEAD /metrics": "operate", "HEAD /healthz": "none",
}

// A new route has to be in the table of guards, so that nobody forgets to decide who may use it.
func TestEveryRouteHasItsGuard(t *testing.T) {
	t.Parallel()
	endpoints := newAccessServer(t).server.endpoints()
	for _, row := range endpoints {
		if guards[row.pattern] == "" {
			t.Errorf("%s: who may use it?", row.pattern)
		}
	}
	if len(endpoints) != len(guards) {
		t.Errorf("got %d routes, want %d", len(endpoints), len(guards))
	}
}

// Every route is tried with every credential under every setting. A request that is refused stores and removes nothing.
func TestAccess(t *testing.T) {
	t.Parallel()
	const (
		secret, requireKey = "SESSION_SECRET=" + testSecret, "REQUIRE_KEY=true"
		private, token     = "PRIVATE=true", "OPERATOR_TOKEN=" + testToken
	)
	for _, vars := range [][]string{
		{},
		{token},
		{secret},
		{secret, token},
		{secret, requireKey},
		{secret, requireKey, token},
		{secret, private},
		{secret, private, token},
		{secret, requireKey, private},
		{secret, requireKey, private, token},
	} {
		t.Run(strings.Join(vars, " "), func(t *testing.T) {
			t.Parallel()
			s := newAccessServer(t, vars...)
			for _, table := range []map[string]string{guards, aliasGuards} {
				for pattern, guard := range table {
					for _, c := range credentials {
						issued, chosen := c.wantStatuses(guard, s)
						s.try(t, pattern, c, s.server.signer.New(), issued)
						s.try(t, pattern, c, session.New(), chosen)
					}
				}
			}
		})
	}
}

// wantStatuses returns the status of the answers to requests that carry the credential: for a session id that the
// server issued, and for a chosen one.
func (c credential) wantStatuses(guard string, s *accessServer) (issued, chosen int) {
	access := s.server.access
	hasSecret, hasToken := access.SessionSecret != "", access.OperatorToken != ""
	switch {
	case guard == "operate" && hasToken:
		return cmp.Or(c.operate, 401), cmp.Or(c.operate, 401)
	case guard == "none", guard == "operate", !hasSecret:
		return 200, 200
	}
	want, closed := c.view, access.Private
	if strings.HasPrefix(c.name, "operator's token") && !hasToken {
		want = onlyIssued // there is no such token
	}
	if guard == "publish" {
		want, closed = c.publish, access.RequireKey
	}
	if closed {
		return want[2], want[3]
	}
	return want[0], want[1]
}

// try sends one request to a session that holds one image.
func (s *accessServer) try(t *testing.T, pattern string, c credential, id string, want int) {
	t.Helper()
	s.PushImage(t, id, "kept")
	method, target, _ := strings.Cut(strings.ReplaceAll(pattern, "{session}", id), " ")
	path, query, _ := strings.Cut(target, "?")
	a := attempt{s, id, path}
	var headers []string
	if c.query != nil {
		query += "&" + c.query(a)
	}
	if c.header != nil {
		headers = append(headers, "Authorization: "+c.header(a))
	}
	issued := s.server.signer.Issued(id)
	if got := s.status(t, method, path, query, headers...); got != want {
		t.Errorf("%s, issued id %v, %s: got status %d, want %d", pattern, issued, c.name, got, want)
	}
	if n := s.Len(t, id); want != 200 && n != 1 {
		t.Errorf("%s, issued id %v, %s: refused, and the session has %d images, want 1", pattern, issued, c.name, n)
	}
	s.drain(t, id)
}

// A session id that is not valid is refused as such, before credentials are checked.
func TestAccessOfBadSession(t *testing.T) {
	t.Parallel()
	s := newAccessServer(t, "SESSION_SECRET="+testSecret, "REQUIRE_KEY=true", "PRIVATE=true")
	for pattern := range guards {
		method, path, _ := strings.Cut(strings.ReplaceAll(pattern, "{session}", "a%20b"), " ")
		if !strings.Contains(path, "a%20b") {
			continue
		}
		if got := s.status(t, method, path, s.linkQuery(path, time.Hour)); got != 400 {
			t.Errorf("%s: got status %d, want 400", pattern, got)
		}
	}
}

// Preflights and wrong methods are answered without credentials: a browser sends none with a preflight.
func TestAccessLeavesPreflight(t *testing.T) {
	t.Parallel()
	s := newAccessServer(t,
		"SESSION_SECRET="+testSecret, "REQUIRE_KEY=true", "PRIVATE=true", "OPERATOR_TOKEN="+testToken)
	for path := range allowedMethods {
		s.Do(t, http.MethodOptions, path, nil, "Origin: https://a.example", "Access-Control-Request-Method: GET").
			WantStatus(t, 204)
		s.Do(t, http.MethodDelete, path, nil).WantStatus(t, 405)
	}
}

// An issued id comes with its key, which is enough for sending.
func TestSessionWithKey(t *testing.T) {
	t.Parallel()
	s := newAccessServer(t,
		"SESSION_SECRET="+testSecret, "REQUIRE_KEY=true", "PRIVATE=true", "OPERATOR_TOKEN="+testToken)
	token := "Authorization: Bearer " + testToken
	plain := s.Get(t, "/session", token).WantStatus(t, 200)
	if !s.server.signer.Issued(plain.Text) {
		t.Errorf("got %q, want a signed id alone", plain.Text)
	}
	got := s.Get(t, "/session", token, "Accept: application/json").WantStatus(t, 200)
	var fields map[string]string
	if err := json.Unmarshal([]byte(got.Text), &fields); err != nil {
		t.Fatal(err)
	}
	id, key := fields["session"], fields["key"]
	if !s.server.signer.Issued(id) || len(fields) != 2 {
		t.Errorf("got %s, want a session and a key", got.Text)
	}
	s.Do(t, "POST", "/image/"+id, strings.NewReader("image"), "Authorization: Bearer "+key).WantStatus(t, 200)
	if got := s.Get(t, "/image/"+id+"?key="+key).WantStatus(t, 200); got.Text != "image" {
		t.Errorf("got %q", got.Text)
	}
}

// A publish key counts in the query and in the header of a request. A text that differs from the key in a character, or
// in its length, does not.
func TestPublishKeys(t *testing.T) {
	t.Parallel()
	signer := session.NewSigner(testSecret)
	s, key := &server{signer: signer}, signer.Key("front")
	inQuery := func(key string) bool {
		r := httptest.NewRequest(http.MethodGet, "/?"+url.Values{"key": {key}}.Encode(), nil)
		return s.hasKey(r, "front")
	}
	inHeader := func(key string) bool {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer "+key)
		return s.hasKey(r, "front")
	}
	if !inQuery(key) || !inHeader(key) {
		t.Errorf("%s does not pass: in the query %v, in the header %v", key, inQuery(key), inHeader(key))
	}
	others := []string{
		key + "A", key + "=", "A" + key, key + key, strings.ToLower(key), strings.ToUpper(key),
		signer.Key("Front"), session.NewSigner("another secret of the tests").Key("front"),
		strings.TrimPrefix(signer.Link("front", time.Unix(1767225600, 0)), "front?expires=1767225600&signature="),
		session.NewSigner("").Key("front"), testSecret, "front", "",
	}
	for i := range key {
		others = append(others, key[:i], key[:i]+key[i+1:], key[:i]+key[i:i+1]+key[i:])
		for _, c := range idCharacters + "=+/. " {
			if rune(key[i]) != c {
				others = append(others, key[:i]+string(c)+key[i+1:])
			}
		}
	}
	for _, other := range others {
		if inQuery(other) || inHeader(other) {
			t.Errorf("%q passes for %s: in the query %v, in the header %v", other, key, inQuery(other), inHeader(other))
		}
	}
}

// No log line of the whole program, and no answer to a stranger, holds a secret or anything that gives access.
func TestSecretsStayOutOfTheLog(t *testing.T) {
	t.Parallel()
	for name, vars := range map[string][]string{
		"text": {}, "json": {"LOG_FORMAT=json"}, "redis away": {"REDIS_HOST=127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startServer(t, "", append([]string{
				"LOG_LEVEL=debug", "SESSION_SECRET=" + testSecret, "REQUIRE_KEY=true", "PRIVATE=true",
				"OPERATOR_TOKEN=" + testToken,
			}, vars...)...)
			signer := session.NewSigner(testSecret)
			id := signer.New()
			key, link := signer.Key(id), signer.Link("/snapshot/"+id, time.Now().Add(time.Hour))
			signature := link[strings.LastIndex(link, "=")+1:]
			secrets := []string{testSecret, testToken, id, key, signature, "nonsense"}
			ask := func(method, path, token string) {
				got := p.Do(t, method, path, strings.NewReader("image"), "Authorization: Bearer "+token)
				if got.StatusCode >= 400 && containsAny(got.Text, secrets...) {
					t.Errorf("%s %s: got %s", method, path, got.Text)
				}
			}
			var all sync.WaitGroup
			for _, path := range []string{
				"/image/" + id, "/snapshot/" + id, "/stream/" + id + "?action=snapshot", link, "/image/" + id + "/pop",
				"/nothing/" + id, "//" + id,
			} {
				for _, method := range []string{"GET", "POST", "HEAD", "DELETE"} {
					for _, token := range []string{key, testToken, signature, "nonsense"} {
						all.Go(func() { ask(method, path, token) })
					}
				}
			}
			all.Wait()
			p.Get(t, "/session?key="+key, "Authorization: Bearer "+testToken)
			p.stop()
			p.wantExit(t, 0, time.Minute)
			if log := p.log.String(); containsAny(log, secrets...) || !strings.Contains(log, "/image/{session}") {
				t.Errorf("the log holds a secret, or no request: %s", log)
			}
		})
	}
}
