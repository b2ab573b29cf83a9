package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// drip is a connection over which a body comes in pieces, one at a time; a pause is
// a piece without bytes.
type drip struct {
	*httptest.ResponseRecorder
	pieces   func() (piece string, after time.Duration, more bool)
	rest     string
	deadline time.Time
}

func (d *drip) SetReadDeadline(t time.Time) error { d.deadline = t; return nil }
func (d *drip) SetWriteDeadline(time.Time) error  { return nil }

func (d *drip) Read(p []byte) (int, error) {
	for d.rest == "" {
		piece, after, more := d.pieces()
		if !more {
			return 0, io.EOF
		}
		if left := time.Until(d.deadline); left < after {
			time.Sleep(left)
			return 0, os.ErrDeadlineExceeded
		}
		time.Sleep(after)
		d.rest = piece
	}
	n := copy(p, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

// steadily sends 200 bytes of a body, with which the image has begun, and then
// pieces of one size, one after each pause.
func steadily(body string, size int, pause time.Duration) func() (string, time.Duration, bool) {
	next, after := 200, time.Duration(0)
	return func() (piece string, _ time.Duration, more bool) {
		n, wait := min(next, len(body)), after
		piece, body = body[:n], body[n:]
		next, after = size, pause
		return piece, wait, n > 0
	}
}

// The limits as they are, by a clock of the test's: who drips is cut off within a
// minute, who is slow but steady succeeds, in all the ways to send an image.
func TestPace(t *testing.T) {
	t.Parallel()
	big, small := photo(strings.Repeat("x", 5_000_000)), photo(strings.Repeat("x", 20_000))
	for _, row := range []struct {
		name, image string
		size        int
		pause       time.Duration
		text        string // of the refusal
		least, most time.Duration
	}{
		{"a phone at 50 KB a second", big, 5_000, 100 * time.Millisecond, "", 99 * time.Second, 101 * time.Second},
		{"a radio at 4200 bytes a second", big, 4_200, time.Second, "", 19 * time.Minute, 20 * time.Minute},
		{"a small image at 500 bytes a second", small, 5_000, 10 * time.Second, "too slowly", 30 * time.Second, time.Minute},
		{"a small image in a grace", small, 2_000, 3 * time.Second, "", 29 * time.Second, 40 * time.Second},
		{"a byte every 20 seconds", small, 1, 20 * time.Second, "too slowly: allowed are 4.0 KiB a second on average after the first 30s", 30 * time.Second, time.Minute},
		{"2 KB a second", big, 2_000, time.Second, "too slowly", 30 * time.Second, 2 * time.Minute},
		{"rests of 29 seconds", big, 250_000, 29 * time.Second, "", 9 * time.Minute, 10 * time.Minute},
	} {
		for _, way := range waysToSend {
			t.Run(row.name+"/"+way.name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					body := way.form(row.image)
					length := len(body)
					if strings.HasSuffix(way.name, "chunked") {
						length = -1
					}
					got, took := sendSlowly(t, way.path+"x", way.kind, length, steadily(body, row.size, row.pause))
					want := http.StatusOK
					if row.text != "" {
						want = http.StatusRequestTimeout
					}
					if got.Code != want || !strings.Contains(got.Body.String(), row.text) || took < row.least || took > row.most {
						t.Errorf("got status %d, %s, after %s, want %d, %q, after %s to %s", got.Code, got.Body, took, want, row.text, row.least, row.most)
					}
				})
			})
		}
	}
}

// sendSlowly posts a body to a server of its own, and returns how long it took.
func sendSlowly(t *testing.T, path, kind string, length int, pieces func() (string, time.Duration, bool)) (*httptest.ResponseRecorder, time.Duration) {
	t.Helper()
	s := newServer(testConfig(t, "MAX_IMAGE_BYTES=10MiB"), memoryFixture(t, time.Minute), slog.New(slog.DiscardHandler))
	conn := &drip{ResponseRecorder: httptest.NewRecorder(), pieces: pieces}
	r := httptest.NewRequest("POST", path, conn)
	r.ContentLength = int64(length)
	r.Header.Set("Content-Length", fmt.Sprint(length))
	r.Header.Set("Content-Type", kind)
	begun := time.Now()
	s.routes().ServeHTTP(conn, r)
	return conn.ResponseRecorder, time.Since(begun)
}

