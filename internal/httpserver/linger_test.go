package httpserver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// chunkedBody returns a body as chunks.
func chunkedBody(body string) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body) }

// A client that sends the whole of its request before it reads gets the answer, however much of the request the
// endpoint has read. The connection goes on behind a small rest, and says that it does not behind a large one.
func TestAnswerOutlivesUnreadBody(t *testing.T) {
	t.Parallel()
	refused := fails(Errorf(http.StatusUnauthorized, "no"))
	s := newTestServer(t, Options{}, endpoints{
		"/refused": refused,
		"/begun": func(w http.ResponseWriter, r *http.Request) error {
			testkit.Must(io.ReadFull(r.Body, make([]byte, 1000)))(t)
			return refused(w, r)
		},
		"/empty":  func(w http.ResponseWriter, _ *http.Request) error { return WriteEmpty(w, 204) },
		"/panics": func(http.ResponseWriter, *http.Request) error { panic("a bug") },
		"/ok":     succeeds,
	})
	small, large := strings.Repeat("x", 100_000), strings.Repeat("x", 5_000_000)
	for _, row := range []struct {
		line, body string
		status     int
		goesOn     bool
	}{
		{"POST /refused HTTP/1.1", small, 401, true},
		{"POST /begun HTTP/1.1", small, 401, true},
		{"POST /ok HTTP/1.1", small, 200, true},
		{"POST /refused HTTP/1.1", large, 401, false},
		{"POST /begun HTTP/1.1", large, 401, false},
		{"DELETE /nothing HTTP/1.1", large, 404, false},
		{"POST //refused HTTP/1.1", large, 404, false},
		{"POST /panics HTTP/1.1", large, 500, false},
		{"PUT /empty HTTP/1.1", large, 204, false},
		{"POST /ok HTTP/1.1", large, 200, false},
		{"GET /ok HTTP/1.1", large, 200, false},
		{"GET /ok HTTP/1.1", small, 200, false},
		{"POST /refused HTTP/1.0", large, 401, false},
	} {
		for framing, framed := range map[string]string{
			fmt.Sprintf("Content-Length: %d", len(row.body)): row.body,
			"Transfer-Encoding: chunked":                     chunkedBody(row.body),
		} {
			if strings.HasSuffix(row.line, "1.0") && framed != row.body {
				continue
			}
			t.Run(fmt.Sprintf("%s, %d, %s", row.line, len(row.body), framing), func(t *testing.T) {
				t.Parallel()
				for range 10 {
					conn := dial(t, s.addr)
					request := row.line + "\r\nHost: x\r\n" + framing + "\r\n\r\n" + framed
					if row.goesOn {
						request += "GET /ok HTTP/1.1\r\nHost: x\r\n\r\n"
					}
					testkit.Must(io.WriteString(conn, request))(t)
					in, method := bufio.NewReader(conn), strings.Fields(row.line)[0]
					got := received(t, testkit.Must(http.ReadResponse(in, &http.Request{Method: method}))(t), method)
					got.wantStatus(t, row.status)
					if got.Close == row.goesOn {
						t.Fatalf("got Connection %q", got.Header.Get("Connection"))
					}
					if row.goesOn {
						received(t, testkit.Must(http.ReadResponse(in, nil))(t), "GET").wantStatus(t, 200)
					} else if more, err := io.ReadAll(in); len(more) > 0 || err != nil {
						t.Fatalf("after the answer came %q, error %v, want the end", more, err)
					}
					conn.Close()
				}
			})
		}
	}
}

// The same over TLS, by HTTP/1.1 and HTTP/2.
func TestAnswerOutlivesUnreadBodyOverTLS(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Options{}, endpoints{"/refused": fails(Errorf(http.StatusUnauthorized, "no"))})
	for major, http2 := range map[int]bool{1: false, 2: true} {
		listener := httptest.NewUnstartedServer(s.handler)
		listener.EnableHTTP2, listener.Config.ConnContext = http2, ConnContext
		listener.StartTLS()
		t.Cleanup(listener.Close)
		for _, size := range []int{500_000, 5_000_000} {
			for range 10 {
				resp, err := listener.Client().Post(listener.URL+"/refused", "", strings.NewReader(strings.Repeat("x", size)))
				got := received(t, testkit.Must(resp, err)(t), "POST")
				if got.StatusCode != 401 || got.ProtoMajor != major {
					t.Fatalf("%d bytes: got %s %d, want HTTP/%d 401", size, got.Proto, got.StatusCode, major)
				}
			}
		}
	}
}

