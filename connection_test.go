package main

import (
	"bufio"
	"fmt"
	"net/http"
	"testing"

	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// A connection is kept as its HTTP version says. Old devices keep it only if the answer says keep-alive.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	s := newMemoryServer(t)
	for _, row := range []struct {
		version, asked, answered string
		kept                     bool
	}{
		{"1.1", "keep-alive", "keep-alive", true},
		{"1.1", "Keep-Alive", "keep-alive", true},
		{"1.1", "", "", true},
		{"1.1", "close", "close", false},
		{"1.0", "keep-alive", "keep-alive", true},
		{"1.0", "", "", false},
	} {
		conn := s.Dial(t)
		in := bufio.NewReader(conn)
		for i, request := range []string{
			"POST /image/x HTTP/%s\r\nContent-Length: 5\r\n", "GET /image/x HTTP/%s\r\n", "GET /session HTTP/%s\r\n",
		} {
			if row.asked != "" {
				request += "Connection: " + row.asked + "\r\n"
			}
			_, err := fmt.Fprintf(conn, request+"Host: x\r\n\r\n", row.version)
			if i == 0 {
				fmt.Fprint(conn, "image")
			}
			var resp *http.Response
			if err == nil {
				resp, err = http.ReadResponse(in, nil)
			}
			if i > 0 && !row.kept {
				if err == nil {
					t.Errorf("HTTP/%s, asked for %q: the connection was kept", row.version, row.asked)
				}
				break
			}
			connection := testkit.Must(resp, err)(t).Header.Get("Connection")
			if resp.Close && row.asked == "close" {
				connection = "close" // net/http takes that header away
			}
			relaytest.Received(t, resp, "GET").WantStatus(t, 200)
			if connection != row.answered {
				t.Errorf("HTTP/%s, asked for %q: got Connection %q, want %q",
					row.version, row.asked, connection, row.answered)
			}
		}
		conn.Close()
	}
}

// Devices send a line break or two behind an image. They belong neither to the image nor to the next request.
func TestLineBreaksAfterBody(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		for _, method := range []string{"POST", "PUT"} {
			for _, rest := range []string{"\r\n", "\r\n\r\n"} {
				id := session.New()
				conn := s.Dial(t)
				in := bufio.NewReader(conn)
				rounds := 3
				if method == "PUT" {
					rounds = 1 // and then the device hangs up
				}
				for i := range rounds {
					fmt.Fprintf(conn, "%s /image/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nimage%s",
						method, id, rest)
					relaytest.Received(t, testkit.Must(http.ReadResponse(in, nil))(t), method).WantStatus(t, 200)
					if image := s.Take(t, id); string(image.Data) != "image" || image.Sequence != int64(i+1) {
						t.Errorf("%s with %q: got %q, sequence %d", method, rest, image.Data, image.Sequence)
					}
				}
				if method == "POST" {
					fmt.Fprintf(conn, "GET /image/%s HTTP/1.1\r\nHost: x\r\n\r\n", id)
					got := relaytest.Received(t, testkit.Must(http.ReadResponse(in, nil))(t), "GET").WantStatus(t, 200)
					if !got.IsNoData() {
						t.Errorf("then got %.99q, want No Data", got.Text)
					}
				}
				conn.Close()
			}
		}
	})
}
