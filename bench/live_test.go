package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"image"
	"image/jpeg"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// frameSize is the size of the frames that viewers are sent: a small camera's.
const frameSize = 40_000

// delivered is a further quantity of fanOutLoad: the frames that arrived, as a part of those that were pushed.
const delivered = cpuEach + 1

// BenchmarkFanOut compares what a frame costs the server for each of 100 viewers with a loop that writes the same bytes
// to the same sockets.
func BenchmarkFanOut(b *testing.B) {
	var r rounds
	r.add(5, fanOutLoad(b, ours(b).on(b, "embedded")), fanOutLoad(b, baseline("stream").on(b, "embedded")))
	reportIn(b, "cpu", r.fill(cpuEach, result{
		measure: "CPU per frame and viewer, 100 viewers, 30 frames/s of 40 KB", unit: "us", most: 1.3,
	}))
	reportIn(b, "delivered", r.fill(delivered, result{measure: "frames delivered of those pushed", unit: "of 1"}))
}

// fanOutLoad returns one round of pushes to 100 viewers, 30 a second.
func fanOutLoad(b *testing.B, c *child) func() []float64 {
	b.Helper()
	const viewers, perSecond, pushes = 100, 30, 3 * 30
	var seen atomic.Int64
	for range viewers {
		watch(b, c.addr, func() { seen.Add(1) })
	}
	time.Sleep(200 * time.Millisecond) // until the server has them all
	pusher := dialClient(b, c.addr, "session", frameSize, false)
	return func() []float64 {
		cpu, frames, start := c.cpu(b), seen.Load(), time.Now()
		tick := time.NewTicker(time.Second / perSecond)
		defer tick.Stop()
		for range pushes {
			<-tick.C
			if err := pusher.push(); err != nil {
				b.Fatal(err)
			}
		}
		took := time.Since(start)
		time.Sleep(50 * time.Millisecond) // until the last frames are there
		n := float64(seen.Load() - frames)
		return []float64{
			rate:      n / took.Seconds(),
			cpuEach:   (c.cpu(b) - cpu) / n,
			delivered: n / (pushes * viewers),
		}
	}
}

// watch opens a viewer of the session called session. It reads all it gets, and calls arrived after each frame.
func watch(b *testing.B, addr string, arrived func()) {
	b.Helper()
	conn := testkit.Must(net.Dial("tcp", addr))(b)
	b.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "GET /stream/session HTTP/1.1\r\nHost: x\r\n\r\n")
	go func() {
		in := bufio.NewReaderSize(conn, 64<<10)
		for awaitFrame(in) == nil {
			arrived()
		}
	}()
}

// awaitFrame reads up to the end of the next frame of the benchmarks' size.
func awaitFrame(in *bufio.Reader) error {
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if string(bytes.TrimSpace(line)) == fmt.Sprint("Content-Length: ", frameSize) {
			break
		}
	}
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			_, err := in.Discard(frameSize)
			return err
		}
	}
}

// BenchmarkLatency measures the time from the start of a push to the last byte at a consumer that waits and at a
// viewer, at 100 pushes a second.
func BenchmarkLatency(b *testing.B) {
	for _, engine := range engines {
		server := ours(b).on(b, engine)
		for _, reader := range []struct {
			name, session string
			read          func(b *testing.B, addr, session string, arrived chan<- time.Time)
		}{
			{"waiting consumer", "waited", popAsTheyCome},
			{"viewer", "session", viewAsTheyCome},
		} {
			arrived := make(chan time.Time, 1)
			reader.read(b, server.addr, reader.session, arrived)
			time.Sleep(100 * time.Millisecond) // until the server has the reader
			took := timePushes(b, server.addr, reader.session, arrived)
			measure := fmt.Sprintf("push to a %s, %s", reader.name, engine)
			path := strings.ReplaceAll(reader.name, " ", "-") + "/" + engine
			reportIn(b, path+"/p50", result{measure: measure + ": p50", unit: "ms", ours: took[len(took)/2]})
			reportIn(b, path+"/p99", result{measure: measure + ": p99", unit: "ms", ours: took[len(took)*99/100], most: 5})
		}
	}
}

// timePushes pushes 500 images, each after the one before has arrived, and returns how long each took, in ms, sorted.
func timePushes(b *testing.B, addr, id string, arrived <-chan time.Time) (took []float64) {
	b.Helper()
	pusher := dialClient(b, addr, id, frameSize, false)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 500 {
		<-tick.C
		start := time.Now()
		if err := pusher.push(); err != nil {
			b.Fatal(err)
		}
		took = append(took, float64((<-arrived).Sub(start).Microseconds())/1000)
	}
	slices.Sort(took)
	return took
}

