package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// painter is how a viewer cuts a stream into the pictures that it paints.
type painter func(contentType string, body io.Reader, paint func(image string)) error

// paintByLength does it as Mainsail does: a picture begins at its first two bytes,
// has the length that its head says, and is painted at the first byte behind it.
func paintByLength(_ string, body io.Reader, paint func(string)) error {
	var head, image []byte
	length := 0 // 0: the head is being read
	chunk := make([]byte, 64<<10)
	for {
		n, err := body.Read(chunk)
		for i, b := range chunk[:n] {
			if i+1 < n && b == 0xff && chunk[i+1] == 0xd8 {
				if length = lengthOf(string(head)); length < 0 {
					return fmt.Errorf("no length in %q", head)
				}
				image = image[:0]
			}
			switch {
			case length == 0:
				head = append(head, b)
			case len(image) < length:
				image = append(image, b)
			default:
				paint(string(image))
				length, head = 0, nil
			}
		}
		if err != nil {
			return err
		}
	}
}

func lengthOf(head string) int {
	for line := range strings.SplitSeq(head, "\n") {
		if name, value, _ := strings.Cut(line, ":"); strings.EqualFold(name, "content-length") {
			if n, err := strconv.Atoi(strings.TrimSpace(value)); err == nil {
				return n
			}
		}
	}
	return -1
}

var boundaryForm = regexp.MustCompile(`boundary=([^;]+)`)

// paintByBoundary does it as Fluidd does: a picture is what is between an empty
// line and the next boundary, taken as it stands in the header.
func paintByBoundary(contentType string, body io.Reader, paint func(string)) error {
	found := boundaryForm.FindStringSubmatch(contentType)
	if found == nil || !strings.Contains(contentType, "multipart") {
		return fmt.Errorf("no boundary in %q", contentType)
	}
	mark := []byte("--" + found[1])
	var held []byte
	chunk := make([]byte, 8<<10)
	for {
		n, err := body.Read(chunk)
		held = append(held, chunk[:n]...)
		for {
			_, part, ok := bytes.Cut(held, mark)
			end := bytes.Index(part, mark)
			if !ok || end < 0 {
				break
			}
			if _, image, ok := bytes.Cut(part[:end], []byte("\r\n\r\n")); ok {
				paint(strings.TrimSuffix(string(image), "\r\n")) // decoders pass over it
			}
			held = part[end:]
		}
		if err != nil {
			return err
		}
	}
}

// Viewers paint an image soon after it was pushed, without another one behind it.
func TestViewersPaintAtOnce(t *testing.T) {
	t.Parallel()
	for name, painted := range map[string]painter{"Mainsail": paintByLength, "Fluidd": paintByBoundary} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onSites(t, func(t *testing.T, s *site) {
				session, took := newSession(), delays{}
				req := must(http.NewRequestWithContext(t.Context(), "GET", "http://"+s.addr+"/stream/"+session, nil))(t)
				resp := must(http.DefaultTransport.RoundTrip(req))(t)
				defer resp.Body.Close()
				pictures, ended := make(chan string, 100), make(chan error, 1)
				go func() {
					ended <- painted(resp.Header.Get("Content-Type"), resp.Body, func(image string) { pictures <- image })
				}()
				want := func(begun time.Time, image string) {
					t.Helper()
					late := time.After(5 * time.Second)
					for {
						select {
						case got := <-pictures:
							if got == image {
								took = append(took, time.Since(begun))
								return
							}
						case err := <-ended:
							t.Fatalf("the stream ended: %v", err)
						case <-late:
							t.Fatalf("%d bytes were not painted", len(image))
						}
					}
				}
				want(time.Now(), noDataShot())
				for _, size := range []int{100, 3900, 4000, 4096, 8100, 40 << 10, 65500, 300 << 10, 700 << 10, 5} {
					image := "\xff\xd8" + strings.Repeat("\xff\x00\r\n", size/4)
					begun := time.Now()
					s.push(t, session, image)
					want(begun, image)
				}
				took.want(t, "push to painted", atOnce, 500*time.Millisecond)
			})
		})
	}
}

