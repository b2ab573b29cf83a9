package main

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// after gives a reader the oldest image behind its place, and leaves it. A place ahead of the session's sequence is
// from before the sequence started again.
func TestAfter(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		id := session.New()
		path := func(place string) string { return "/image/" + id + "?after=" + place }
		s.wantAlike(t, path("0"), "", 0, 0)
		for i := range 4 {
			s.PushImage(t, id, fmt.Sprint("image ", i+1))
		}
		for range 2 {
			s.wantAlike(t, path("0"), "image 1", 1, 3)
			s.wantAlike(t, path("2&_cb=1"), "image 3", 3, 1)
			s.wantAlike(t, path("3&wait=9"), "image 4", 4, 0)
			s.wantAlike(t, path("4"), "", 0, 0)
			s.wantAlike(t, path("5"), "image 1", 1, 3)
			s.wantAlike(t, path("4611686018427387903&wait=9"), "image 1", 1, 3)
		}
		if n := s.Len(t, id); n != 4 {
			t.Errorf("%d images are left, want 4", n)
		}
		s.Take(t, id)
		s.wantAlike(t, path("0"), "image 2", 2, 2)
		s.wantAlike(t, path("9"), "image 2", 2, 2)
		for range 3 {
			s.Take(t, id)
		}
		s.wantAlike(t, path("1"), "image 4", 4, 0) // the newest, although it was taken
		s.wantAlike(t, path("4"), "", 0, 0)
	}, "MIMETYPE=image/webp")
}

// Each reader keeps its own place, takes nothing away, and sees every image once and in order while more come.
func TestAfterReadsEverything(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		const readers, images = 12, 80
		id := session.New()
		seen := make([][]string, readers)
		var reading sync.WaitGroup
		for i := range readers {
			reading.Go(func() {
				for place, failures := 0, 0; place < images && failures < 3; {
					image, sequence := s.tryGet(fmt.Sprintf("/image/%s?after=%d&wait=30&_cb=%d", id, place, i))
					if image == "" {
						failures++
						continue
					}
					seen[i] = append(seen[i], image)
					place = sequence
				}
			})
		}
		var want []string
		for i := range images {
			want = append(want, fmt.Sprint("image ", i+1))
			s.PushImage(t, id, want[i])
			time.Sleep(time.Duration(i%5) * 2 * time.Millisecond)
		}
		reading.Wait()
		for i, got := range seen {
			if !slices.Equal(got, want) {
				t.Errorf("reader %d: got %d images, %.2000q", i, len(got), got)
			}
		}
		if n := s.Len(t, id); n != images {
			t.Errorf("%d images are left, want all %d", n, images)
		}
		testkit.Eventually(t, func() bool { return s.server.hub.Len(id) == 0 })
	})
}

func TestAfterWaits(t *testing.T) {
	t.Parallel()
	onNotified(t, func(t *testing.T, s *testServer) {
		id := session.New()
		for i := range 10 {
			var answers []*relaytest.Pending
			for range 3 {
				answers = append(answers, s.GetLater(t, fmt.Sprintf("/image/%s?after=%d&wait=60", id, i)))
			}
			s.awaitViewers(t, 0, len(answers))
			s.PushImage(t, id, fmt.Sprint("image ", i+1))
			for _, answer := range answers {
				got, _ := answer.Answer(t)
				if got.Text != fmt.Sprint("image ", i+1) || got.Header.Get("X-Sequence") != strconv.Itoa(i+1) {
					t.Errorf("after %d: got %.99q, X-Sequence %s", i, got.Text, got.Header.Get("X-Sequence"))
				}
			}
			testkit.Eventually(t, func() bool { return s.server.hub.Len(id) == 0 })
		}
	})
}

// A waiting reader whose place is ahead of a session that started again gets the first image that comes.
func TestAfterAheadWaits(t *testing.T) {
	t.Parallel()
	onNotified(t, func(t *testing.T, s *testServer) {
		id := session.New()
		answer := s.GetLater(t, "/image/"+id+"?after=500&wait=60")
		s.awaitViewers(t, 0, 1)
		s.PushImage(t, id, "image")
		if got, _ := answer.Answer(t); got.Text != "image" {
			t.Errorf("got %.99q, want the image", got.Text)
		}
	})
}
