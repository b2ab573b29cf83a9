package main

import (
	"fmt"
	"testing"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// In every size and shape the text is in the middle, large and light enough to be read, and the image costs little to
// send.
func TestNoDataPicture(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		width, height int
		leastPart     float64 // of the height that the ink takes
	}{
		{160, 90, 0.2},
		{1280, 720, 0.2},
		{3840, 2160, 0.2},
		{16, 16, 0.1}, // the least that the settings allow
		{160, 16, 0.2},
		{90, 900, 0.01}, // the width bounds the text
		{900, 90, 0.2},
	} {
		t.Run(fmt.Sprintf("%dx%d", row.width, row.height), func(t *testing.T) {
			t.Parallel()
			data := noDataPNG(row.width, row.height)
			picture := wantPNG(t, string(data), row.width, row.height)
			if most := 1<<10 + row.width*row.height/100; len(data) > most {
				t.Errorf("got %d bytes, want at most %d", len(data), most)
			}
			ground := testkit.Luminance(picture.At(0, 0))
			ink, brightest := testkit.InkOf(picture, ground)
			x, y := ink.Min.X+ink.Max.X-row.width, ink.Min.Y+ink.Max.Y-row.height // twice the distance
			if max(x, -x) > 3 || max(y, -y) > 3 {
				t.Errorf("ink at %v: its centre is %d,%d half pixels off", ink, x, y)
			}
			if part := float64(ink.Dy()) / float64(row.height); part < row.leastPart {
				t.Errorf("ink takes %.3f of the height, want at least %.3f", part, row.leastPart)
			}
			if part := float64(ink.Dx()) / float64(row.width); part < 0.1 || part > 0.9 {
				t.Errorf("ink takes %.3f of the width, want 0.1 to 0.9", part)
			}
			if contrast := (brightest + 0.05) / (ground + 0.05); row.height >= 90 && contrast < 7 {
				t.Errorf("got contrast %.1f, want at least 7", contrast)
			}
		})
	}
}
