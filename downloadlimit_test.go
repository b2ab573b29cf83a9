package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// readPaths are the requests that read images. Those of /image/%s alone take them.
var readPaths = []string{"/image/%s", "/image/%s?after=0", "/snapshot/%s", "/stream/%s"}

// onStalledReaders runs a test for each path and engine, with bounds in time.
func onStalledReaders(
	t *testing.T, change func(*bounds), test func(t *testing.T, s *testServer, path, id string), vars ...string,
) {
	t.Parallel()
	for engine, newHarness := range engines {
		for _, format := range readPaths {
			t.Run(engine+format, func(t *testing.T) {
				t.Parallel()
				cfg, id := testConfig(t, append([]string{"MAX_IMAGE_BYTES=16MiB"}, vars...)...), session.New()
				s := newTestServer(t, cfg, newHarness(t, cfg), withBounds(change))
				test(t, s, strings.ReplaceAll(format, "%s", id), id)
			})
		}
	}
}

// stall begins to read an answer, and reads no more.
func (s *testServer) stall(t testing.TB, path string) net.Conn {
	t.Helper()
	conn := s.Hold(t, path)
	conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	testkit.Must(io.ReadFull(conn, make([]byte, 1<<10)))(t)
	return conn
}

// awaitDownloads waits until answers hold so many bytes, or a little more for what stands around a frame of a stream.
func (s *testServer) awaitDownloads(t testing.TB, bytes float64) {
	t.Helper()
	testkit.Eventually(t, func() bool {
		got := s.Scrape(t).Value(t, "download_bytes")
		return got >= bytes && got <= bytes+1<<10
	})
}

// largeImage is more than the kernel takes without a reader.
var largeImage = strings.Repeat("image", 15<<20/5)

// An answer for which there is no room is refused, and takes nothing. When there is room again it comes.
func TestDownloadLimit(t *testing.T) {
	if got := defaults().downloadWait; got != 2*time.Second {
		t.Errorf("an answer waits for %s, README says 2 seconds", got)
	}
	onStalledReaders(t, func(b *bounds) { b.downloadWait = 100 * time.Millisecond },
		func(t *testing.T, s *testServer, path, id string) {
			s.PushImage(t, id, largeImage)
			stalled := s.stall(t, path)
			other := session.New()
			s.PushImage(t, other, largeImage)
			for _, format := range readPaths {
				got := s.Get(t, strings.ReplaceAll(format, "%s", other)).WantStatus(t, 503)
				if got.Header.Get("Retry-After") != "1" || !strings.Contains(got.Text, "allowed are 1048576 bytes") {
					t.Errorf("%s: got %v, %s", format, got.Header, got.Text)
				}
			}
			if n := s.Len(t, other); n != 1 {
				t.Errorf("%d images are left, want 1", n)
			}
			s.Get(t, "/image/"+session.New()).WantStatus(t, 200) // no image needs no room
			stalled.Close()
			s.awaitDownloads(t, 0)
			if got := s.Get(t, "/image/"+other).WantStatus(t, 200); got.Text != largeImage {
				t.Errorf("got %d bytes, want %d", len(got.Text), len(largeImage))
			}
			s.awaitDownloads(t, 0)
		}, "DOWNLOAD_LIMIT=1MiB") // one image of any size always fits
}

// An answer that accepts nothing is cut, and an image that it took goes back.
func TestStalledReaderIsCut(t *testing.T) {
	const idle = 300 * time.Millisecond
	onStalledReaders(t, func(b *bounds) { b.answer = idle }, func(t *testing.T, s *testServer, path, id string) {
		s.PushImage(t, id, largeImage)
		s.stall(t, path)
		s.awaitDownloads(t, 0)
		testkit.Eventually(t, func() bool { return s.Len(t, id) == 1 })
	})
}

// An answer whose image expires is cut, though the client accepts some of it now and then.
func TestAnswerIsCutAtExpiry(t *testing.T) {
	onStalledReaders(t, func(*bounds) {}, func(t *testing.T, s *testServer, path, id string) {
		s.PushImage(t, id, largeImage)
		conn := s.stall(t, path)
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			for {
				select {
				case <-time.After(50 * time.Millisecond):
					conn.Read(make([]byte, 10_000))
				case <-stop:
					return
				}
			}
		}()
		s.awaitDownloads(t, 0)
		if !s.Remote {
			s.Elapse(s.TTL) // the clock of the embedded queue, which stands still
		}
		if got := s.Get(t, "/image/"+id); !got.IsNoData() {
			t.Errorf("got %d bytes of an image that has expired", len(got.Text))
		}
	}, "EXPIRE=2")
}

// Consumers that accept nothing keep the embedded queue full for as long as their images live, and no longer.
func TestStalledConsumersDoNotFillMemory(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t, "MEMORY_LIMIT=64MiB", "MAX_IMAGE_BYTES=16MiB", "EXPIRE=5")
	h := memoryHarness(t, cfg)
	s := newTestServer(t, cfg, h)
	for range 4 {
		s.PushImage(t, "x", largeImage)
		s.stall(t, "/image/x")
	}
	push := func() relaytest.Response { return s.Do(t, "POST", "/image/y", strings.NewReader(largeImage)) }
	push().WantStatus(t, http.StatusInsufficientStorage)
	h.Elapse(h.TTL) // the answers end by the clock of the process
	testkit.Eventually(t, func() bool { return push().StatusCode == http.StatusOK })
}

// A viewer that reads a large frame slowly, but steadily, gets all of it. Reading takes more than twice as long as a
// viewer may accept nothing.
func TestSlowViewerGetsWholeFrames(t *testing.T) {
	t.Parallel()
	const idle, rate = 2 * time.Second, 1 << 20
	p := startBounded(t, func(b *bounds) { b.answer = idle }, "MAX_IMAGE_BYTES=16MiB")
	conn := p.Hold(t, "/stream/x")
	conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	in := bufio.NewReader(conn)
	testkit.Must(in.ReadString('-'))(t) // the stream has begun
	p.Do(t, "POST", "/image/x", strings.NewReader(largeImage[:5<<20])).WantStatus(t, 200)
	image, piece := 0, make([]byte, rate/20)
	for begun := time.Now(); image < 5<<20; {
		n, err := in.Read(piece)
		image += n
		if err != nil {
			t.Fatalf("cut after %s and %d bytes: %v", time.Since(begun), image, err)
		}
		time.Sleep(time.Until(begun.Add(time.Duration(image) * time.Second / rate)))
	}
}
