package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// testUpload is an upload that nothing limits.
func testUpload(t testing.TB, buffer func(int) []byte) *upload {
	return &upload{uploads: newUploads(0, buffer), ctx: t.Context(), pace: imagePace()}
}

func bytesOf(size int) []byte { return make([]byte, size) }

// changedSite is a site whose server a test may change, and look into.
func changedSite(t *testing.T, f *fixture, change func(*server), vars ...string) (*site, *server) {
	t.Helper()
	s := newServer(testConfig(t, vars...), f, slog.New(slog.DiscardHandler))
	change(s)
	listener := httptest.NewServer(s.routes())
	t.Cleanup(listener.Close)
	return &site{f, listener.Listener.Addr().String()}, s
}

// awaitUploads waits until so many uploads hold so many bytes.
func (s *server) awaitUploads(t testing.TB, requests int, bytes int64) {
	t.Helper()
	eventually(t, func() bool {
		gotRequests, gotBytes := s.uploads.underWay()
		return gotRequests == requests && gotBytes == bytes
	})
}

// begun opens an upload of a size, and sends 10 bytes of it.
func (s *site) begun(t testing.TB, session string, size int) io.WriteCloser {
	t.Helper()
	conn := s.dial(t)
	fmt.Fprintf(conn, "POST /image/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n0123456789", session, size)
	return conn
}

// waysToSend are requests with the body of one image.
var waysToSend = []struct {
	name, path, kind string
	framed           func(string) io.Reader
	form             func(string) string
}{
	{"sized", "/image/", "image/jpeg", sized, func(s string) string { return s }},
	{"chunked", "/image/", "image/jpeg", chunked, func(s string) string { return s }},
	{"form", "/imageForm/", "multipart/form-data; boundary=b", sized, formWith},
	{"form, chunked", "/imageForm/", "multipart/form-data; boundary=b", chunked, formWith},
	{"stream of parts", "/stream/", mixed, chunked, sizedPart},
	{"stream of parts without lengths", "/stream/", mixed, chunked, func(s string) string { return "--b\r\n\r\n" + s + "\r\n--b--\r\n" }},
	{"stream of JPEGs", "/stream/", "", chunked, func(s string) string { return s }},
}

// What would be too much at once waits a moment, and is then refused before it is
// read. What there is room for gets through.
func TestUploadLimit(t *testing.T) {
	t.Parallel()
	s, server := changedSite(t, memoryFixture(t, time.Minute), func(s *server) { s.uploads.patience = 100 * time.Millisecond }, "UPLOAD_LIMIT=1000")
	first := s.begun(t, "first", 800)
	server.awaitUploads(t, 1, 800)
	image := photo(strings.Repeat("x", 700))
	for _, way := range waysToSend {
		got := s.do(t, "POST", way.path+"second", way.framed(way.form(image)), "Content-Type: "+way.kind).wantStatus(t, 503)
		if got.Header.Get("Retry-After") != "1" || !strings.Contains(got.body, "allowed are 1000 bytes") {
			t.Errorf("%s: got Retry-After %q, %s", way.name, got.Header.Get("Retry-After"), got.body)
		}
	}
	for _, path := range []string{"/image/", "/imageForm/"} {
		got := s.raw(t, "POST "+path+"second HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 700\r\nExpect: 100-continue\r\n\r\n", false)
		got.wantStatus(t, 503) // and not 100: the image is not asked for
	}
	if n := s.length(t, "second"); n != 0 {
		t.Errorf("%d images stored of those refused", n)
	}
	s.do(t, "POST", "/image/third", sized(strings.Repeat("x", 200))).wantStatus(t, 200)
	server.awaitUploads(t, 1, 800)
	io.WriteString(first, strings.Repeat("x", 790))
	server.awaitUploads(t, 0, 0)
	if n := s.length(t, "first"); n != 1 {
		t.Errorf("the first upload: %d images stored", n)
	}
	for _, way := range waysToSend {
		s.do(t, "POST", way.path+"fourth", way.framed(way.form(image)), "Content-Type: "+way.kind).wantStatus(t, 200)
	}
	server.awaitUploads(t, 0, 0)
}

// An upload that has to wait goes on when another one has ended.
func TestUploadWaits(t *testing.T) {
	t.Parallel()
	for _, way := range waysToSend {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			s, server := changedSite(t, memoryFixture(t, time.Minute), func(s *server) { s.uploads.patience = 20 * time.Second }, "UPLOAD_LIMIT=1000")
			first := s.begun(t, "first", 800)
			server.awaitUploads(t, 1, 800)
			image := photo(strings.Repeat("x", 700))
			var second sync.WaitGroup
			second.Go(func() {
				got := s.do(t, "POST", way.path+"second", way.framed(way.form(image)), "Content-Type: "+way.kind)
				if got.StatusCode != 200 {
					t.Errorf("got status %d, %s", got.StatusCode, got.body)
				}
			})
			eventually(t, func() bool {
				server.uploads.mu.Lock()
				defer server.uploads.mu.Unlock()
				return len(server.uploads.waiting) == 1
			})
			io.WriteString(first, strings.Repeat("x", 790))
			second.Wait()
			if got := s.take(t, "second"); string(got.data) != image {
				t.Errorf("got %d bytes, want %d", len(got.data), len(image))
			}
			server.awaitUploads(t, 0, 0)
		})
	}
}

