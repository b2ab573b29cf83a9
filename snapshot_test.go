package main

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// A snapshot is the newest image, also when it was taken, under every name that viewers know it by.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		id := session.New()
		want := func(image string, sequence int) {
			t.Helper()
			for _, path := range []string{
				"/snapshot/%s", "/snapshot/%s.jpg", "/snapshot/%s.jpg?cacheBust=1595805826022",
				"/stream/%s?action=snapshot", "/stream/%s?action=snapshot&max_age=60&_cb=1",
			} {
				s.wantAlike(t, fmt.Sprintf(path, id), image, sequence, 0)
			}
		}
		want("", 0)
		s.PushImage(t, id, "first")
		want("first", 1)
		s.PushImage(t, id, "second")
		want("second", 2)
		if n := s.Len(t, id); n != 2 {
			t.Errorf("%d images are left, want 2", n)
		}
		s.Take(t, id)
		want("second", 2)
		if got := s.Get(t, "/image/"+id); got.Text != "second" {
			t.Errorf("got %q from the queue", got.Text)
		}
		want("second", 2)
		s.WantEmpty(t, id)
		want("second", 2)
	}, "MIMETYPE=image/webp")
}

func TestSnapshotExpires(t *testing.T) {
	t.Parallel()
	onClocked(t, func(t *testing.T, s *testServer) {
		taken, queued := session.New(), session.New()
		s.PushImage(t, taken, "image")
		s.PushImage(t, queued, "image")
		s.Take(t, taken)
		s.Elapse(s.TTL)
		for _, id := range []string{taken, queued} {
			for _, path := range []string{"/snapshot/%s", "/snapshot/%s.jpg", "/stream/%s?action=snapshot&max_age=60"} {
				s.wantAlike(t, fmt.Sprintf(path, id), "", 0, 0)
			}
		}
	}, "MIMETYPE=image/webp")
}

// A reader that waits gets no image that has expired, although a stream keeps the image for a moment longer.
func TestWaitingReadersGetNoExpiredImage(t *testing.T) {
	t.Parallel()
	onPrograms(t, func(t *testing.T, p *program) {
		const ttl = 300 * time.Millisecond
		for _, path := range []string{
			"/snapshot/%s?wait=0.3", "/snapshot/%s?wait=0.3&max_age=9", "/image/%s?wait=0.3&after=0",
		} {
			id := session.New()
			frames, pushed, shown := p.Watch(t, "/stream/"+id).All(), time.Time{}, relaytest.Frame{}
			for shown.Image != "image" {
				if time.Since(pushed) > ttl { // at first, and when on a busy machine the image expired unseen
					p.Do(t, "POST", "/image/"+id, strings.NewReader("image")).WantStatus(t, 200)
					pushed = time.Now()
				}
				shown = <-frames
			}
			time.Sleep(time.Until(shown.At.Add(ttl))) // the image has expired; the stream refreshes within a poll period
			if got := p.Get(t, fmt.Sprintf(path, id)).WantStatus(t, 200); !got.IsNoData() {
				t.Errorf("%s: got %q, want No Data", path, got.Text)
			}
		}
	}, "EXPIRE=0.3")
}

func TestSnapshotMaxAge(t *testing.T) {
	t.Parallel()
	onClocked(t, func(t *testing.T, s *testServer) {
		id := session.New()
		path := func(age string) string { return "/snapshot/" + id + "?max_age=" + age }
		s.PushImage(t, id, "old")
		s.Elapse(2 * time.Second)
		s.wantAlike(t, path("1.9"), "", 0, 0)
		s.wantAlike(t, path("0"), "", 0, 0)
		s.Get(t, path("1.9&nodata=503")).WantStatus(t, 503)
		s.wantAlike(t, path("30"), "old", 1, 0)
		s.wantAlike(t, path("1000000000"), "old", 1, 0)
		s.Take(t, id)
		s.wantAlike(t, path("1.9"), "", 0, 0)
		s.wantAlike(t, path("30"), "old", 1, 0)
		testkit.Eventually(t, func() bool { // on a busy machine the image may be too old when it is asked for
			s.PushImage(t, id, "new")
			return s.Get(t, path("1.9")).WantStatus(t, 200).Text == "new"
		})
	}, "MIMETYPE=image/webp")
}

