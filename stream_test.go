package main

import (
	"bufio"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// wantPart reads a part of a stream byte by byte: the newest image of a session, and the delimiter behind it.
func (s *testServer) wantPart(t testing.TB, in io.Reader, id, image string) {
	t.Helper()
	timestamp := s.Do(t, http.MethodHead, "/snapshot/"+id, nil).Header.Get("X-Timestamp")
	want := fmt.Sprintf("Content-Type: image/jpeg\r\nContent-Length: %d\r\nX-Timestamp: %s\r\n\r\n%s\r\n%s",
		len(image), timestamp, image, relaytest.OpeningLine)
	got := make([]byte, len(want))
	if n, err := io.ReadFull(in, got); err != nil || string(got) != want {
		t.Fatalf("got %q, error %v, want %q", got[:n], err, want)
	}
}

// readHead reads the head of an answer and returns its lines.
func readHead(t testing.TB, in *bufio.Reader) (lines []string) {
	t.Helper()
	for {
		line := testkit.Must(in.ReadString('\n'))(t)
		if line == "\r\n" {
			return lines
		}
		lines = append(lines, strings.TrimSuffix(line, "\r\n"))
	}
}

// An <img> or a window of Chromium gets the head of a part with the part before. No one else does.
func TestChromiumView(t *testing.T) {
	t.Parallel()
	const (
		chromium = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36"
		firefox  = "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0"
		img      = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
		window   = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"
	)
	for _, row := range []struct {
		userAgent, accept string
		want              bool
	}{
		{chromium, img, true},
		{chromium, window, true},
		{chromium, "*/*", false}, // a script, which may need the length of each part
		{chromium, "", false},
		{firefox, img, false},
		{firefox, window, false},
		{"", img, false},
		{"Lavf/61.7.100", "*/*", false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/stream/x", nil)
		r.Header.Set("User-Agent", row.userAgent)
		r.Header.Set("Accept", row.accept)
		if got := isChromiumView(r); got != row.want {
			t.Errorf("User-Agent %q, Accept %q: got %t, want %t", row.userAgent, row.accept, got, row.want)
		}
	}
}

// The head of a stream, line by line: what viewers, caches and proxies learn.
func TestStreamHead(t *testing.T) {
	t.Parallel()
	own := []string{
		"Cache-Control: no-store, no-cache, must-revalidate, proxy-revalidate, pre-check=0, post-check=0, max-age=0",
		"Connection: close",
		"Content-Type: multipart/x-mixed-replace;boundary=boundarydonotcross",
		"Cross-Origin-Resource-Policy: cross-origin",
		"Date: now",
		"Expires: Mon, 3 Jan 2000 12:34:56 GMT",
		"Pragma: no-cache",
		"X-Accel-Buffering: no",
	}
	date := regexp.MustCompile(`^Date: .+ GMT$`)
	onNotified(t, func(t *testing.T, s *testServer) {
		want := slices.Clone(own)
		for name, values := range s.Get(t, "/healthz").Header { // what every answer has
			if !slices.Contains([]string{"Cache-Control", "Content-Length", "Content-Type", "Date"}, name) {
				want = append(want, name+": "+values[0])
			}
		}
		slices.Sort(want)
		id := session.New()
		s.PushImage(t, id, "image")
		for _, row := range []struct{ request, status string }{
			{"GET /stream/%s HTTP/1.1", "HTTP/1.1 200 OK"},
			{"GET /stream/%s?action=stream&1595805826022 HTTP/1.1\r\nConnection: keep-alive", "HTTP/1.1 200 OK"},
			{"GET /stream/%s?fps=5 HTTP/1.0", "HTTP/1.0 200 OK"},
			{"GET /stream/%s HTTP/1.0\r\nConnection: keep-alive", "HTTP/1.0 200 OK"},
			{"HEAD /stream/%s HTTP/1.1", "HTTP/1.1 200 OK"},
			{"HEAD /stream/%s?action=stream HTTP/1.0", "HTTP/1.0 200 OK"},
		} {
			conn := s.Dial(t)
			fmt.Fprintf(conn, row.request+"\r\nHost: x\r\n\r\n", id)
			in := bufio.NewReader(conn)
			lines := readHead(t, in)
			for i, line := range lines {
				lines[i] = date.ReplaceAllString(line, "Date: now")
			}
			slices.Sort(lines[1:])
			if lines[0] != row.status || !slices.Equal(lines[1:], want) {
				t.Errorf("%s: got head %q, want %q and %q", row.request, lines, row.status, want)
			}
			if strings.HasPrefix(row.request, "HEAD") {
				if rest := testkit.Must(io.ReadAll(in))(t); len(rest) > 0 {
					t.Errorf("%s: got body %q", row.request, rest)
				}
			} else {
				if line := testkit.Must(in.ReadString('\n'))(t); line != relaytest.OpeningLine {
					t.Errorf("%s: begins with %q, want %q", row.request, line, relaytest.OpeningLine)
				}
				s.wantPart(t, in, id, "image")
			}
			conn.Close()
		}
	})
}

// The body of a stream, byte by byte: from the newest image on, each with the delimiter behind it, and the last one
// again when a poll period passes without another one. Nothing is taken.
func TestStreamBody(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		id, latency := session.New(), newLatencies(t)
		newest := "\xff\xd8 \r\n\r\n--boundarydonotcross\r\n\x00"
		for b := range 256 {
			newest += string([]byte{byte(b)})
		}
		s.PushImage(t, id, "older")
		s.PushImage(t, id, newest)
		var in *bufio.Reader
		wantTwice := func(begin func(), image string) {
			t.Helper()
			begun := time.Now()
			latency.begin()
			begin()
			s.wantPart(t, in, id, image)
			s.wantPart(t, in, id, image)
			took, most := time.Since(begun), 2*pollPeriod
			if took < pollPeriod || latency.elapsed() > most {
				t.Errorf("shown again after %s, want about %s", took, pollPeriod)
			}
		}
		wantTwice(func() {
			in = bufio.NewReader(s.Hold(t, "/stream/"+id))
			readHead(t, in)
			if line := testkit.Must(in.ReadString('\n'))(t); line != relaytest.OpeningLine {
				t.Errorf("begins with %q, want %q", line, relaytest.OpeningLine)
			}
		}, newest)
		wantTwice(func() { s.PushImage(t, id, "next") }, "next")
		if n := s.Len(t, id); n != 3 {
			t.Errorf("%d images are left, want 3", n)
		}
	}, "MIMETYPE=image/jpg") // which viewers call image/jpeg
}

