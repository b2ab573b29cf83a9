package main

import (
	"strings"
	"testing"

	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/session"
)

// An image of another type than the one that is served is refused in every way to send it, and not stored. A stream
// passes over it.
func TestCheckImages(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		png, jpeg := string(noDataPNG(16, 16)), string(noDataJPEG(32, 18))
		for _, way := range waysToSend {
			id := session.New()
			send := func(image string) relaytest.Response {
				return s.Do(t, "POST", way.path+id, way.framed(way.body(image)), "Content-Type: "+way.contentType)
			}
			if way.path == "/stream/" {
				send(jpeg).WantIngested(t, relaytest.Ingested{Session: id, Skipped: 1})
			} else if got := send(jpeg).WantStatus(t, 415); !strings.Contains(got.Text,
				"image/png: allowed is that type; nothing was stored") {
				t.Errorf("%s: got %s", way.name, got.Text)
			}
			if n := s.Len(t, id); n != 0 {
				t.Errorf("%s: %d images stored of those refused", way.name, n)
			}
			if way.name == "stream of JPEGs" {
				continue // it can hold no other type
			}
			send(png).WantStatus(t, 200)
			if got := s.Take(t, id); string(got.Data) != png || got.Sequence != 1 {
				t.Errorf("%s: got %d bytes, sequence %d, want the image and 1", way.name, len(got.Data), got.Sequence)
			}
		}
		id := session.New()
		part := relaytest.Part
		body := part(png) + part(jpeg) + part("x") + part(png) + "--b--\r\n"
		s.Do(t, "POST", "/stream/"+id, sized(body), "Content-Type: "+relaytest.MixedType).
			WantIngested(t, relaytest.Ingested{Session: id, Stored: 2, Skipped: 2, Sequence: 2})
	}, "CHECK_IMAGES=true", "MIMETYPE=image/png")
}

// Without CHECK_IMAGES no image is checked. With it no image is checked whose type is unknown.
func TestCheckImagesIsOff(t *testing.T) {
	t.Parallel()
	for _, vars := range []string{"MIMETYPE=image/png", "CHECK_IMAGES=true MIMETYPE=image/avif"} {
		s, jpeg := newMemoryServer(t, strings.Fields(vars)...), string(noDataJPEG(32, 18))
		for i, way := range waysToSend {
			s.Do(t, "POST", way.path+"x", way.framed(way.body(jpeg)), "Content-Type: "+way.contentType).WantStatus(t, 200)
			if got := s.Take(t, "x"); got.Sequence != int64(i+1) {
				t.Errorf("%s: got image %d, want %d", way.name, got.Sequence, i+1)
			}
		}
	}
}
