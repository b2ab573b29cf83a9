package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// testUpload is an upload that nothing limits.
func testUpload(t testing.TB, buffer func(int) []byte) *upload {
	return &upload{uploads: newUploads(0), ctx: t.Context(), pace: imagePace(), buffer: buffer}
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
	got := s.raw(t, "POST /image/second HTTP/1.1\r\nHost: x\r\nContent-Length: 700\r\nExpect: 100-continue\r\n\r\n", false)
	got.wantStatus(t, 503) // and not 100: the image is not asked for
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

// turn is one who asks for bytes in TestUploadTurns.
type turn struct {
	*upload
	name string
	said chan string
}

func (u turn) ask(n int64) {
	go func() {
		if u.hold(n) == nil {
			u.said <- u.name
		} else {
			u.said <- u.name + " gives up"
		}
	}()
	synctest.Wait()
}

// Those who wait are served in turn, small ones too; who holds something goes before
// who holds nothing; who has waited 2 seconds for one image gives up, and what he
// held goes to the next.
func TestUploadTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		us, said := newUploads(10), make(chan string, 10)
		begin := func(name string) turn { return turn{&upload{uploads: us, ctx: t.Context()}, name, said} }
		want := func(want ...string) {
			t.Helper()
			synctest.Wait()
			var got []string
			for len(said) > 0 {
				got = append(got, <-said)
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		a, b, c, d, e := begin("a"), begin("b"), begin("c"), begin("d"), begin("e")
		a.ask(6)
		b.ask(3)
		want("a", "b")
		c.ask(8) // waits
		d.ask(1) // would fit, but waits behind it
		want()
		b.ask(4) // holds some
		want("b")
		time.Sleep(time.Second)
		b.ask(5)
		want()
		a.release()
		want("b")
		b.release()
		want("c", "d")
		time.Sleep(time.Hour)

		e.ask(99) // the most there can be
		time.Sleep(1500 * time.Millisecond)
		c.release()
		d.release()
		want("e")
		a.ask(1)
		time.Sleep(1900 * time.Millisecond)
		want()
		e.release()
		want("a")
		b.ask(9)
		want("b")
		a.ask(2) // it has 0.1 seconds left
		time.Sleep(99 * time.Millisecond)
		want()
		c.ask(1)
		time.Sleep(2 * time.Millisecond)
		want("a gives up", "c")
		b.ask(10)
		time.Sleep(2001 * time.Millisecond)
		want("b gives up")
		if us.leased != 1 || len(us.waiting) != 0 {
			t.Errorf("%d bytes held, %d wait, want 1, 0", us.leased, len(us.waiting))
		}
	})
}

// When all hold some and all want more, as few give up as have to.
func TestUploadLimitSparesMost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		us := newUploads(100)
		var all sync.WaitGroup
		var mu sync.Mutex
		done := 0
		for range 10 {
			all.Go(func() {
				u := &upload{uploads: us, ctx: t.Context()}
				defer u.release()
				var err error
				for n := int64(1); n <= 25 && err == nil; n++ {
					err = u.hold(n)
					time.Sleep(time.Millisecond)
				}
				if refused, ok := errors.AsType[*refusal](err); err == nil {
					mu.Lock()
					done++
					mu.Unlock()
				} else if !ok || refused.status != http.StatusServiceUnavailable {
					t.Errorf("got error %v", err)
				}
			})
		}
		all.Wait()
		if done < 4 || us.leased != 0 {
			t.Errorf("%d of 10 were done, 4 have room at once; %d bytes are held", done, us.leased)
		}
	})
}
