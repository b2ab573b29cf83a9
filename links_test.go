package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// methodFor returns the method that the path of a link is for.
func methodFor(path string) string {
	if strings.HasSuffix(path, "/pop") {
		return http.MethodPost
	}
	return http.MethodGet
}

// A link is good up to the second in which it expires, exclusive.
func TestLinkExpires(t *testing.T) {
	t.Parallel()
	s := newAccessServer(t, "SESSION_SECRET="+testSecret, "PRIVATE=true")
	end := time.Unix(1767225600, 0)
	for _, path := range []string{
		"/image/front", "/image/front/pop", "/snapshot/front", "/stream/front",
	} {
		s.setTime(end)
		query := s.linkQuery(path, 0)
		for _, row := range []struct {
			at   time.Time
			want int
		}{
			{end.Add(-time.Hour), 200},
			{end.Add(-time.Second), 200},
			{end, 403},
			{end.Add(time.Nanosecond), 403},
			{end.Add(time.Hour), 403},
		} {
			s.setTime(row.at)
			got := s.status(t, methodFor(path), path, query)
			// On a busy machine a request may take longer than the second that its link has left.
			for tries := 1; got == http.StatusServiceUnavailable && tries < 10; tries++ {
				got = s.status(t, methodFor(path), path, query)
			}
			if got != row.want {
				t.Errorf("%s at %s: got status %d, want %d", path, row.at, got, row.want)
			}
		}
	}
}

// A stream ends with the link that opened it.
func TestStreamEndsWithItsLink(t *testing.T) {
	t.Parallel()
	s := newAccessServer(t, "SESSION_SECRET="+testSecret)
	image := smallJPEG("image")
	s.PushImage(t, "front", image)
	query, end := s.linkQuery("/stream/front", time.Hour), s.clock.Now().Add(time.Hour)
	// On a busy machine the link may expire before the first frame. Then a longer one is tried.
	for left := 300 * time.Millisecond; ; left *= 2 {
		s.setTime(end.Add(-left))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		req, begun := s.NewRequest(t, http.MethodGet, "/stream/front?"+query, nil).WithContext(ctx), time.Now()
		resp := testkit.Must(testkit.Client.Transport.RoundTrip(req))(t)
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		took, shown := time.Since(begun), strings.Contains(string(body), image)
		if ctx.Err() != nil || shown && took < left || !shown && left > 20*time.Second {
			t.Fatalf("got status %d, %d bytes in %s, want a picture and an end after %s",
				resp.StatusCode, len(body), took, left)
		}
		if shown {
			return
		}
	}
}

// Each path needs a link of its own, which opens every spelling of that path.
func TestLinkIsForOnePath(t *testing.T) {
	t.Parallel()
	s := newAccessServer(t, "SESSION_SECRET="+testSecret, "PRIVATE=true")
	paths := []string{"/image/a", "/image/b", "/image/a/pop", "/snapshot/a", "/stream/a"}
	spellings := map[string][]string{
		"/image/a": {"/image/a.jpg", "/image/a/", "/Image/a"}, "/image/a/pop": {"/image/a.JPG/pop", "/image/a/POP/"},
		"/snapshot/a": {"/snapshot/a.jpeg/", "/snapshot/%61.jpg"}, "/stream/a": {"/stream/a.mjpg", "/stream/a/"},
	}
	for _, of := range paths {
		for _, path := range paths {
			want := map[bool]int{true: 200, false: 401}[of == path]
			for _, spelled := range append(spellings[path], path) {
				if got := s.status(t, methodFor(path), spelled, s.linkQuery(of, time.Hour)); got != want {
					t.Errorf("link of %s at %s: got status %d, want %d", of, spelled, got, want)
				}
			}
		}
	}
}
