package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// frameSize is the size of the frames that viewers are sent: a small camera's.
const frameSize = 40_000

// BenchmarkFanOut compares what a frame costs the server for each of 100 viewers
// with a loop that writes the same bytes to the same sockets.
func BenchmarkFanOut(b *testing.B) {
	const viewers, perSecond = 100, 30
	ours, bare := startChild(b, "ours", ""), startChild(b, "bare-stream", "")
	side := func(c *child) func() []float64 {
		var seen atomic.Int64
		watchStreams(b, c.addr, viewers, &seen)
		pusher := dialClient(b, c.addr, "session", frameSize, false)
		return func() []float64 {
			cpu, frames := c.cpu(b), seen.Load()
			tick := time.NewTicker(time.Second / perSecond)
			defer tick.Stop()
			for range 3 * perSecond {
				<-tick.C
				if err := pusher.push(); err != nil {
					b.Fatal(err)
				}
			}
			time.Sleep(50 * time.Millisecond)
			delivered := seen.Load() - frames
			return []float64{(c.cpu(b) - cpu) / float64(delivered), float64(delivered) / (3 * perSecond * viewers)}
		}
	}
	var r rounds
	r.add(5, side(ours), side(bare))
	reportIn(b, "cpu", r.fill(0, result{measure: "CPU per frame and viewer, 100 viewers, 30 frames/s of 40 KB", unit: "us", most: 1.3}))
	reportIn(b, "delivered", r.fill(1, result{measure: "frames delivered of those pushed", unit: "of 1"}))
}

// watchStreams opens viewers that read all they get and count the frames.
func watchStreams(b *testing.B, addr string, viewers int, seen *atomic.Int64) {
	b.Helper()
	for range viewers {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { conn.Close() })
		fmt.Fprintf(conn, "GET /stream/session HTTP/1.1\r\nHost: x\r\n\r\n")
		go func() {
			in := bufio.NewReaderSize(conn, 64<<10)
			for awaitFrame(in) == nil {
				seen.Add(1)
			}
		}()
	}
	time.Sleep(200 * time.Millisecond)
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

// serveBareStream writes each image it is sent to everyone who asked for a stream.
func serveBareStream() {
	ln, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		panic(err)
	}
	var mu sync.Mutex
	var viewers []net.Conn
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			in := bufio.NewReaderSize(conn, 64<<10)
			for {
				req, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				switch {
				case strings.HasPrefix(req.URL.Path, "/stream/"):
					fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\n\r\n%s", streamType, delimiter)
					mu.Lock()
					viewers = append(viewers, conn)
					mu.Unlock()
					return
				case req.Method == "GET": // the question whether it is up
					fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
					conn.Close()
					return
				}
				image, _ := io.ReadAll(req.Body)
				part := partMaker{kind: "image/jpeg"}.part(frame{sequence: 1, arrival: time.Now(), data: image})
				mu.Lock()
				for _, viewer := range viewers {
					viewer.Write(part)
				}
				mu.Unlock()
				fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
		}()
	}
}

// BenchmarkLatency measures the time from the start of a push to the last byte at
// a consumer that waits and at a viewer, at 100 pushes a second.
func BenchmarkLatency(b *testing.B) {
	const pushes = 500
	for _, engine := range []string{"redis", "embedded"} {
		addr := ""
		if engine == "redis" {
			addr = benchRedis(b).Addr
		}
		server := startChild(b, "ours", addr)
		for who, session := range map[string]string{"waiting consumer": "waited", "viewer": "session"} {
			arrived := make(chan time.Time, 1)
			if who == "viewer" {
				viewAndTell(b, server.addr, arrived)
			} else {
				waitAndTell(b, server.addr, session, arrived)
			}
			pusher := dialClient(b, server.addr, session, frameSize, false)
			var took []float64
			tick := time.NewTicker(10 * time.Millisecond)
			for range pushes {
				<-tick.C
				start := time.Now()
				if err := pusher.push(); err != nil {
					b.Fatal(err)
				}
				took = append(took, float64((<-arrived).Sub(start).Microseconds())/1000)
			}
			tick.Stop()
			slices.Sort(took)
			name := fmt.Sprintf("push to a %s, %s", who, engine)
			in := strings.ReplaceAll(who, " ", "-") + "/" + engine
			reportIn(b, in+"/p50", result{measure: name + ": p50", unit: "ms", ours: took[pushes/2]})
			reportIn(b, in+"/p99", result{measure: name + ": p99", unit: "ms", ours: took[pushes*99/100], most: 5})
		}
	}
}

// viewAndTell watches a stream and tells when each frame has come.
func viewAndTell(b *testing.B, addr string, arrived chan time.Time) {
	b.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "GET /stream/session HTTP/1.1\r\nHost: x\r\n\r\n")
	go func() {
		in := bufio.NewReaderSize(conn, 64<<10)
		for awaitFrame(in) == nil {
			arrived <- time.Now()
		}
	}()
	time.Sleep(100 * time.Millisecond)
}