// With wait a snapshot is the next image. With max_age too it is the present image if that is young enough.
func TestSnapshotWait(t *testing.T) {
	t.Parallel()
	onNotified(t, func(t *testing.T, s *testServer) {
		id, pushed := session.New(), 0
		wantNext := func(path string) {
			t.Helper()
			answer := s.GetLater(t, fmt.Sprintf(path, id))
			s.awaitViewers(t, 0, 1) // the request has found out by now what the present image is
			pushed++
			s.PushImage(t, id, fmt.Sprint("image ", pushed))
			got, _ := answer.Answer(t)
			if got.Text != fmt.Sprint("image ", pushed) || got.Header.Get("X-Sequence") != strconv.Itoa(pushed) {
				t.Errorf("%s: got %.99q, X-Sequence %s, want image %d",
					path, got.Text, got.Header.Get("X-Sequence"), pushed)
			}
			s.awaitViewers(t, 0, 0)
			s.Elapse(5 * time.Millisecond)
		}
		wantNext("/snapshot/%s?wait=60")
		wantNext("/snapshot/%s?wait=60")
		wantNext("/snapshot/%s.jpg?wait=60&max_age=0")
		wantNext("/stream/%s?action=snapshot&wait=60&max_age=0.001")
		s.Take(t, id)
		wantNext("/snapshot/%s?wait=60")

		latency := newLatencies(t)
		latency.begin()
		got := s.Get(t, "/snapshot/"+id+"?wait=60&max_age=60").WantStatus(t, 200)
		if took := latency.elapsed(); got.Text != fmt.Sprint("image ", pushed) || took > 5*time.Second {
			t.Errorf("got %.99q after %s, want the present image at once", got.Text, took)
		}
		if n := s.Len(t, id); n != pushed-1 {
			t.Errorf("%d images are left, want %d", n, pushed-1)
		}
		testkit.Eventually(t, func() bool { return s.server.hub.Len(id) == 0 })
	})
}

// The newest image stays for snapshots also when an older one comes back and is taken after it.
func TestSnapshotAfterOlderCameBack(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		id := session.New()
		s.PushImage(t, id, "older")
		s.PushImage(t, id, "newest")
		older := s.PopImage(t, id)
		s.Take(t, id)
		older.Requeue()
		testkit.Eventually(t, func() bool { return s.Len(t, id) == 1 })
		if got := s.Get(t, "/snapshot/"+id); got.Text != "newest" {
			t.Errorf("before the older image is taken again: got %.20q", got.Text)
		}
		s.Take(t, id)
		time.Sleep(100 * time.Millisecond) // an engine frees bytes a moment after they were taken
		if got := s.Get(t, "/snapshot/"+id); got.Text != "newest" {
			t.Errorf("after that: got %.20q, want the newest image", got.Text)
		}
	})
}

// Once a session has an image, every snapshot has one, while images are pushed and taken.
func TestSnapshotHasNoGaps(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		id, image := session.New(), strings.Repeat("\x00image\xff", 60<<10)
		s.PushImage(t, id, image)
		var all sync.WaitGroup
		var over atomic.Bool
		all.Go(func() {
			for !over.Load() {
				s.tryGet("/image/" + id + "?wait=0.2")
			}
		})
		var snapshots, empty atomic.Int64
		for range 4 {
			all.Go(func() {
				for !over.Load() {
					snapshots.Add(1)
					if image, _ := s.tryGet("/snapshot/" + id); image == "" {
						empty.Add(1)
					}
				}
			})
		}
		for range 100 {
			s.PushImage(t, id, image)
			time.Sleep(10 * time.Millisecond)
		}
		over.Store(true)
		all.Wait()
		t.Logf("%d snapshots, %d of them empty", snapshots.Load(), empty.Load())
		if empty.Load() > 0 {
			t.Errorf("%d of %d snapshots were empty", empty.Load(), snapshots.Load())
		}
	})
}