// telltale is the program as a process of its own, which tells about itself.
type telltale struct {
	site
	side string
}

// startTelltale starts this test binary once more as a server; see BENCH_SERVER.
func startTelltale(t *testing.T, vars ...string) *telltale {
	t.Helper()
	port, side := freePort(), freePort()
	cmd := exec.Command(must(os.Executable())(t))
	cmd.Dir = t.TempDir()
	cmd.Env = append(vars, "BENCH_SERVER=ours", "BENCH_SIDE_PORT="+side, "PORT="+port, "LOG_LEVEL=warn", "NODATA_HEIGHT=90")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	p := &telltale{site{addr: "127.0.0.1:" + port}, "127.0.0.1:" + side}
	for _, addr := range []string{p.addr, p.side} {
		eventually(t, func() bool {
			conn, err := net.Dial("tcp", addr)
			if err == nil {
				conn.Close()
			}
			return err == nil
		})
	}
	return p
}

// profile returns a profile of the process as text.
func (p *telltale) profile(t testing.TB, name string) string {
	t.Helper()
	resp := must(http.Get("http://" + p.side + "/debug/pprof/" + name))(t)
	defer resp.Body.Close()
	return string(must(io.ReadAll(resp.Body))(t))
}

var (
	goroutineCount = regexp.MustCompile(`goroutine profile: total (\d+)`)
	watchCount     = regexp.MustCompile(`(?m)^(\d+) @ [^\n]*\n(?:#[^\n]*\n)*?#[^\n]*\(\*viewer\)\.watch`)
	heapSize       = regexp.MustCompile(`(?m)^# HeapAlloc = (\d+)`)
)

// sum adds up the numbers that a form finds in a text.
func sum(form *regexp.Regexp, text string) (n int) {
	for _, found := range form.FindAllStringSubmatch(text, -1) {
		m, _ := strconv.Atoi(found[1])
		n += m
	}
	return n
}

func (p *telltale) goroutines(t testing.TB) int {
	return sum(goroutineCount, p.profile(t, "goroutine?debug=1"))
}

func (p *telltale) viewers(t testing.TB) int {
	return sum(watchCount, p.profile(t, "goroutine?debug=1"))
}

// heap is what is in use after a collection, in bytes.
func (p *telltale) heap(t testing.TB) int { return sum(heapSize, p.profile(t, "heap?gc=1&debug=1")) }

// follower is a viewer of labelled images that notes which it saw.
type follower struct {
	*screen
	last  atomic.Int64 // of those seen
	seen  []int        // complete when it has ended
	ended chan error
}

// follow watches a session in the background, up to an image.
func (s *site) follow(t testing.TB, session string, last int) *follower {
	t.Helper()
	f := &follower{screen: s.watch(t, "/stream/"+session), ended: make(chan error, 1)}
	f.conn.SetDeadline(time.Now().Add(time.Minute))
	f.last.Store(-1)
	go func() {
		f.ended <- f.run(int64(last))
		f.conn.Close()
	}()
	return f
}

// run reads the stream. What is shown again is passed over.
func (f *follower) run(last int64) error {
	for f.last.Load() != last {
		s, err := f.next()
		if err != nil {
			return err
		}
		if s.isNoData() {
			continue
		}
		label, whole := labelOf([]byte(s.image))
		n, err := strconv.Atoi(label)
		if err != nil || !whole {
			return fmt.Errorf("image %q is damaged", label)
		}
		if int64(n) != f.last.Load() {
			f.seen = append(f.seen, n)
			f.last.Store(int64(n))
		}
	}
	return nil
}

// want waits until the last image was seen, and checks that at least so many were,
// in order.
func (f *follower) want(t testing.TB, least int) {
	t.Helper()
	if err := <-f.ended; err != nil {
		t.Errorf("a viewer saw %d and then %v", f.seen, err)
	}
	if len(f.seen) < least || !slices.IsSorted(f.seen) {
		t.Errorf("a viewer saw %d, want %d images in order", f.seen, least)
	}
}

