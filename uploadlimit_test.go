package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/certtest"
	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// newUploadServer starts a server on the embedded queue where an image waits so long for bytes of UPLOAD_LIMIT.
func newUploadServer(t testing.TB, wait time.Duration, limit string) *testServer {
	t.Helper()
	cfg := testConfig(t, "UPLOAD_LIMIT="+limit)
	return newTestServer(t, cfg, memoryHarness(t, cfg), withBounds(func(b *bounds) { b.uploadWait = wait }))
}

// beginUpload begins an upload of a size, and sends 10 bytes of it.
func (s *testServer) beginUpload(t testing.TB, id string, size int) net.Conn {
	t.Helper()
	conn := s.Dial(t)
	fmt.Fprintf(conn, "POST /image/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n0123456789", id, size)
	return conn
}

// wantOverBudget checks the answer to an upload that found no room within UPLOAD_LIMIT=1000.
func wantOverBudget(t testing.TB, name string, got relaytest.Response) {
	t.Helper()
	got.WantStatus(t, 503)
	if got.Header.Get("Retry-After") != "1" || !strings.Contains(got.Text, "allowed are 1000 bytes") {
		t.Errorf("%s: got Retry-After %q, %s", name, got.Header.Get("Retry-After"), got.Text)
	}
}

// An upload beyond the limit waits a moment, and is then refused before it is read. An upload for which there is room
// gets through.
func TestUploadLimit(t *testing.T) {
	t.Parallel()
	if got := defaults().uploadWait; got != 2*time.Second {
		t.Errorf("an image waits for %s, README says 2 seconds", got)
	}
	s := newUploadServer(t, 100*time.Millisecond, "1000")
	first := s.beginUpload(t, "first", 800)
	s.awaitUploads(t, 1, 800)
	image := smallJPEG(strings.Repeat("x", 700))
	send := func(id, path, contentType string, body io.Reader) relaytest.Response {
		return s.Do(t, "POST", path+id, body, "Content-Type: "+contentType)
	}
	for _, way := range waysToSend {
		wantOverBudget(t, way.name, send("second", way.path, way.contentType, way.framed(way.body(image))))
	}
	for path, contentType := range map[string]string{"/image/": "image/jpeg", "/imageForm/": relaytest.FormType} {
		got := s.Raw(t, "POST "+path+"second HTTP/1.1\r\nHost: x\r\nContent-Type: "+contentType+
			"\r\nContent-Length: 700\r\nExpect: 100-continue\r\n\r\n", false)
		got.WantStatus(t, 503) // and not 100: the image is not asked for
	}
	if n := s.Len(t, "second"); n != 0 {
		t.Errorf("%d images stored of those refused", n)
	}
	s.Do(t, "POST", "/image/third", sized(strings.Repeat("x", 200))).WantStatus(t, 200)
	s.awaitUploads(t, 1, 800)
	io.WriteString(first, strings.Repeat("x", 790))
	s.awaitUploads(t, 0, 0)
	if n := s.Len(t, "first"); n != 1 {
		t.Errorf("the first upload: %d images stored", n)
	}
	for _, way := range waysToSend {
		send("fourth", way.path, way.contentType, way.framed(way.body(image))).WantStatus(t, 200)
		s.awaitUploads(t, 0, 0)
	}
}

// An upload that has to wait goes on when another one has ended.
func TestUploadWaits(t *testing.T) {
	t.Parallel()
	for _, way := range waysToSend {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			s := newUploadServer(t, time.Minute, "1000")
			first := s.beginUpload(t, "first", 800)
			s.awaitUploads(t, 1, 800)
			image := smallJPEG(strings.Repeat("x", 700))
			second := s.DoLater(t, "POST", way.path+"second", way.framed(way.body(image)), "Content-Type: "+way.contentType)
			testkit.Eventually(t, func() bool { return s.server.budget.Usage().Waiting == 1 })
			io.WriteString(first, strings.Repeat("x", 790))
			stored, _ := second.Answer(t)
			stored.WantStatus(t, 200)
			if got := s.Take(t, "second"); string(got.Data) != image {
				t.Errorf("got %d bytes, want %d", len(got.Data), len(image))
			}
			s.awaitUploads(t, 0, 0)
		})
	}
}

// A stream holds the bytes of its image under way, and none between two images. If it waits too long for bytes it ends,
// and says what became of its images.
func TestUploadLimitOfStream(t *testing.T) {
	t.Parallel()
	s := newUploadServer(t, 100*time.Millisecond, "1000")
	stream := s.Send(t, "x", relaytest.MixedType)
	stream.WriteText(t, relaytest.Part("one"))
	testkit.Eventually(t, func() bool { return s.Len(t, "x") == 1 })
	s.awaitUploads(t, 1, 0)
	stream.WriteText(t, "--b\r\nContent-Length: 900\r\n\r\ntwo")
	s.awaitUploads(t, 1, 900)
	stream.WriteText(t, strings.Repeat("x", 897))
	testkit.Eventually(t, func() bool { return s.Len(t, "x") == 2 })
	s.awaitUploads(t, 1, 0)

	other := s.beginUpload(t, "other", 800)
	s.awaitUploads(t, 2, 800)
	stream.WriteText(t, "--b\r\nContent-Length: 900\r\n\r\n")
	got := stream.Answer(t)
	wantOverBudget(t, "stream", got)
	if !strings.Contains(got.Text, "2 of its images were stored, 0 skipped, 0 refused") {
		t.Errorf("got %s", got.Text)
	}
	s.awaitUploads(t, 1, 800)
	other.Close()
	s.awaitUploads(t, 0, 0)
}