// A stream holds what its image under way takes, and nothing between two. When there
// is none left for long it ends, and says what became of its images.
func TestUploadLimitOfStream(t *testing.T) {
	t.Parallel()
	s, server := changedSite(t, memoryFixture(t, time.Minute), func(s *server) { s.uploads.patience = 100 * time.Millisecond }, "UPLOAD_LIMIT=1000")
	stream := s.send(t, "x", mixed)
	stream.write(t, sizedPart("one"))
	eventually(t, func() bool { return s.length(t, "x") == 1 })
	server.awaitUploads(t, 1, 0)
	stream.write(t, "--b\r\nContent-Length: 900\r\n\r\ntwo")
	server.awaitUploads(t, 1, 900)
	stream.write(t, strings.Repeat("x", 897))
	eventually(t, func() bool { return s.length(t, "x") == 2 })
	server.awaitUploads(t, 1, 0)

	other := s.begun(t, "other", 800)
	server.awaitUploads(t, 2, 800)
	stream.write(t, "--b\r\nContent-Length: 900\r\n\r\n")
	got := (<-stream.answer).wantStatus(t, 503)
	if got.Header.Get("Retry-After") != "1" || !strings.Contains(got.body, "allowed are 1000 bytes") || !strings.Contains(got.body, "2 of its images were stored, 0 skipped, 0 refused") {
		t.Errorf("got Retry-After %q, %s", got.Header.Get("Retry-After"), got.body)
	}
	server.awaitUploads(t, 1, 800)
	other.Close()
	server.awaitUploads(t, 0, 0)
}

// heldQueue looks at the budget whenever the engine makes room for an image, and
// when it is pushed.
type heldQueue struct {
	engine
	look func(what string, size int)
}

func (q *heldQueue) Buffer(size int) []byte {
	q.look("buffer", size)
	return q.engine.Buffer(size)
}

func (q *heldQueue) Push(ctx context.Context, session string, image []byte) (receipt, error) {
	q.look("push", len(image))
	return q.engine.Push(ctx, session, image)
}

// The memory of an image is in the budget before it is taken, twice where the image
// is copied, and until the image is in its queue.
func TestUploadIsHeldUntilPushed(t *testing.T) {
	t.Parallel()
	f := memoryFixture(t, time.Minute)
	q := &heldQueue{engine: f.engine}
	f.engine = q
	s, server := changedSite(t, f, func(*server) {})
	image := photo(strings.Repeat("x", 200_000))
	for _, way := range waysToSend {
		var least, looks int64 = int64(len(image)), 0
		if way.name != "sized" && way.name != "stream of parts" {
			least *= 2
		}
		q.look = func(what string, size int) {
			looks++
			if n, held := server.uploads.underWay(); n != 1 || held < least || held > least+2*(blockSize+readAhead) {
				t.Errorf("%s, %s: %d uploads hold %d bytes for an image of %d, want %d or a little more", way.name, what, n, held, size, least)
			}
		}
		s.do(t, "POST", way.path+"x", way.framed(way.form(image)), "Content-Type: "+way.kind).wantStatus(t, 200)
		server.awaitUploads(t, 0, 0)
		if looks != 2 {
			t.Errorf("%s: %d looks at the budget, want 2", way.name, looks)
		}
	}
}

// Whoever hangs up holds nothing, in whatever state his upload was.
func TestUploadHangsUp(t *testing.T) {
	t.Parallel()
	s, server := changedSite(t, memoryFixture(t, time.Minute), func(s *server) { s.uploads.patience = 300 * time.Millisecond }, "UPLOAD_LIMIT=300k")
	image := photo(strings.Repeat("x", 100_000))
	for range 3 {
		var conns []io.Closer
		for _, way := range waysToSend { // more than there is room for: some wait
			conn := s.dial(t)
			body := way.form(image)[:60_000]
			fmt.Fprintf(conn, "POST %sx HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: 100000\r\n\r\n%s", way.path, way.kind, body)
			conns = append(conns, conn)
		}
		eventually(t, func() bool { n, held := server.uploads.underWay(); return n > 0 && held > 100_000 })
		for _, conn := range conns {
			conn.Close()
		}
		server.awaitUploads(t, 0, 0)
	}
	if n := s.length(t, "x"); n != 0 {
		t.Errorf("%d images stored", n)
	}
}

// countingConn counts the bytes that are sent.
type countingConn struct {
	net.Conn
	sent *atomic.Int64
}

func (c countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.sent.Add(int64(n))
	return n, err
}

// What waits over HTTP/2 stays with the client, but for a small window.
func TestUploadLimitOverHTTP2(t *testing.T) {
	t.Parallel()
	s := startSecure(t, true, "UPLOAD_LIMIT=2MiB")
	var sent atomic.Int64
	s.client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return countingConn{conn, &sent}, err
	}
	body, in := io.Pipe()
	defer in.Close()
	go s.client.Post("https://"+s.addr+"/image/first", "image/jpeg", body)
	in.Write(make([]byte, 1<<20)) // in chunks: it holds all there is
	eventually(t, func() bool { return sent.Load() > 1<<20 })
	before := sent.Load()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			got := s.do(t, "POST", "/image/second", bytes.NewReader(make([]byte, 1<<20)))
			if got.StatusCode != 503 || got.ProtoMajor != 2 || got.Header.Get("Retry-After") != "1" {
				t.Errorf("got %s %d, %s", got.Proto, got.StatusCode, got.body)
			}
		})
	}
	time.Sleep(time.Second) // half of their patience
	if extra := sent.Load() - before; extra < connWindow/2 || extra > connWindow+32<<10 {
		t.Errorf("4 uploads that wait have sent %d bytes, want %d", extra, connWindow)
	}
	all.Wait()
}
