package e2e

import (
	"bytes"
	"crypto/tls"
	bigendian "encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/certtest"
	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

const (
	largest       = 10 << 20  // MAX_IMAGE_BYTES
	downloadLimit = 128 << 20 // DOWNLOAD_LIMIT
	admitted      = downloadLimit / largest
)

// stall sends requests on connections of their own, from which nothing is read until hangUp is called.
func (p *process) stall(t testing.TB, path string, clients int) (hangUp func()) {
	t.Helper()
	var conns []net.Conn
	for range clients {
		conn := p.Dial(t)
		conn.SetReadBuffer(4 << 10)
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
		conns = append(conns, conn)
	}
	return func() {
		for _, conn := range conns {
			conn.Close()
		}
	}
}

// stallStreams sends requests on one connection of HTTP/2. The window of each of its streams is 0, so that no body can
// be sent.
func (p *process) stallStreams(t testing.TB, path string, streams int) (hangUp func()) {
	t.Helper()
	const headers, settings, endOfHeadersAndStream, initialWindowSize = 1, 4, 0x5, 4
	conn := testkit.Must(tls.Dial("tcp", p.Addr, &tls.Config{
		InsecureSkipVerify: true, NextProtos: []string{"h2"},
	}))(t)
	t.Cleanup(func() { conn.Close() })
	go io.Copy(io.Discard, conn)
	out := bytes.NewBufferString("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	frame := func(kind, flags byte, stream int, payload []byte) {
		out.Write(bigendian.BigEndian.AppendUint32(nil, uint32(len(payload)<<8)|uint32(kind)))
		out.WriteByte(flags)
		out.Write(bigendian.BigEndian.AppendUint32(nil, uint32(stream)))
		out.Write(payload)
	}
	frame(settings, 0, 0, []byte{0, initialWindowSize, 0, 0, 0, 0})
	const getOverHTTPS = "\x82\x87" // of the static table of HPACK, as are :authority and :path
	request := fmt.Appendf(nil, "%s\x01\x01x\x04%c%s", getOverHTTPS, len(path), path)
	for i := range streams {
		frame(headers, endOfHeadersAndStream, 2*i+1, request)
	}
	testkit.Must(conn.Write(out.Bytes()))(t)
	return func() { conn.Close() }
}

// downloads returns the bytes that answers hold, and how many answers were refused.
func downloads(m relaytest.Metrics, t testing.TB) (held, refused float64) {
	t.Helper()
	return m.Value(t, "download_bytes"), m.Value(t, "refused_downloads_total")
}

// wantPeak checks the most memory that the server has had resident.
func (p *process) wantPeak(t testing.TB, what string, most float64) {
	t.Helper()
	peak := peakMemory(t, p)
	t.Logf("%s: %.0f MiB", what, peak/(1<<20))
	if peak > most && !underRace() {
		t.Errorf("%s: the server took %.0f MiB, want %.0f at most", what, peak/(1<<20), most/(1<<20))
	}
}

// However many readers accept nothing, in whatever way they read, the memory of the server stays within DOWNLOAD_LIMIT
// and a little more. Who finds no room is told, and takes no image.
func TestDownloadLimitHoldsMemory(t *testing.T) {
	t.Parallel()
	const most = downloadLimit + 64<<20
	redisHost := "REDIS_HOST=" + redistest.Own(t).Addr
	pair := certtest.New(t)
	p := startServer(t, redisHost, "MAX_SESSION_BYTES=0")
	secure := startServer(t, redisHost, "TLS_CERT="+pair.Cert, "TLS_KEY="+pair.Key)
	large := make([]byte, largest)
	push := func(id string) {
		t.Helper()
		p.Do(t, "POST", "/image/"+id, bytes.NewReader(large)).WantStatus(t, 200)
	}
	id, queued := session.New(), session.New()
	push(id)
	images := 16
	for range images {
		push(queued)
	}
	behind := func() int { // the oldest of the queue; -1: there is none
		n, err := strconv.Atoi(p.Do(t, "HEAD", "/image/"+queued, nil).Header.Get("X-Queue-Length"))
		if err != nil {
			return -1
		}
		return n
	}
	for _, row := range []struct {
		path    string
		readers int
	}{{"/snapshot/" + id, 120}, {"/image/" + id + "?after=0", 120}, {"/image/" + queued, 60}} {
		unserved := func(m relaytest.Metrics) float64 { return m.Value(t, "http_requests_total", "status=503") }
		before := unserved(p.Scrape(t))
		hangUps := []func(){p.stall(t, row.path, row.readers)}
		pops := row.path == "/image/"+queued
		isFull := func() bool {
			m := p.Scrape(t)
			held, _ := downloads(m, t)
			if held < admitted*largest { // a reader was cut meanwhile, or Redis did not answer it in time
				hangUps = append(hangUps, p.stall(t, row.path, 1))
				time.Sleep(100 * time.Millisecond)
			}
			return held == admitted*largest && unserved(m)-before >= float64(row.readers-2*admitted) &&
				(!pops || behind() == images-admitted-1)
		}
		isRefused := func(got relaytest.Response) bool {
			if got.StatusCode != 503 {
				return false
			}
			if got.Header.Get("Retry-After") != "1" || !strings.Contains(got.Text, "allowed are 134217728 bytes") {
				t.Errorf("%s: got %v, %s", row.path, got.Header, got.Text)
			}
			return true
		}
		eventually(t, func() bool {
			if !isFull() {
				return false
			}
			refused := isRefused(p.Get(t, row.path))
			if !refused && pops { // a reader was cut just now, and this one took an image
				images--
			}
			return refused
		})
		p.wantPeak(t, row.path, most)
		for _, hangUp := range hangUps {
			hangUp()
		}
		eventually(t, func() bool { held, _ := downloads(p.Scrape(t), t); return held == 0 })
	}
	eventually(t, func() bool { return behind() == images-1 }) // all images are back

	hangUp := secure.stallStreams(t, "/snapshot/"+id, 240)
	client := pair.Client(t, false)
	secureDownloads := func() (held, refused float64) {
		resp := testkit.Must(client.Get("https://" + secure.Addr + "/metrics"))(t)
		defer resp.Body.Close()
		return downloads(relaytest.ParseMetrics(t, string(testkit.Must(io.ReadAll(resp.Body))(t))), t)
	}
	eventually(t, func() bool { // a stream that was cut meanwhile has made room for another one
		_, refused := secureDownloads()
		return refused >= 240-3*admitted
	})
	secure.wantPeak(t, "HTTP/2", most)
	hangUp()
	eventually(t, func() bool { held, _ := secureDownloads(); return held == 0 })

	live := session.New()
	hangUp = p.stall(t, "/stream/"+live, 100)
	eventually(t, func() bool { return p.Scrape(t).Value(t, "viewers") == 100 })
	for range 30 {
		push(live)
		time.Sleep(20 * time.Millisecond) // so that some viewers begin each frame
	}
	p.wantPeak(t, "streams", most+2*largest) // with the images that are being pushed
	hangUp()
	eventually(t, func() bool { held, _ := downloads(p.Scrape(t), t); return held == 0 })
}

// What only a reader holds counts against MEMORY_LIMIT: pushes are refused while there is no room, and the memory of
// the server stays bounded.
func TestMemoryLimitCountsReaders(t *testing.T) {
	t.Parallel()
	const limit = 64 << 20
	p := startServer(t, fmt.Sprint("MEMORY_LIMIT=", limit))
	large := make([]byte, largest)
	stored := 0
	for ; stored < 120; stored++ {
		id := fmt.Sprint("session-", stored)
		if got := p.Do(t, "POST", "/image/"+id, bytes.NewReader(large)); got.StatusCode == 507 {
			break
		}
		before, _ := downloads(p.Scrape(t), t)
		p.stall(t, "/snapshot/"+id, 1)
		eventually(t, func() bool { held, _ := downloads(p.Scrape(t), t); return held > before })
		p.Get(t, "/image/"+id).WantStatus(t, 200)
	}
	if want := limit / largest; stored != want {
		t.Errorf("%d images were stored before the first 507, want %d", stored, want)
	}
	if held := p.Scrape(t).Value(t, "memory_held_bytes"); held != limit/largest*largest {
		t.Errorf("%.0f bytes are held, want those of %d images", held, limit/largest)
	}
	p.wantPeak(t, "stalled snapshots", 2*limit+64<<20)
}

// The server that is told to stop puts an image back whose consumer accepts nothing, and ends before docker would kill
// it.
func TestStopPutsImageBack(t *testing.T) {
	t.Parallel()
	redisHost := "REDIS_HOST=" + redistest.Use(t).Addr
	p, id := startServer(t, redisHost), session.New()
	image := strings.Repeat("image", largest/5)
	p.Do(t, "POST", "/image/"+id, strings.NewReader(image)).WantStatus(t, 200)
	p.stall(t, "/image/"+id, 1)
	eventually(t, func() bool { held, _ := downloads(p.Scrape(t), t); return held > 0 })
	stopwatch := testkit.StartStopwatch(t)
	p.terminate(t)
	p.wantExit(t, 0)
	if took := stopwatch.Elapsed(); took > 10*time.Second {
		t.Errorf("ended after %s, docker kills after 10 s", took)
	}
	next := startServer(t, redisHost)
	if got := next.Get(t, "/image/"+id).WantStatus(t, 200); got.Text != image {
		t.Errorf("got %d bytes, X-Sequence %s, want the image", len(got.Text), got.Header.Get("X-Sequence"))
	}
}
