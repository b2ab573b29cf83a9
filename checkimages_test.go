package main

import (
	"strings"
	"testing"
	"time"
)

// imagesOf are the first bytes of images by type.
var imagesOf = map[string][]string{
	"image/jpeg": {string(numberedJPEG(1, 32, 18)), "\xff\xd8\xff\xe0", "\xff\xd8\xff"},
	"image/jpg":  {"\xff\xd8\xff\xdb"},
	"image/png":  {string(noDataPNG(16, 16)), "\x89PNG\r\n\x1a\n"},
	"image/gif":  {"GIF87a", "GIF89a\x01"},
	"image/webp": {"RIFF\x10\x00\x00\x00WEBPVP8 ", "RIFF\xff\xff\xff\xffWEBP"},
	"image/bmp":  {"BM", "BM\x00\x00"},
}

// noImages are images of none of these types.
var noImages = []string{
	"x", "<svg/>", "\xff\xd8", "\xff\xd8\xfe\xff", "\x00\xff\xd8\xff", "\x89PNG\r\n\x1a", "\x89PNG\n\x1a\n\n\n", "GIF88a", "GIF8", "gif89a",
	"RIFF", "RIFFWEBP", "RIFF\x10\x00\x00\x00WAVE", "RIFF\x10\x00\x00\x00 WEBP", "WEBPWEBPWEBP", "bm", "B", " BM", "{}",
}

func TestBeginsAs(t *testing.T) {
	t.Parallel()
	for kind := range imagesOf {
		for other, images := range imagesOf {
			for _, image := range images {
				same := kind == other || strings.HasPrefix(kind, "image/jp") && strings.HasPrefix(other, "image/jp")
				if got := beginsAs(kind, image[:min(len(image), 12)]); got != same {
					t.Errorf("%.12q as %s: got %v", image, kind, got)
				}
			}
		}
		for _, image := range noImages {
			if beginsAs(kind, image[:min(len(image), 12)]) {
				t.Errorf("%q passes for %s", image, kind)
			}
		}
	}
	if !beginsAs("image/avif", "x") {
		t.Error("a type that is not known is refused")
	}
}

// What is not of the type that is served is refused in every way to send it, and not
// stored; a stream passes over it.
func TestCheckImages(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		png, jpeg := imagesOf["image/png"][0], imagesOf["image/jpeg"][0]
		for _, way := range waysToSend {
			session := newSession()
			send := func(image string) response {
				return s.do(t, "POST", way.path+session, way.framed(way.form(image)), "Content-Type: "+way.kind)
			}
			if way.path == "/stream/" {
				send(jpeg).wantCounts(t, ingested{session, 0, 1, 0, 0})
			} else if got := send(jpeg).wantStatus(t, 415); !strings.Contains(got.body, "image/png: allowed is that type; nothing was stored") {
				t.Errorf("%s: got %s", way.name, got.body)
			}
			if n := s.length(t, session); n != 0 {
				t.Errorf("%s: %d images stored of those refused", way.name, n)
			}
			if way.name == "stream of JPEGs" {
				continue // there is no other type in it
			}
			send(png).wantStatus(t, 200)
			if got := s.take(t, session); string(got.data) != png || got.sequence != 1 {
				t.Errorf("%s: got %d bytes, sequence %d, want the image and 1", way.name, len(got.data), got.sequence)
			}
		}
		session := newSession()
		body := sizedPart(png) + sizedPart(jpeg) + sizedPart("x") + sizedPart(png) + "--b--\r\n"
		s.do(t, "POST", "/stream/"+session, sized(body), "Content-Type: "+mixed).wantCounts(t, ingested{session, 2, 2, 0, 2})
	}, "CHECK_IMAGES=true", "MIMETYPE=image/png")
}

// Unless it is asked for, nothing is checked, nor is a type that is not known.
func TestCheckImagesIsOff(t *testing.T) {
	t.Parallel()
	for _, vars := range []string{"MIMETYPE=image/png", "CHECK_IMAGES=true MIMETYPE=image/avif"} {
		s := newSite(t, testConfig(t, strings.Fields(vars)...), memoryFixture(t, time.Minute))
		for i, way := range waysToSend {
			image := imagesOf["image/jpeg"][0]
			s.do(t, "POST", way.path+"x", way.framed(way.form(image)), "Content-Type: "+way.kind).wantStatus(t, 200)
			if got := s.take(t, "x"); got.sequence != int64(i+1) {
				t.Errorf("%s: got image %d, want %d", way.name, got.sequence, i+1)
			}
		}
	}
}
