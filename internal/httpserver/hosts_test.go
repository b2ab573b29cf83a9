package httpserver

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// A page whose name resolves to the server by DNS rebinding reaches no endpoint, whatever it asks for.
func TestHosts(t *testing.T) {
	t.Parallel()
	always := map[string]bool{
		"localhost": true, "localhost:3000": true, "LocalHost.": true, "127.0.0.1": true, "192.168.1.5:3000": true,
		"[::1]": true, "[::1]:3000": true, "[fe80::1]:80": true, "evil.example": false, "evil.example:3000": false,
		"relay.example.evil.example": false, "x.relay.example": false, "localhost.evil.example": false,
		"127.0.0.1.evil.example": false, "evil.example.": false, "2130706433": false, "evil": false, "*": false,
		".": false, ":3000": false, ".:3000": false, "[]": false, "evil.localhost": false,
	}
	relay := map[string]bool{
		"relay.example": true, "relay.example:3000": true, "Relay.Example": true, "relay.example.": true,
		"relay.example.:3000": true,
	}
	for _, row := range []struct {
		hosts, origins string
		allowed        map[string]bool
	}{
		{"", "https://page.example", map[string]bool{"page.example:3000": true, "relay.example": false}},
		{"relay.example", "https://page.example", relay},
		{"relay.example", "*", relay},
		{"Relay.example., other.example", "capacitor://localhost", relay},
		{"", "*", map[string]bool{"evil.example": true}},
		{"*", "https://page.example", map[string]bool{"evil.example": true, "[::1]:3000": true}},
	} {
		hosts := testkit.Must(ParseHosts(row.hosts))(t)
		s := newTestServer(t, Options{Hosts: NewHosts(hosts, row.origins)}, endpoints{
			"GET /ok": succeeds, "POST /ok": succeeds, "OPTIONS /ok": OtherMethods([]string{"GET"}),
		})
		asked := row.allowed
		if row.hosts != "*" && (row.hosts != "" || row.origins != "*") {
			asked = maps.Clone(always)
			maps.Copy(asked, row.allowed)
		}
		for host, allowed := range asked {
			for _, method := range []string{"GET", "POST", "OPTIONS"} {
				got := s.askHost(t, method, "HTTP/1.1", "Host: "+host+"\r\n")
				if got.StatusCode/100 == 2 != allowed {
					t.Errorf("%s, ALLOWED_HOSTS=%s, CORS_ORIGINS=%s: %s: got status %d, want allowed %v",
						host, row.hosts, row.origins, method, got.StatusCode, allowed)
				}
				if !allowed && (got.StatusCode != 421 || !strings.Contains(got.body, "allowed are localhost, IP addresses")) {
					t.Errorf("%s: got status %d, %s", host, got.StatusCode, got.body)
				}
			}
		}
	}
}

// An old device that names no host is no browser.
func TestNoHost(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Options{Hosts: NewHosts("relay.example", "*")}, endpoints{"GET /ok": succeeds})
	s.askHost(t, "GET", "HTTP/1.0", "").wantStatus(t, 200)
}

// askHost sends a request with a host of choice, or with none.
func (s *testServer) askHost(t testing.TB, method, proto, host string) response {
	t.Helper()
	conn := dial(t, s.addr)
	defer conn.Close()
	testkit.Must(io.WriteString(conn, fmt.Sprintf("%s /ok %s\r\n%s\r\n", method, proto, host)))(t)
	answer := testkit.Must(http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method}))(t)
	return received(t, answer, method)
}

// The list holds names, and nothing that would match none.
func TestParseHosts(t *testing.T) {
	t.Parallel()
	for list, want := range map[string]string{
		"": "", "*": "*", "relay.example": "relay.example",
		" A.example. ,b,192.168.1.5, [::1],::1": "a.example,b,192.168.1.5,::1,::1",
	} {
		if got := testkit.Must(ParseHosts(list))(t); got != want {
			t.Errorf("%q: got %q, want %q", list, got, want)
		}
	}
	for _, list := range []string{
		",", "a,", "a,*", "*.example.org", ".example.org", "a..b", "relay.example:3000", "https://a.example", "a/b",
		"a b", "müller.example",
	} {
		if got, err := ParseHosts(list); err == nil {
			t.Errorf("%q: got %q, want an error", list, got)
		}
	}
}