// viewAsTheyCome watches a stream and reports when each frame has arrived.
func viewAsTheyCome(b *testing.B, addr, _ string, arrived chan<- time.Time) {
	b.Helper()
	watch(b, addr, func() { arrived <- time.Now() })
}

// popAsTheyCome pops each image with a request that waits for it, and reports when it has arrived.
func popAsTheyCome(b *testing.B, addr, id string, arrived chan<- time.Time) {
	b.Helper()
	c := dialClient(b, addr, id, frameSize, false)
	c.get = fmt.Appendf(nil, "GET /image/%s?wait=60 HTTP/1.1\r\nHost: x\r\n\r\n", id)
	go func() {
		for c.pop() == nil {
			arrived <- time.Now()
		}
	}()
}

// forms are the bodies that bring many frames in one POST, and what stands before each frame.
var forms = []struct{ name, header string }{
	{"multipart", fmt.Sprintf("--b\r\nContent-Length: %d\r\n\r\n", frameSize)},
	{"JPEGs", ""},
}

// BenchmarkIngest compares 1,000 frames in one POST with as many POSTs.
func BenchmarkIngest(b *testing.B) {
	for _, engine := range engines {
		addr := ""
		if engine == "redis" {
			addr = benchRedis(b).Addr
		}
		one, many := ours(b)(b, addr), ours(b)(b, addr)
		for _, form := range forms {
			var r rounds
			r.add(5, ingestLoad(b, one, form.header), imagesLoad(b, many))
			path := form.name + "/" + engine
			measure := fmt.Sprintf("1,000 frames of 40 KB in one POST against 1,000 POSTs, %s, %s", form.name, engine)
			reportIn(b, path+"/rate", r.fill(rate, result{measure: measure, unit: "frames/s"}))
			reportIn(b, path+"/cpu", r.fill(cpuEach, result{measure: measure + ": CPU per frame", unit: "us"}))
		}
	}
}

// ingestFrames is the number of frames in one round of ingestLoad and of imagesLoad.
const ingestFrames = 1000

// ingestLoad returns one round of frames in one POST, with a header before each frame.
func ingestLoad(b *testing.B, c *child, header string) func() []float64 {
	b.Helper()
	body := bytes.Repeat(append([]byte(header), cameraJPEG(b)...), ingestFrames)
	in := dialClient(b, c.addr, "one", frameSize, false)
	in.post = fmt.Appendf(nil, "POST /stream/one HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	return func() []float64 {
		return timeFrames(b, c, "one", func() error {
			_, err := in.exchange(in.post)
			return err
		})
	}
}

// imagesLoad returns one round of frames in a POST each.
func imagesLoad(b *testing.B, c *child) func() []float64 {
	b.Helper()
	frame := cameraJPEG(b)
	in := dialClient(b, c.addr, "many", frameSize, false)
	in.post = fmt.Appendf(nil, "POST /image/many HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(frame), frame)
	return func() []float64 {
		return timeFrames(b, c, "many", func() error {
			for range ingestFrames {
				if err := in.push(); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// cameraJPEG returns a whole JPEG of frameSize, which is filled up by a comment.
func cameraJPEG(b *testing.B) []byte {
	b.Helper()
	var picture bytes.Buffer
	if err := jpeg.Encode(&picture, image.NewRGBA(image.Rect(0, 0, 480, 360)), nil); err != nil {
		b.Fatal(err)
	}
	comment := make([]byte, frameSize-picture.Len())
	copy(comment, []byte{0xff, 0xfe, byte((len(comment) - 2) >> 8), byte(len(comment) - 2)})
	return slices.Concat(picture.Bytes()[:2], comment, picture.Bytes()[2:])
}

// timeFrames measures what it takes to send ingestFrames, then empties their session.
func timeFrames(b *testing.B, c *child, id string, send func() error) []float64 {
	b.Helper()
	cpu, start := c.cpu(b), time.Now()
	if err := send(); err != nil {
		b.Fatal(err)
	}
	took := time.Since(start)
	cpu = c.cpu(b) - cpu
	drain(b, c.addr, id)
	return []float64{
		rate:    ingestFrames / took.Seconds(),
		cpuEach: cpu / ingestFrames,
	}
}

// drain pops images until the session is empty.
func drain(b *testing.B, addr, id string) {
	b.Helper()
	c := dialClient(b, addr, id, frameSize, false)
	c.get = fmt.Appendf(nil, "GET /image/%s?nodata=204 HTTP/1.1\r\nHost: x\r\n\r\n", id)
	for c.pop() == nil { // until the status is 204
	}
}
