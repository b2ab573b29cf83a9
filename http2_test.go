package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// frames reads an MJPEG stream part by part.
func frames(t testing.TB, resp *http.Response) func() []byte {
	t.Helper()
	_, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("got status %d, Content-Type %q, %v", resp.StatusCode, resp.Header.Get("Content-Type"), err)
	}
	parts := multipart.NewReader(resp.Body, params["boundary"])
	return func() []byte {
		t.Helper()
		return must(io.ReadAll(must(parts.NextRawPart())(t)))(t)
	}
}

// One connection of HTTP/2 carries a stream out, a stream in and waiting reads.
func TestStreamsOverHTTP2(t *testing.T) {
	t.Parallel()
	s := startSecure(t, true)
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	var dialed atomic.Int32
	s.client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		dialed.Add(1)
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	s.do(t, "GET", "/healthz", nil).wantStatus(t, 200) // later requests find the connection
	resp := s.request(ctx, t, "GET", "/stream/x", nil)
	next := frames(t, resp)
	next() // No Data

	body, in := io.Pipe()
	ingest := make(chan response, 1)
	go func() { ingest <- s.do(t, "POST", "/stream/x", body) }()
	last := ""
	for n := 1; n <= 5; n++ {
		waiting := make(chan response, 1)
		go func() { waiting <- s.do(t, "GET", "/snapshot/x?wait=10", nil) }()
		time.Sleep(50 * time.Millisecond) // it waits: nothing outside shows that
		picture := numberedJPEG(n, 64, 48)
		must(in.Write(picture))(t)
		for got := []byte(nil); !bytes.Equal(got, picture); { // the one before may be repeated
			got = bytes.TrimSuffix(next(), []byte("\r\n"))
			if !bytes.Equal(got, picture) && string(got) != last && n > 1 {
				t.Fatalf("picture %d: got %d bytes that are none", n, len(got))
			}
		}
		if got := (<-waiting).wantStatus(t, 200); got.body != string(picture) {
			t.Errorf("picture %d: the waiting snapshot got %d bytes, X-Sequence %s", n, len(got.body), got.Header.Get("X-Sequence"))
		}
		last = string(picture)
	}
	in.Close()
	(<-ingest).wantCounts(t, ingested{Session: "x", Stored: 5, Sequence: 5})
	if resp.ProtoMajor != 2 || dialed.Load() != 1 {
		t.Errorf("got HTTP/%d and %d connections, want HTTP/2 on one", resp.ProtoMajor, dialed.Load())
	}
	s.stop() // the stream must not hold it up
	s.wantExit(t, 0, 5*time.Second)
}

// A viewer that accepts nothing is cut off, and holds up no other request of its
// connection.
func TestStalledViewerOverHTTP2(t *testing.T) {
	t.Parallel()
	s := startSecure(t, true)
	ctx, giveUp := context.WithTimeout(t.Context(), viewerLimit+30*time.Second)
	defer giveUp()
	resp := s.request(ctx, t, "GET", "/stream/x", nil)
	defer resp.Body.Close()
	picture := bytes.Repeat([]byte("\xff\xd8 picture"), 200<<10) // two of them fill the window of a stream
	begun := time.Now()
	for time.Since(begun) < viewerLimit+5*time.Second { // the third may come some seconds later
		s.do(t, "POST", "/image/x", bytes.NewReader(picture)).wantStatus(t, 200)
		if got := s.do(t, "GET", "/image/x", nil).wantStatus(t, 200); got.body != string(picture) {
			t.Fatalf("got %d bytes, want %d", len(got.body), len(picture))
		}
		time.Sleep(500 * time.Millisecond)
	}
	if n, err := io.Copy(io.Discard, resp.Body); err == nil || ctx.Err() != nil {
		t.Errorf("got %d bytes and error %v, want a stream that was cut", n, err)
	}
}

// Whoever hangs up, while it waits or while it reads, costs no image.
func TestConsumerHangsUpOverHTTP2(t *testing.T) {
	t.Parallel()
	s := startSecure(t, true, "MAX_IMAGE_BYTES=64MiB", "MEMORY_LIMIT=256MiB")
	big := bytes.Repeat([]byte("\xff\xd8 image"), 4<<20) // more than the windows hold
	waiting, stopWaiting := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stopWaiting()
	req := must(http.NewRequestWithContext(waiting, "GET", "https://"+s.addr+"/image/x?wait=30", nil))(t)
	if resp, err := s.client.Do(req); err == nil {
		t.Fatalf("got status %d of an empty queue", resp.StatusCode)
	}
	s.do(t, "POST", "/image/x", bytes.NewReader(big)).wantStatus(t, 200)

	reading, stopReading := context.WithCancel(t.Context())
	resp := s.request(reading, t, "GET", "/image/x", nil)
	must(io.ReadFull(resp.Body, make([]byte, 64<<10)))(t)
	stopReading()
	resp.Body.Close()
	eventually(t, func() bool { return !s.do(t, "HEAD", "/image/x", nil).isNoData() })
	if got := s.do(t, "GET", "/image/x", nil).wantStatus(t, 200); got.body != string(big) || got.Header.Get("X-Sequence") != "1" {
		t.Errorf("next consumer: got %d bytes, X-Sequence %s", len(got.body), got.Header.Get("X-Sequence"))
	}
}

// The kernel holds little of a stream, encrypted or not.
func TestViewerBuffer(t *testing.T) {
	t.Parallel()
	ln := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer ln.Close()
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"plain": func(c net.Conn) net.Conn { return c },
		"TLS":   func(c net.Conn) net.Conn { return tls.Server(c, &tls.Config{}) },
	} {
		conn := must(net.Dial("tcp", ln.Addr().String()))(t).(*net.TCPConn)
		defer conn.Close()
		limitBuffer(asked("/", nil).WithContext(context.WithValue(t.Context(), connKey{}, wrap(conn))))
		size := 0
		err := must(conn.SyscallConn())(t).Control(func(fd uintptr) {
			size = must(syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF))(t)
		})
		if err != nil || size > 2*viewerBuffer { // Linux doubles it for its own needs
			t.Errorf("%s: got a buffer of %d bytes, error %v, want %d", name, size, err, viewerBuffer)
		}
	}
	limitBuffer(asked("/", nil)) // of no connection: nothing to do
}
