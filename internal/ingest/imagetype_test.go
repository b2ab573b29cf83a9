package ingest

import (
	"bytes"
	"image"
	"image/png"
	"strings"
	"testing"
)

func TestBeginsAs(t *testing.T) {
	t.Parallel()
	var drawnPNG bytes.Buffer
	if err := png.Encode(&drawnPNG, image.NewGray(image.Rect(0, 0, 16, 16))); err != nil {
		t.Fatal(err)
	}
	images := map[string][]string{
		"image/jpeg": {drawnJPEG(t, 1, 32, 18), "\xff\xd8\xff\xe0", "\xff\xd8\xff"},
		"image/jpg":  {"\xff\xd8\xff\xdb"},
		"image/png":  {drawnPNG.String(), "\x89PNG\r\n\x1a\n"},
		"image/gif":  {"GIF87a", "GIF89a\x01"},
		"image/webp": {"RIFF\x10\x00\x00\x00WEBPVP8 ", "RIFF\xff\xff\xff\xffWEBP"},
		"image/bmp":  {"BM", "BM\x00\x00"},
	}
	ofNoType := []string{
		"x", "<svg/>", "\xff\xd8", "\xff\xd8\xfe\xff", "\x00\xff\xd8\xff", "\x89PNG\r\n\x1a", "\x89PNG\n\x1a\n\n\n",
		"GIF88a", "GIF8", "gif89a", "RIFF", "RIFFWEBP", "RIFF\x10\x00\x00\x00WAVE", "RIFF\x10\x00\x00\x00 WEBP",
		"WEBPWEBPWEBP", "bm", "B", " BM", "{}",
	}
	for mimeType := range images {
		for other, list := range images {
			for _, image := range list {
				same := mimeType == other || strings.HasPrefix(mimeType, "image/jp") && strings.HasPrefix(other, "image/jp")
				if got := BeginsAs(mimeType, []byte(image)); got != same {
					t.Errorf("%.12q as %s: got %v", image, mimeType, got)
				}
			}
		}
		for _, image := range ofNoType {
			if BeginsAs(mimeType, []byte(image)) {
				t.Errorf("%q passes for %s", image, mimeType)
			}
		}
	}
	if !BeginsAs("image/avif", []byte("x")) {
		t.Error("a type that is not known does not match")
	}
}