// Without an image a stream shows No Data as JPEG, whatever the type of the images. It shows No Data again when the
// newest image has expired, also to a viewer that comes just then.
func TestStreamNoData(t *testing.T) {
	t.Parallel()
	onPrograms(t, func(t *testing.T, p *program) {
		const ttl = time.Second
		id, latency := session.New(), newLatencies(t)
		v := p.Watch(t, "/stream/"+id+"?nodata=404")
		noData := testkit.Must(v.Next())(t)
		picture := testkit.Must(jpeg.Decode(strings.NewReader(noData.Image)))(t)
		if size := picture.Bounds().Size(); size != image.Pt(100, 50) || noData.Type != "image/jpeg" {
			t.Errorf("got %s of %v, want a JPEG of 100 x 50", noData.Type, size)
		}
		frames := v.All()
		shown, begun := noData, time.Now()
		for shown.Image != "image" {
			begun = time.Now()
			p.Do(t, "POST", "/image/"+id, strings.NewReader("image")).WantStatus(t, 200)
			shown = <-frames
			for shown.Image == noData.Image && time.Since(begun) < ttl { // on a busy machine the image may expire unseen
				shown = <-frames
			}
		}
		if shown.Type != "image/png" {
			t.Errorf("got an image of type %s, want image/png", shown.Type)
		}
		earliest, latest := begun.Add(ttl), shown.At.Add(ttl) // when the image expires
		time.Sleep(time.Until(latest))
		latency.begin()
		for i, frames := range []<-chan relaytest.Frame{frames, p.Watch(t, "/stream/"+id).All()} {
			f := <-frames
			for i == 0 && f.Image == "image" && latency.elapsed() < pollPeriod/2 { // sent before it expired
				f = <-frames
			}
			if late := latency.elapsed(); f.Image != noData.Image || late > 2*pollPeriod {
				t.Errorf("viewer %d, %s after expiry: got %.20q, want No Data", i, late, f.Image)
			}
			again := <-frames
			gap := again.At.Sub(earliest)
			if again.Image != noData.Image || gap < pollPeriod || latency.elapsed() > 4*pollPeriod {
				t.Errorf("viewer %d, %s after expiry: got %.20q, want No Data again after a second",
					i, gap, again.Image)
			}
		}
	}, "EXPIRE=1", "NODATA_HEIGHT=50", "NODATA_ASPECT_RATIO=1/2", "MIMETYPE=image/png")
}