// watchedQueue calls watch whenever the queue is asked for memory for an image, and when the image is pushed.
type watchedQueue struct {
	queue.Queue
	watch func(call string, size int)
}

func (q *watchedQueue) Buffer(size int) []byte {
	q.watch("buffer", size)
	return q.Queue.Buffer(size)
}

func (q *watchedQueue) Push(ctx context.Context, id string, image []byte) (queue.Receipt, error) {
	q.watch("push", len(image))
	return q.Queue.Push(ctx, id, image)
}

// The bytes of an image are reserved before its memory is taken, twice if the image is copied, and until the image is
// in its queue.
func TestUploadReservesUntilPushed(t *testing.T) {
	t.Parallel()
	const overhead = 4 * (32 << 10) // what is reserved at most besides an image: it grows in steps
	cfg := testConfig(t)
	h := memoryHarness(t, cfg)
	q := &watchedQueue{Queue: h.Queue}
	s := newTestServer(t, cfg, h, withQueue(q))
	image := smallJPEG(strings.Repeat("x", 200_000))
	for _, way := range waysToSend {
		least, calls := int64(len(image)), 0
		if way.name != "sized" && way.name != "stream of parts" {
			least *= 2
		}
		q.watch = func(call string, size int) {
			calls++
			if got := s.server.budget.Usage(); got.Uploads != 1 || got.Bytes < least || got.Bytes > least+overhead {
				t.Errorf("%s, %s: %d uploads hold %d bytes for an image of %d, want %d or a little more",
					way.name, call, got.Uploads, got.Bytes, size, least)
			}
		}
		s.Do(t, "POST", way.path+"x", way.framed(way.body(image)), "Content-Type: "+way.contentType).WantStatus(t, 200)
		s.awaitUploads(t, 0, 0)
		if calls != 2 {
			t.Errorf("%s: %d calls, want 2", way.name, calls)
		}
	}
}

// An upload whose client hangs up holds nothing, in whatever state it was.
func TestUploadHangsUp(t *testing.T) {
	t.Parallel()
	s := newUploadServer(t, 300*time.Millisecond, "300k")
	image := smallJPEG(strings.Repeat("x", 100_000))
	for range 3 {
		var conns []net.Conn
		for _, way := range waysToSend { // more than there is room for: some wait
			conn := s.Dial(t)
			fmt.Fprintf(conn, "POST %sx HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: 100000\r\n\r\n%s",
				way.path, way.contentType, way.body(image)[:60_000])
			conns = append(conns, conn)
		}
		testkit.Eventually(t, func() bool {
			got := s.server.budget.Usage()
			return got.Uploads > 0 && got.Bytes > 100_000
		})
		for _, conn := range conns {
			conn.Close()
		}
		s.awaitUploads(t, 0, 0)
	}
	if n := s.Len(t, "x"); n != 0 {
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

// startFullHTTP2 starts a server on which one upload holds all of UPLOAD_LIMIT, and a client that has one connection of
// HTTP/2 to it. It returns a counter of the bytes that the client sends.
func startFullHTTP2(t testing.TB, wait time.Duration) (s *secureServer, sent *atomic.Int64) {
	t.Helper()
	files := certtest.New(t)
	p := startBounded(t, func(b *bounds) { b.uploadWait = wait }, append(tlsVars(files), "UPLOAD_LIMIT=2MiB")...)
	s, sent = &secureServer{p, files, files.Client(t, true)}, new(atomic.Int64)
	transport := s.client.Transport.(*http.Transport)
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return countingConn{conn, sent}, err
	}
	body, in := io.Pipe()
	t.Cleanup(func() { in.Close() })
	go s.client.Post("https://"+s.Addr+"/image/first", "image/jpeg", body)
	in.Write(make([]byte, 1<<20)) // in chunks: its bytes count twice
	testkit.Eventually(t, func() bool { return sent.Load() > 1<<20 })
	return s, sent
}

func TestUploadLimitOverHTTP2(t *testing.T) {
	t.Parallel()
	s, _ := startFullHTTP2(t, 100*time.Millisecond)
	var all []*relaytest.Pending
	for range 4 {
		all = append(all, s.DoLater(t, "POST", "/image/second", bytes.NewReader(make([]byte, 1<<20))))
	}
	for _, one := range all {
		got, _ := one.Answer(t)
		if got.StatusCode != 503 || got.ProtoMajor != 2 || got.Header.Get("Retry-After") != "1" {
			t.Errorf("got %s %d, %s", got.Proto, got.StatusCode, got.Text)
		}
	}
}

// Uploads over HTTP/2 that wait for bytes stay with their client, except for the small window of their connection.
func TestUploadWaitsOverHTTP2(t *testing.T) {
	t.Parallel()
	const window = 256 << 10
	s, sent := startFullHTTP2(t, time.Minute)
	before := sent.Load()
	for range 4 {
		body := bytes.NewReader(make([]byte, 1<<20))
		req := testkit.Must(http.NewRequestWithContext(t.Context(), "POST", "https://"+s.Addr+"/image/second", body))(t)
		go s.client.Do(req)
	}
	testkit.Eventually(t, func() bool { return sent.Load()-before >= window/2 })
	time.Sleep(300 * time.Millisecond) // more would come now
	if extra := sent.Load() - before; extra > window+32<<10 {
		t.Errorf("4 uploads that wait have sent %d bytes, want %d", extra, window)
	}
}