// A client that asks before it sends a body is not asked for one that nobody reads.
func TestUnreadBodyIsNotAskedFor(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Options{}, endpoints{
		"/refused": fails(Errorf(http.StatusUnauthorized, "no")), "/ok": succeeds,
		"/empty": func(w http.ResponseWriter, _ *http.Request) error { return WriteEmpty(w, 204) },
	})
	for line, want := range map[string]int{"POST /refused": 401, "PUT /ok": 200, "GET /ok": 200, "PUT /empty": 204} {
		for _, framing := range []string{"Content-Length: 1000", "Content-Length: 5000000", "Transfer-Encoding: chunked"} {
			conn := dial(t, s.addr)
			fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n%s\r\n\r\n", line, framing)
			all := testkit.Must(io.ReadAll(conn))(t)
			if !strings.HasPrefix(string(all), fmt.Sprint("HTTP/1.1 ", want)) || strings.Count(string(all), "HTTP/1.1") > 1 {
				t.Errorf("%s, %s: got %q, want status %d alone", line, framing, all, want)
			}
		}
	}
}

// A body without a length has no end that the server knows. Its refusal arrives, and nothing behind it is a request.
func TestLengthRequired(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Options{}, endpoints{"/image": fails(Errorf(http.StatusLengthRequired, "no length"))})
	for _, version := range []string{"1.0", "1.1"} {
		for _, body := range []string{"", "GET /ok HTTP/1.1\r\nHost: x\r\n\r\n", strings.Repeat("x", 5_000_000)} {
			conn := dial(t, s.addr)
			testkit.Must(fmt.Fprintf(conn, "POST /image HTTP/%s\r\nHost: x\r\n\r\n%s", version, body))(t)
			in := bufio.NewReader(conn)
			received(t, testkit.Must(http.ReadResponse(in, nil))(t), "POST").wantStatus(t, 411)
			if more, err := io.ReadAll(in); len(more) > 0 || err != nil {
				t.Errorf("HTTP/%s: after the answer came %q, error %v, want the end", version, more, err)
			}
		}
	}
}

// What a client sends behind its answer is dropped within bounds: of its bytes, of the time between two of them, of the
// time in all, and of the connections that linger at once. While the server stops it is less time in all.
func TestLingerIsBounded(t *testing.T) {
	t.Parallel()
	if got := defaultLinger(nil); got.bytes != 64<<20 || got.idle != 2*time.Second || got.total != 30*time.Second {
		t.Errorf("got bounds %+v, README has others", got)
	}
	const long, buffered = time.Hour, 32 << 20 // what the kernel may hold comes on top
	slots := func(n int) chan struct{} { return make(chan struct{}, n) }
	draining := make(chan struct{})
	close(draining)
	for _, row := range []struct {
		name   string
		limits lingerLimits
		piece  int           // bytes that the client sends
		pause  time.Duration // after each
		taken  int           // bytes at most
	}{
		{"bytes", lingerLimits{long, long, 8 << 20, slots(1), nil}, 1 << 20, 0, 8<<20 + buffered},
		{"time", lingerLimits{long, 100 * time.Millisecond, 1 << 40, slots(1), nil}, 1, 10 * time.Millisecond, 1000},
		{"idle", lingerLimits{100 * time.Millisecond, long, 1 << 40, slots(1), nil}, 1, time.Second, 3},
		{"draining", lingerLimits{100 * time.Millisecond, long, 1 << 40, slots(1), draining}, 1, 10 * time.Millisecond, 1000},
		{"slots", lingerLimits{long, long, 1 << 40, slots(0), nil}, 1, 10 * time.Millisecond, 1000},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := newTestServer(t, Options{}, endpoints{"/refused": fails(Errorf(http.StatusUnauthorized, "no"))})
			s.lingering = row.limits
			conn := dial(t, s.addr)
			fmt.Fprint(conn, "POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n")
			in := bufio.NewReader(conn)
			received(t, testkit.Must(http.ReadResponse(in, nil))(t), "POST").wantStatus(t, 401)
			sent, piece := 0, make([]byte, row.piece)
			var err error
			for err == nil {
				time.Sleep(row.pause)
				_, err = conn.Write(piece)
				sent += len(piece)
			}
			if errors.Is(err, os.ErrDeadlineExceeded) || sent > row.taken {
				t.Errorf("%d bytes were taken, then error %v, want %d at most", sent, err, row.taken)
			}
		})
	}
}