// fps bounds what one viewer gets, and no other viewer. The newest image comes last.
func TestStreamFPS(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		const fps, images = 10, 40
		id, last := session.New(), fmt.Sprint("image ", images-1)
		bounded, free := s.Watch(t, "/stream/"+id+"?fps=10"), s.Watch(t, "/stream/"+id)
		testkit.Must(bounded.Next())(t)
		testkit.Must(free.Next())(t)
		frames := bounded.All()
		begun := time.Now()
		for i := range images {
			s.PushImage(t, id, fmt.Sprint("image ", i))
			free.Want(t, fmt.Sprint("image ", i))
			time.Sleep(20 * time.Millisecond)
		}
		got := 0
		for f := range frames {
			got++
			if f.Image != last {
				continue
			}
			if took := f.At.Sub(begun); got > int(took.Seconds()*fps)+2 {
				t.Errorf("got %d frames in %s, want at most %d a second", got, took, fps)
			}
			return
		}
		t.Errorf("the stream ended after %d frames, without the newest image", got)
	})
}

// A session that Redis forgot begins at sequence 1 again. Its next image is shown at once, and a reader whose place is
// ahead gets it too.
func TestSequenceStartsAgain(t *testing.T) {
	t.Parallel()
	r := redistest.Own(t)
	rdb, cfg := r.Client(t), testConfig(t)
	s := newTestServer(t, cfg, harnessOn(t, cfg, r), withoutPoll)
	for _, images := range []int{1, 3} {
		id := session.New()
		v := s.Watch(t, "/stream/"+id)
		for i := range images {
			s.PushImage(t, id, fmt.Sprint("image ", i+1))
			v.Want(t, fmt.Sprint("image ", i+1))
		}
		testkit.Must(rdb.FlushAll(t.Context()).Result())(t) // no other test uses this Redis
		s.PushImage(t, id, "again")
		v.Want(t, "again")
		got := s.Get(t, "/image/"+id+"?after=3")
		if got.Text != "again" || got.Header.Get("X-Sequence") != "1" {
			t.Errorf("a reader that was ahead: got %.99q, X-Sequence %s", got.Text, got.Header.Get("X-Sequence"))
		}
	}
}

// Without its Redis a server refuses new viewers in time. A stream goes on: it repeats its image until that expires,
// then shows No Data, and new images when Redis is back.
func TestStreamWithoutRedis(t *testing.T) {
	t.Parallel()
	r := redistest.Own(t)
	const ttl = 5 * time.Second
	p := startServer(t, "", "REDIS_HOST="+r.Addr, "EXPIRE=5")
	id, latency := session.New(), newLatencies(t)
	v := p.Watch(t, "/stream/"+id)
	p.Do(t, "POST", "/image/"+id, strings.NewReader("image")).WantStatus(t, 200)
	latency.begin()
	v.Want(t, "image")
	testkit.NoError(t, r.Kill())

	var refused sync.WaitGroup
	stopwatch := testkit.StartStopwatch(t)
	for _, path := range []string{
		"/stream/%s", "/snapshot/%s", "/snapshot/%s?wait=9", "/snapshot/%s?wait=9&max_age=1", "/image/%s?wait=9",
		"/image/%s?after=0", "/image/%s?after=0&wait=9", "/stream/%s?action=snapshot&nodata=404",
	} {
		refused.Go(func() {
			got := p.Get(t, fmt.Sprintf(path, session.New()))
			took, retry := stopwatch.Elapsed(), got.Header.Get("Retry-After")
			if got.StatusCode != 503 || retry != "1" || took > 3500*time.Millisecond {
				t.Errorf("%s: got status %d, Retry-After %q after %s, want 503, 1 within 3 s",
					path, got.StatusCode, retry, took)
			}
		})
	}
	repeats := 0
	f := testkit.Must(v.Next())(t)
	for ; f.Image == "image"; f = testkit.Must(v.Next())(t) {
		repeats++
		if age := latency.elapsed(); age > ttl+pollPeriod/2 {
			t.Errorf("shown %s after it came, although it expires after %s", age, ttl)
		}
	}
	if !isNoData(f) || repeats == 0 {
		t.Errorf("got %d repeats and then %.20q, want some and then No Data", repeats, f.Image)
	}
	refused.Wait()

	testkit.NoError(t, r.Start())
	latency.begin()
	p.Do(t, "POST", "/image/"+id, strings.NewReader("another")).WantStatus(t, 200)
	v.Want(t, "another")
	if took := latency.elapsed(); took > 4*time.Second {
		t.Errorf("a new image was shown after %s, want at most 4 s", took)
	}
}