// A sender that stands still is cut off sooner, but one of many images may be silent
// between two of them.
func TestPaceStandsStill(t *testing.T) {
	t.Parallel()
	image := photo(strings.Repeat("x", 100_000))
	half := image[:50_000]
	for _, row := range []struct {
		name, path string
		pieces     []string      // each after
		pause      time.Duration // this
		status     int
		text       string
		took       time.Duration
	}{
		{"an image", "/image/x", []string{half, ""}, 31 * time.Second, 408, "stood still for 30s: nothing was stored", 30 * time.Second},
		{"an image that came fast", "/image/x", []string{strings.Repeat("x", 500_000), "", ""}, 25 * time.Second, 408, "stood still for 30s: nothing was stored", 55 * time.Second},
		{"an image of a stream", "/stream/x", []string{half, ""}, 50 * time.Second, 408, "too slowly: allowed are 4.0 KiB a second", 84 * time.Second},
		{"between two images", "/stream/x", []string{image, image, image}, 119 * time.Second, 200, `"stored":3`, 357 * time.Second},
		{"between two images, long", "/stream/x", []string{image, image, ""}, 121 * time.Second, 408, "stood still for 2m0s", 120 * time.Second},
		{"bytes between two images", "/stream/x", []string{image, "\n", "\n", "\n", "\n", image}, 100 * time.Second, 200, `"stored":2`, 600 * time.Second},
		{"slow behind fast ones", "/stream/x", []string{image, image, image, half, "x", "x"}, 29 * time.Second, 408, "3 of its images were stored", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				pieces := row.pieces
				got, took := sendSlowly(t, row.path, "", 1_000_000, func() (piece string, _ time.Duration, more bool) {
					if len(pieces) > 0 {
						piece, pieces, more = pieces[0], pieces[1:], true
					}
					return piece, row.pause, more
				})
				if got.Code != row.status || !strings.Contains(got.Body.String(), row.text) || (took-row.took).Abs() > time.Second && row.took > 0 {
					t.Errorf("got status %d, %s, after %s, want %d, %q, after %s", got.Code, got.Body, took, row.status, row.text, row.took)
				}
			})
		})
	}
}

// On a real connection: it gets its answer, and is closed.
func TestPaceClosesConnection(t *testing.T) {
	t.Parallel()
	s, server := changedSite(t, memoryFixture(t, time.Minute), func(s *server) {
		s.pace = pace{idle: 5 * time.Second, grace: 200 * time.Millisecond, least: 10_000}
		s.streamPace = s.pace
	})
	for _, request := range []string{
		"POST /image/x HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n",
		"POST /image/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n",
		"POST /stream/x HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Length: 90000\r\n\r\n",
	} {
		conn := s.dial(t)
		fmt.Fprint(conn, request)
		begun := time.Now()
		go func() {
			for _, err := conn.Write([]byte("x")); err == nil; _, err = conn.Write([]byte("x")) {
				time.Sleep(20 * time.Millisecond)
			}
		}()
		in := bufio.NewReader(conn)
		got := received(t, must(http.ReadResponse(in, nil))(t), "POST").wantStatus(t, 408)
		if took := time.Since(begun); took > 2*time.Second || !strings.Contains(got.body, "allowed are 9.8 KiB a second on average after the first 200ms") {
			t.Errorf("got %s after %s", got.body, took)
		}
		if _, err := in.ReadByte(); err == nil {
			t.Error("the connection goes on")
		}
	}
	server.awaitUploads(t, 0, 0)
	if n := s.length(t, "x"); n != 0 {
		t.Errorf("%d images stored", n)
	}
}

// Headers may take 16 KiB and what net/http adds; longer ones are refused before they
// are read.
func TestLongHeaders(t *testing.T) {
	t.Parallel()
	p := startServer(t, "")
	for size, want := range map[int]int{15 << 10: 200, 24 << 10: 431, 1 << 20: 431} {
		conn := p.dial(t)
		go fmt.Fprintf(conn, "POST /image/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nX-Long: %s\r\n\r\nimage", strings.Repeat("x", size))
		if got := must(http.ReadResponse(bufio.NewReader(conn), nil))(t); got.StatusCode != want {
			t.Errorf("%d bytes: got status %d, want %d", size, got.StatusCode, want)
		}
	}
	if n := p.count(t, "x"); n != 1 {
		t.Errorf("%d images stored, want 1", n)
	}
}

// Headers that do not end hold a connection for a while only: 10 seconds, here less.
func TestSlowHeaders(t *testing.T) {
	t.Parallel()
	srv := newHTTPServer(http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	srv.ReadHeaderTimeout /= 40
	ln := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	conn := (&site{addr: ln.Addr().String()}).dial(t)
	conn.SetDeadline(time.Now().Add(4 * time.Second))
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	go func() {
		for _, err := conn.Write([]byte("x")); err == nil; _, err = conn.Write([]byte("x")) {
			time.Sleep(20 * time.Millisecond)
		}
	}()
	begun := time.Now()
	_, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) > 2*time.Second {
		t.Errorf("not closed after %s, error %v", time.Since(begun), err)
	}
}
