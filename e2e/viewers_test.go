package e2e

import (
	"bytes"
	"fmt"
	"image/jpeg"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queuetest"
	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// painter is how a program cuts a stream into the images that it paints.
type painter func(contentType string, body io.Reader, paint func(image string)) error

// paintByLength paints as Mainsail does: an image begins at its first two bytes, has the length that its head says,
// and is painted at the first byte after it.
func paintByLength(_ string, body io.Reader, paint func(string)) error {
	var head, image []byte
	length := 0 // 0: the head is being read
	chunk := make([]byte, 64<<10)
	for {
		n, err := body.Read(chunk)
		for i, b := range chunk[:n] {
			if i+1 < n && b == 0xff && chunk[i+1] == 0xd8 {
				if length = lengthIn(string(head)); length < 0 {
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

// lengthIn returns the Content-Length of a part's head, or -1.
func lengthIn(head string) int {
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

// paintByBoundary paints as Fluidd does: an image is what stands between an empty line and the next boundary, and the
// boundary is taken as it stands in the header.
func paintByBoundary(contentType string, body io.Reader, paint func(string)) error {
	found := boundaryForm.FindStringSubmatch(contentType)
	if found == nil || !strings.Contains(contentType, "multipart") {
		return fmt.Errorf("no boundary in %q", contentType)
	}
	mark := []byte("--" + found[1])
	var pending []byte
	chunk := make([]byte, 8<<10)
	for {
		n, err := body.Read(chunk)
		pending = append(pending, chunk[:n]...)
		for {
			_, part, ok := bytes.Cut(pending, mark)
			end := bytes.Index(part, mark)
			if !ok || end < 0 {
				break
			}
			if _, image, ok := bytes.Cut(part[:end], []byte("\r\n\r\n")); ok {
				paint(strings.TrimSuffix(string(image), "\r\n")) // image decoders ignore these two bytes
			}
			pending = part[end:]
		}
		if err != nil {
			return err
		}
	}
}

// screen is what a painter has painted.
type screen struct {
	painted chan painted
	ended   chan error
}

type painted struct {
	image string
	early bool // before the head of any later part had come
}

// openScreen paints the stream of a session in the background.
func openScreen(t *testing.T, p *process, id string, paint painter) *screen {
	t.Helper()
	req := p.NewRequest(t, http.MethodGet, "/stream/"+id, nil)
	resp := testkit.Must(testkit.Client.Transport.RoundTrip(req))(t)
	t.Cleanup(func() { resp.Body.Close() })
	s := &screen{make(chan painted, 1000), make(chan error, 1)}
	go func() {
		var read bytes.Buffer
		body := io.TeeReader(resp.Body, &read)
		s.ended <- paint(resp.Header.Get("Content-Type"), body, func(image string) {
			_, behind, _ := strings.Cut(read.String(), image)
			s.painted <- painted{image, !strings.Contains(behind, "Content-Length")}
		})
	}()
	return s
}

// await waits until an image is painted that fits, and reports whether it was early.
func (s *screen) await(t *testing.T, fits func(image string) bool) (early bool) {
	t.Helper()
	limit := time.After(hangLimit)
	for {
		select {
		case got := <-s.painted:
			if fits(got.image) {
				return got.early
			}
		case err := <-s.ended:
			t.Fatalf("the stream ended: %v", err)
		case <-limit:
			t.Fatalf("an image was not painted within %s", hangLimit)
		}
	}
}

// isNoData reports whether an image is the No Data image of a server with NODATA_HEIGHT=90: a JPEG with a dark grey
// corner.
func isNoData(image string) bool {
	picture, err := jpeg.Decode(strings.NewReader(image))
	if err != nil || picture.Bounds().Dx() != 160 || picture.Bounds().Dy() != 90 {
		return false
	}
	r, g, b, _ := picture.At(4, 4).RGBA()
	return r>>12 == 3 && g == r && b == r
}

// wantEarly checks that an image is painted early. The server repeats the last part after a second, so on a busy
// machine the next part may have come by the time the image is painted. Therefore paint is called until it is early.
func wantEarly(t *testing.T, what string, paint func() (early bool)) {
	t.Helper()
	for deadline := time.Now().Add(hangLimit / 2); !paint(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: painted only when the next part has come", what)
		}
	}
}

// Programs paint an image as soon as it was pushed, and do not need the next part for that.
func TestViewersPaintAtOnce(t *testing.T) {
	t.Parallel()
	for name, paint := range map[string]painter{"Mainsail": paintByLength, "Fluidd": paintByBoundary} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onQueues(t, func(t *testing.T, p *process) {
				wantEarly(t, "No Data", func() bool { return openScreen(t, p, session.New(), paint).await(t, isNoData) })
				id, n := session.New(), 0
				s := openScreen(t, p, id, paint)
				push := func(size int) (early bool) {
					n++
					image := fmt.Sprintf("\xff\xd8%03d", n) + strings.Repeat("\xff\x00\r\n", size/4)
					image = image[:size]
					p.Do(t, "POST", "/image/"+id, strings.NewReader(image)).WantStatus(t, 200)
					return s.await(t, func(got string) bool { return got == image })
				}
				for _, size := range []int{100, 3900, 4000, 4096, 8100, 40 << 10, 65500, 300 << 10, 700 << 10, 5} {
					wantEarly(t, fmt.Sprint(size, " bytes"), func() bool { return push(size) })
				}
			})
		})
	}
}

// follower is a viewer of labelled images that notes which ones it saw.
type follower struct {
	*relaytest.Viewer
	last  atomic.Int64 // the last image seen
	seen  []int        // complete when it has ended
	ended chan error
}

// follow watches a session in the background, up to an image.
func (p *process) follow(t testing.TB, id string, last int) *follower {
	t.Helper()
	f := &follower{Viewer: p.Watch(t, "/stream/"+id), ended: make(chan error, 1)}
	f.Conn.SetDeadline(time.Now().Add(2 * hangLimit))
	f.last.Store(-1)
	go func() {
		f.ended <- f.run(int64(last))
		f.Conn.Close()
	}()
	return f
}

// run reads the stream, and ignores images that are shown again.
func (f *follower) run(last int64) error {
	for f.last.Load() != last {
		frame, err := f.Next()
		if err != nil {
			return err
		}
		if isNoData(frame.Image) {
			continue
		}
		label, whole := queuetest.LabelOf([]byte(frame.Image))
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

// want waits until the last image was seen, and checks that all images were seen, in order.
func (f *follower) want(t testing.TB, images int) {
	t.Helper()
	if err := <-f.ended; err != nil {
		t.Errorf("a viewer saw %d and then %v", f.seen, err)
	}
	if len(f.seen) != images || !slices.IsSorted(f.seen) {
		t.Errorf("a viewer saw %d, want %d images in order", f.seen, images)
	}
}

// pushEvery pushes labelled images, with an interval at least between them, and each one only when all followers have
// seen the one before. So a follower that misses an image missed it because of the server, not of a busy machine.
func (p *process) pushEvery(
	t testing.TB, interval time.Duration, id string, count, size int, followers ...*follower,
) {
	t.Helper()
	for i := range count {
		image := queuetest.Labelled(strconv.Itoa(i), size)
		p.Do(t, "POST", "/image/"+id, bytes.NewReader(image)).WantStatus(t, 200)
		time.Sleep(interval)
		deadline := time.Now().Add(hangLimit)
		for _, f := range followers {
			for f.last.Load() < int64(i) {
				if time.Now().After(deadline) {
					t.Fatalf("a viewer did not see image %d: its last was %d", i, f.last.Load())
				}
				time.Sleep(time.Millisecond)
			}
		}
	}
}

// A viewer that reads nothing takes nothing from the others, is cut off, and leaves nothing behind.
func TestStalledViewer(t *testing.T) {
	t.Parallel()
	p := startServer(t, "EXPIRE=15", "GOGC=10") // little garbage, so that the size of the heap shows what is in use
	goroutines := func() float64 { return p.figure(t, "go_goroutines") }
	heap := func() float64 { return p.figure(t, "go_memstats_heap_alloc_bytes") }
	const viewers, images = 50, 90
	id := session.New()
	p.pushEvery(t, time.Millisecond, session.New(), 5, 40<<10) // fills the pools of buffers
	goroutinesBefore, heapBefore := goroutines(), heap()

	stalled := p.Dial(t)
	stalled.SetReadBuffer(4 << 10)
	fmt.Fprintf(stalled, "GET /stream/%s HTTP/1.1\r\nHost: x\r\n\r\n", id)
	var followers []*follower
	for range viewers {
		followers = append(followers, p.follow(t, id, images-1))
	}
	begun := time.Now()
	p.pushEvery(t, time.Second/30, id, images, 40<<10, followers...)
	for _, f := range followers {
		f.want(t, images)
	}
	all := time.Since(begun)
	eventually(t, func() bool { return p.Scrape(t).Value(t, "viewers") == 0 })
	cut := time.Since(begun)
	t.Logf("%d images to %d viewers took %s, the stalled one was cut off by %s", images, viewers, all, cut)
	const frameTimeout = 10 * time.Second
	if cut < frameTimeout {
		t.Errorf("the stalled viewer was cut off by %s, want about %s", cut, frameTimeout)
	}

	eventually(t, func() bool { return goroutines() <= goroutinesBefore+3 && heap() <= heapBefore+4<<20 })
	t.Logf("goroutines: %g, then %g; heap: %g kB, then %g kB",
		goroutinesBefore, goroutines(), heapBefore/1e3, heap()/1e3)
}

// A viewer sees every image although consumers pop them at the same time. Producer, viewer and consumers each use a
// server of their own.
func TestViewerBesideConsumers(t *testing.T) {
	t.Parallel()
	redisHost := "REDIS_HOST=" + redistest.Use(t).Addr
	in, out, show := startServer(t, redisHost), startServer(t, redisHost), startServer(t, redisHost)
	const images = 100
	id := session.New()
	f := show.follow(t, id, images-1)
	var consuming sync.WaitGroup
	var over atomic.Bool
	popped := make(chan string, 2*images)
	for range 2 {
		consuming.Go(func() {
			for !over.Load() && t.Context().Err() == nil {
				if image := pop(out.URL("/image/" + id + "?wait=0.5")); image != nil {
					label, _ := queuetest.LabelOf(image)
					popped <- label
				}
			}
		})
	}
	in.pushEvery(t, 20*time.Millisecond, id, images, 40<<10, f)
	f.want(t, images)
	over.Store(true)
	consuming.Wait()
	close(popped)
	seen := map[string]int{}
	for label := range popped {
		seen[label]++
	}
	if left := in.StatsLen(t, id); len(seen) != images || left > 0 {
		t.Errorf("consumers got %d different images and left %d, want %d and none", len(seen), left, images)
	}
}

// pop pops an image, or returns nil if there is none.
func pop(url string) []byte {
	resp, err := testkit.Client.Get(url)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.Header.Get("X-No-Data") != "" {
		return nil
	}
	return body
}

// redisCalls returns how often Redis ran a command.
func redisCalls(t testing.TB, rdb *redis.Client, command string) (calls int) {
	t.Helper()
	stats := testkit.Must(rdb.Info(t.Context(), "commandstats").Result())(t)
	_, rest, _ := strings.Cut(stats, "cmdstat_"+command+":calls=")
	fmt.Sscan(rest, &calls)
	return calls
}

// A server reads an image once for all its viewers, and reads none for nobody.
func TestRedisIsReadOnceForAllViewers(t *testing.T) {
	t.Parallel()
	server := redistest.Own(t)
	rdb := server.Client(t)
	p := startServer(t, "REDIS_HOST="+server.Addr)
	const viewers, images = 20, 50
	id := session.New()
	var followers []*follower
	for range viewers {
		followers = append(followers, p.follow(t, id, images-1))
	}
	p.pushEvery(t, 20*time.Millisecond, id, images, 20<<10, followers...)
	for _, f := range followers {
		f.want(t, images)
	}
	if n := redisCalls(t, rdb, "get"); n < images || n > images+5 {
		t.Errorf("%d viewers, %d images: %d were read from Redis", viewers, images, n)
	}
	testkit.Eventually(t, func() bool { return len(rdb.PubSubChannels(t.Context(), "*").Val()) == 0 })
	before := redisCalls(t, rdb, "get")
	p.pushEvery(t, time.Millisecond, id, images, 20<<10)
	time.Sleep(50 * time.Millisecond)
	if n := redisCalls(t, rdb, "get") - before; n > 0 {
		t.Errorf("no viewers: %d of %d images were read from Redis", n, images)
	}
}
