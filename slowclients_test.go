package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/ingest"
	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// drip writes a byte every now and then until the connection is closed.
func drip(conn io.Writer) {
	for _, err := conn.Write([]byte("x")); err == nil; _, err = conn.Write([]byte("x")) {
		time.Sleep(20 * time.Millisecond)
	}
}

// wantEnded checks that the server has closed a connection: the error is not that of the deadline of the test.
func wantEnded(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection is still open after a minute")
	}
}

// A body that comes too slowly gets its answer, and its connection is closed.
func TestSlowBodyIsCut(t *testing.T) {
	t.Parallel()
	if b := defaults(); b.image != ingest.ImageRate() || b.stream != ingest.StreamRate() {
		t.Errorf("got rates %+v and %+v, want those of ingest", b.image, b.stream)
	}
	cfg := testConfig(t, "MIN_UPLOAD_RATE=10k")
	s := newTestServer(t, cfg, memoryHarness(t, cfg), withBounds(func(b *bounds) {
		b.image = ingest.DataRate{Idle: time.Minute, Grace: 200 * time.Millisecond}
		b.stream = b.image
	}))
	for _, request := range []string{
		"POST /image/x HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n",
		"POST /image/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n",
		"POST /stream/x HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n" +
			"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Length: 90000\r\n\r\n",
	} {
		conn := s.Dial(t)
		fmt.Fprint(conn, request)
		go drip(conn)
		in := bufio.NewReader(conn)
		got := relaytest.Received(t, testkit.Must(http.ReadResponse(in, nil))(t), "POST").WantStatus(t, 408)
		if !strings.Contains(got.Text, "allowed are 9.8 KiB a second on average after the first 200ms") {
			t.Errorf("got %s", got.Text)
		}
		_, err := in.ReadByte()
		if err == nil {
			t.Error("the connection goes on")
		}
		wantEnded(t, err)
	}
	s.awaitUploads(t, 0, 0)
	if n := s.Len(t, "x"); n != 0 {
		t.Errorf("%d images stored", n)
	}
}

// Headers that do not end hold a connection for a while only.
func TestSlowHeadersAreCut(t *testing.T) {
	t.Parallel()
	if got := defaults().headers; got != 10*time.Second {
		t.Errorf("headers may take %s, README says 10 seconds", got)
	}
	conn := startBounded(t, func(b *bounds) { b.headers = 250 * time.Millisecond }).Dial(t)
	stopwatch := testkit.StartStopwatch(t)
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	go drip(conn)
	_, err := io.ReadAll(conn)
	wantEnded(t, err)
	if took := stopwatch.Elapsed(); took > 5*time.Second {
		t.Errorf("closed after %s, want a quarter of a second", took)
	}
}

// A GET has no use for a body. Its answer does not wait for the body, and its connection ends.
func TestGetWaitsForNoBody(t *testing.T) {
	t.Parallel()
	const (
		one, chunked = "Content-Length: 1", "Transfer-Encoding: chunked"
		atOnce       = 500 * time.Millisecond // other methods wait for a second
	)
	onEngines(t, func(t *testing.T, s *testServer) {
		id, stopwatch := session.New(), testkit.StartStopwatch(t)
		ends := map[string]io.Reader{} // what comes after each answer
		for _, row := range []struct {
			request, headers, rest string
			status                 int
			body                   string
		}{
			{"HEAD /image/" + id, one, "x", 200, ""},
			{"GET /image/" + id, one, "x", 200, "image"},
			{"GET /image/" + id, chunked, "0\r\n\r\n", 200, "image"},
			{"GET /image/" + id + "/x", chunked, "0\r\n\r\n", 404, ""},
			{"GET /healthz", one, "x", 200, "ok\n"},
		} {
			for _, goesOn := range []bool{false, true} {
				name := fmt.Sprintf("%s, %s, goes on %v", row.request, row.headers, goesOn)
				s.PushImage(t, id, "image")
				conn := s.Dial(t)
				begun := stopwatch.Lap()
				fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n", row.request, row.headers)
				in := bufio.NewReader(conn)
				method, _, _ := strings.Cut(row.request, " ")
				answer := testkit.Must(http.ReadResponse(in, &http.Request{Method: method}))(t)
				got := relaytest.Received(t, answer, method)
				if took := stopwatch.Lap().Since(begun); took > atOnce {
					t.Errorf("%s: answered after %s", name, took)
				}
				if got.StatusCode != row.status || row.body != "" && got.Text != row.body || !got.Close {
					t.Errorf("%s: got status %d, %q, close %v, want %d, %q, and no more of the connection",
						name, got.StatusCode, got.Text, got.Close, row.status, row.body)
				}
				if goesOn {
					io.WriteString(conn, row.rest+"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
				}
				ends[name] = in
			}
		}
		for name, end := range ends {
			if more, err := io.ReadAll(end); len(more) > 0 || err != nil {
				t.Errorf("%s: after the answer came %q, error %v, want the end", name, more, err)
			}
		}
	})
}

// A request that is refused, or answered without its body, has its answer although the body stands still, and its
// connection is then closed.
func TestUnreadBodyIsGivenUp(t *testing.T) {
	t.Parallel()
	s := newMemoryServer(t)
	for request, status := range map[string]int{
		"POST /nope": 404, "POST /image/a+b": 400, "DELETE /image/a": 405, "POST /imageForm/a": 415,
		"OPTIONS /image/a": 204,
	} {
		t.Run(request, func(t *testing.T) {
			t.Parallel()
			conn := s.Dial(t)
			fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf", request)
			method, _, _ := strings.Cut(request, " ")
			in := bufio.NewReader(conn)
			relaytest.Received(t, testkit.Must(http.ReadResponse(in, nil))(t), method).WantStatus(t, status)
			if _, err := io.ReadAll(in); err != nil {
				t.Errorf("answered, then got error %v, want the end", err)
			}
		})
	}
}

// A client that does not read its answers is cut off, whatever the answers are.
func TestUnreadAnswersAreCut(t *testing.T) {
	t.Parallel()
	if got := defaults().answer; got != 10*time.Second {
		t.Errorf("a client may accept nothing for %s, README says 10 seconds", got)
	}
	cfg := testConfig(t)
	s := newTestServer(t, cfg, memoryHarness(t, cfg), withBounds(func(b *bounds) { b.answer = 200 * time.Millisecond }))
	for _, request := range []string{
		"GET /nope", "OPTIONS /stats", "GET /healthz", "GET /metrics", "GET /image/a", "HEAD /image/a",
	} {
		t.Run(request, func(t *testing.T) {
			t.Parallel()
			conn := s.Dial(t)
			many := bytes.Repeat([]byte(request+" HTTP/1.1\r\nHost: x\r\n\r\n"), 1000)
			var err error
			for err == nil {
				conn.SetDeadline(time.Now().Add(time.Minute)) // a connection that is not cut stands still
				_, err = conn.Write(many)
			}
			wantEnded(t, err)
		})
	}
}