// waitAndTell takes each image with a request that waits for it.
func waitAndTell(b *testing.B, addr, session string, arrived chan time.Time) {
	b.Helper()
	c := dialClient(b, addr, session, frameSize, false)
	c.get = fmt.Appendf(nil, "GET /image/%s?wait=60 HTTP/1.1\r\nHost: x\r\n\r\n", session)
	go func() {
		for c.pop() == nil {
			arrived <- time.Now()
		}
	}()
	time.Sleep(100 * time.Millisecond)
}

// BenchmarkIngest compares 1,000 frames in one POST with as many POSTs.
func BenchmarkIngest(b *testing.B) {
	const frames = 1000
	jpeg := jpegOfSize(frameSize)
	for _, engine := range []string{"redis", "embedded"} {
		addr := ""
		if engine == "redis" {
			addr = benchRedis(b).Addr
		}
		one, many := startChild(b, "ours", addr), startChild(b, "ours", addr)
		for form, header := range map[string]string{"multipart": fmt.Sprintf("--b\r\nContent-Length: %d\r\n\r\n", len(jpeg)), "JPEGs": ""} {
			body := bytes.Repeat(append([]byte(header), jpeg...), frames)
			c, d := dialClient(b, one.addr, "x", 1, false), dialClient(b, many.addr, "many", 1, false)
			c.post = fmt.Appendf(nil, "POST /stream/one HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			d.post = fmt.Appendf(nil, "POST /image/many HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(jpeg), jpeg)
			var r rounds
			r.add(5, func() []float64 {
				return timeAndCPU(b, one, frames, func() error { _, err := c.exchange(c.post); return err })
			}, func() []float64 {
				return timeAndCPU(b, many, frames, func() error {
					for range frames {
						if err := d.push(); err != nil {
							return err
						}
					}
					return nil
				})
			})
			in := form + "/" + engine
			name := fmt.Sprintf("1,000 frames of 40 KB in one POST against 1,000 POSTs, %s, %s", form, engine)
			reportIn(b, in+"/rate", r.fill(0, result{measure: name, unit: "frames/s"}))
			reportIn(b, in+"/cpu", r.fill(1, result{measure: name + ": CPU per frame", unit: "us"}))
		}
	}
}

// jpegOfSize returns a whole JPEG, filled up by a comment.
func jpegOfSize(size int) []byte {
	jpeg := numberedJPEG(1, 320, 240)
	comment := make([]byte, size-len(jpeg))
	copy(comment, []byte{0xff, 0xfe, byte((len(comment) - 2) >> 8), byte(len(comment) - 2)})
	return slices.Concat(jpeg[:2], comment, jpeg[2:])
}

// timeAndCPU returns frames per second, and the server's CPU time for each in us;
// then it empties the queues.
func timeAndCPU(b *testing.B, c *child, frames int, send func() error) []float64 {
	b.Helper()
	cpu, start := c.cpu(b), time.Now()
	if err := send(); err != nil {
		b.Fatal(err)
	}
	took := time.Since(start)
	cpu = c.cpu(b) - cpu
	for _, session := range []string{"one", "many"} {
		drain := dialClient(b, c.addr, session, frameSize, false)
		for n := 1; n > 0; {
			var err error
			if n, err = drain.exchange([]byte("GET /image/" + session + "?nodata=204 HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
				n = 0 // 204: it is empty
			}
		}
	}
	return []float64{float64(frames) / took.Seconds(), cpu / float64(frames)}
}

// BenchmarkAgainstBase compares pushes and pops with those of an earlier revision,
// which BENCH_BASE names.
func BenchmarkAgainstBase(b *testing.B) {
	base := os.Getenv("BENCH_BASE")
	if base == "" {
		b.Skip("BENCH_BASE names no revision to compare with")
	}
	now, before := buildRevision(b, ""), buildRevision(b, base)
	for _, engine := range []string{"redis", "embedded"} {
		side := func(binary string) func() []float64 {
			if engine == "embedded" {
				return load16(b, launch(b, exec.Command(binary), freePort(), "", "REDIS_HOST="), nil)
			}
			opt := benchRedis(b)
			rdb := newRedisClient(opt)
			b.Cleanup(func() { rdb.Close() })
			return load16(b, launch(b, exec.Command(binary), freePort(), "", "REDIS_HOST="+opt.Addr), rdb)
		}
		var r rounds
		r.add(9, side(now), side(before))
		name := fmt.Sprintf("HTTP push + pop against %s, %s", base, engine)
		reportIn(b, engine+"/requests", r.fill(0, result{measure: name, unit: "req/s", least: 0.95}))
		reportIn(b, engine+"/cpu", r.fill(1, result{measure: name + ": CPU per request", unit: "us", most: 1.05}))
	}
}

// buildRevision builds the program as it was at a revision, or as it is.
func buildRevision(b *testing.B, revision string) string {
	b.Helper()
	dir, source := b.TempDir(), "."
	if revision != "" {
		source = filepath.Join(dir, "source")
		if err := os.Mkdir(source, 0o700); err != nil {
			b.Fatal(err)
		}
		command(b, ".", "sh", "-c", `git archive "$0" | tar -x -C "$1"`, revision, source)
	}
	binary := filepath.Join(dir, "image-streamer")
	command(b, source, "go", "build", "-o", binary, ".")
	return binary
}

func command(b *testing.B, dir, name string, args ...string) {
	b.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
}
