// Package relaytest is the client side of tests of a whole server, in this process or in another one: requests, the
// parts of a stream, uploads of many images, metrics and logs. Every answer that it receives is checked for what holds
// for all answers of the server: the common headers, no redirects, errors as JSON. Only tests import this package.
package relaytest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// Client sends requests to the server at an address, host:port.
type Client struct{ Addr string }

// URL returns the URL of a path.
func (c *Client) URL(path string) string { return "http://" + c.Addr + path }

// NewRequest returns a request. Headers are given as "Name: value".
func (c *Client) NewRequest(t testing.TB, method, path string, body io.Reader, headers ...string) *http.Request {
	t.Helper()
	req := testkit.Must(http.NewRequestWithContext(t.Context(), method, c.URL(path), body))(t)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	return req
}

// Do sends a request. Headers are given as "Name: value".
func (c *Client) Do(t testing.TB, method, path string, body io.Reader, headers ...string) Response {
	t.Helper()
	req := c.NewRequest(t, method, path, body, headers...)
	return Received(t, testkit.Must(testkit.Client.Transport.RoundTrip(req))(t), method)
}

// Get sends a GET request.
func (c *Client) Get(t testing.TB, path string, headers ...string) Response {
	t.Helper()
	return c.Do(t, http.MethodGet, path, nil, headers...)
}

// Dial opens a bare connection, for what net/http's client does not do.
func (c *Client) Dial(t testing.TB) *net.TCPConn {
	t.Helper()
	conn := testkit.Must(net.Dial("tcp", c.Addr))(t).(*net.TCPConn)
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	return conn
}

// Raw sends bytes as they stand and reads the answer. With cut it then closes its half of the connection, like a
// device that gives up.
func (c *Client) Raw(t testing.TB, request string, cut bool) Response {
	t.Helper()
	conn := c.Dial(t)
	testkit.Must(io.WriteString(conn, request))(t)
	if cut {
		conn.CloseWrite()
	}
	return Received(t, testkit.Must(http.ReadResponse(bufio.NewReader(conn), nil))(t), http.MethodPost)
}

// Hold opens a GET request that lasts as long as its connection is open.
func (c *Client) Hold(t testing.TB, path string) net.Conn {
	t.Helper()
	conn := c.Dial(t)
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
	return conn
}

// Pending is a request under way.
type Pending struct{ answer chan pendingAnswer }

type pendingAnswer struct {
	*http.Response
	err error
	at  time.Time
}

// GetLater sends a GET request in the background.
func (c *Client) GetLater(t testing.TB, path string) *Pending {
	t.Helper()
	return c.DoLater(t, http.MethodGet, path, nil)
}

// DoLater is Do in the background.
func (c *Client) DoLater(t testing.TB, method, path string, body io.Reader, headers ...string) *Pending {
	t.Helper()
	return SendLater(testkit.Client.Transport, c.NewRequest(t, method, path, body, headers...))
}

// SendLater sends a request and reads its answer in the background. Only Answer, which the test calls, checks it.
func SendLater(transport http.RoundTripper, req *http.Request) *Pending {
	p := &Pending{make(chan pendingAnswer, 1)}
	go func() {
		resp, err := transport.RoundTrip(req)
		if err == nil {
			var body []byte
			body, err = io.ReadAll(resp.Body)
			resp.Body.Close()
			resp.Body = io.NopCloser(bytes.NewReader(body))
		}
		p.answer <- pendingAnswer{resp, err, time.Now()}
	}()
	return p
}

// Answer waits for the answer, and returns it with the time at which it had arrived.
func (p *Pending) Answer(t testing.TB) (Response, time.Time) {
	t.Helper()
	select {
	case r := <-p.answer:
		answer := testkit.Must(r.Response, r.err)(t)
		return Received(t, answer, answer.Request.Method), r.at
	case <-time.After(time.Minute):
		t.Fatal("no answer within a minute")
		panic("not reached")
	}
}

// Response is an answer that was read whole and checked by Received.
type Response struct {
	*http.Response
	Text string // the body
}

// Received reads an answer whole and checks what holds for every answer.
func Received(t testing.TB, r *http.Response, method string) Response {
	t.Helper()
	defer r.Body.Close()
	body := testkit.Must(io.ReadAll(r.Body))(t)
	policy := "default-src 'none'; sandbox"
	if strings.HasPrefix(r.Header.Get("Content-Type"), "text/html") { // the page of the demo has its own
		policy = r.Header.Get("Content-Security-Policy")
	}
	origin := "*"
	if r.Header.Get("Vary") == "Origin" { // CORS_ORIGINS is a list, and a Client is none of its pages
		origin = ""
	}
	for name, want := range map[string]string{
		"Cache-Control":                 "no-store",
		"X-Content-Type-Options":        "nosniff",
		"Content-Security-Policy":       policy,
		"Access-Control-Allow-Origin":   origin,
		"Access-Control-Expose-Headers": "X-Sequence, X-Timestamp, X-Queue-Length, X-No-Data, Retry-After",
	} {
		if got := strings.Join(r.Header[name], "|"); got != want {
			t.Errorf("%s, status %d: got %s %q, want %q", method, r.StatusCode, name, got, want)
		}
	}
	if r.StatusCode >= 300 && r.StatusCode < 400 {
		t.Errorf("%s: got status %d: nothing is ever redirected", method, r.StatusCode)
	}
	if r.StatusCode >= 400 && method != http.MethodHead && r.Header.Get("X-No-Data") == "" {
		wantError(t, r, body)
	}
	return Response{r, string(body)}
}

// RequestIDForm matches the id of a request.
var RequestIDForm = regexp.MustCompile(`^[A-Z2-7]{8}$`)

// wantError checks that an error answer is JSON with a sentence in it, the id that the header has, and nothing else.
func wantError(t testing.TB, r *http.Response, body []byte) {
	t.Helper()
	var fields map[string]string
	if err := json.Unmarshal(body, &fields); err != nil || len(fields) != 2 || fields["error"] == "" {
		t.Errorf("status %d: got body %q, want {\"error\":\"...\",\"request\":\"<id>\"}", r.StatusCode, body)
	}
	if id := r.Header.Get("X-Request-Id"); !RequestIDForm.MatchString(id) || fields["request"] != id {
		t.Errorf("status %d: got request id %q, and X-Request-Id %q", r.StatusCode, fields["request"], id)
	}
	if kind := r.Header.Get("Content-Type"); kind != "application/json" {
		t.Errorf("status %d: got Content-Type %q, want application/json", r.StatusCode, kind)
	}
}

// WantStatus ends the test if the status is another one.
func (r Response) WantStatus(t testing.TB, want int) Response {
	t.Helper()
	if r.StatusCode != want {
		t.Fatalf("got status %d, %.200q, want %d", r.StatusCode, r.Text, want)
	}
	return r
}

// IsNoData reports whether the answer is that of an empty queue.
func (r Response) IsNoData() bool { return r.Header.Get("X-No-Data") == "true" }

// StatsLen returns how many images of a session /stats shows. Its first answer is fresh, a later one may be a second
// old.
func (c *Client) StatsLen(t testing.TB, session string) int {
	t.Helper()
	var stats struct {
		Sessions []struct {
			ID  string
			Len int
		}
	}
	if err := json.Unmarshal([]byte(c.Get(t, "/stats").WantStatus(t, 200).Text), &stats); err != nil {
		t.Fatal(err)
	}
	for _, s := range stats.Sessions {
		if s.ID == session {
			return s.Len
		}
	}
	return 0
}