// pushEvery pushes labelled images at a pace, each when all followers have seen the
// one before: so a busy machine makes nobody miss any, but the server can.
func (s *site) pushEvery(t testing.TB, interval time.Duration, session string, count, size int, followers ...*follower) {
	t.Helper()
	for i := range count {
		s.do(t, "POST", "/image/"+session, bytes.NewReader(labelled(strconv.Itoa(i), size))).wantStatus(t, 200)
		time.Sleep(interval)
		deadline := time.Now().Add(3 * time.Second)
		for _, f := range followers {
			for f.last.Load() < int64(i) {
				if time.Now().After(deadline) {
					t.Fatalf("a viewer did not see image %d within 3 s: its last was %d", i, f.last.Load())
				}
				time.Sleep(time.Millisecond)
			}
		}
	}
}

// A viewer that reads nothing takes nothing from the others, is cut off, and
// leaves nothing behind.
func TestStalledViewer(t *testing.T) {
	t.Parallel()
	p := startTelltale(t, "EXPIRE=3")
	const viewers, images = 50, 90
	session := newSession()
	p.pushEvery(t, time.Millisecond, newSession(), 5, 40<<10) // pools are filled
	goroutines, heap := p.goroutines(t), p.heap(t)

	stalled := p.dial(t)
	stalled.SetReadBuffer(4 << 10)
	fmt.Fprintf(stalled, "GET /stream/%s HTTP/1.1\r\nHost: x\r\n\r\n", session)
	var followers []*follower
	for range viewers {
		followers = append(followers, p.follow(t, session, images-1))
	}
	begun := time.Now()
	p.pushEvery(t, time.Second/30, session, images, 40<<10, followers...)
	for _, f := range followers {
		f.want(t, images)
	}
	all := time.Since(begun)
	eventually(t, func() bool { return p.viewers(t) == 0 })
	cut := time.Since(begun)
	t.Logf("%d images to %d viewers took %s, the stalled one was cut off by %s", images, viewers, all, cut)
	if cut < viewerLimit || cut > max(viewerLimit, all)+3*time.Second {
		t.Errorf("the stalled viewer was cut off by %s, want about %s", cut, viewerLimit)
	}

	most := heap + 4<<20
	eventually(t, func() bool { return p.goroutines(t) <= goroutines+3 && p.heap(t) <= most })
	t.Logf("goroutines: %d, then %d; heap: %d kB, then %d kB", goroutines, p.goroutines(t), heap>>10, p.heap(t)>>10)
}

// A viewer sees every image although consumers take them at the same time: each
// of the three at a server of its own.
func TestViewerBesideConsumers(t *testing.T) {
	t.Parallel()
	addr := useRedis(t).addr
	in, out, show := startServer(t, "", "REDIS_HOST="+addr), startServer(t, "", "REDIS_HOST="+addr), startServer(t, "", "REDIS_HOST="+addr)
	const images = 100
	session := newSession()
	f := show.follow(t, session, images-1)
	var consuming sync.WaitGroup
	var over atomic.Bool
	taken := make(chan string, 2*images)
	for range 2 {
		consuming.Go(func() {
			for !over.Load() && t.Context().Err() == nil {
				r := <-out.later(t, "/image/"+session+"?wait=0.5")
				if r.err == nil && r.Header.Get("X-No-Data") == "" {
					body, _ := io.ReadAll(r.Body)
					label, _ := labelOf(body)
					taken <- label
				}
			}
		})
	}
	in.pushEvery(t, 20*time.Millisecond, session, images, 40<<10, f)
	f.want(t, images)
	over.Store(true)
	consuming.Wait()
	close(taken)
	seen := map[string]int{}
	for label := range taken {
		seen[label]++
	}
	if len(seen) != images || in.count(t, session) > 0 {
		t.Errorf("consumers got %d different images and left %d, want %d and none", len(seen), in.count(t, session), images)
	}
}
