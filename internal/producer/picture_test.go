package producer

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"testing"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// The pictures have the size that was asked for, differ, and show a number in the middle that stands out from its
// ground.
func TestNumberedPictures(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	var last color.Color
	for _, number := range []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 99, 100, 12345} {
		data := numberedJPEG(number, 160, 90)
		if before, ok := seen[string(data)]; ok {
			t.Errorf("%d and %d are the same picture", number, before)
		}
		seen[string(data)] = number
		picture := testkit.Must(jpeg.Decode(bytes.NewReader(data)))(t)
		if size := picture.Bounds().Size(); size != image.Pt(160, 90) {
			t.Errorf("%d: got size %v, want 160 x 90", number, size)
		}
		corner := picture.At(2, 2)
		if last != nil && number < 12 && sameColor(corner, last) {
			t.Errorf("%d: its ground is like the one before: %v", number, corner)
		}
		last = corner
		ink, brightest := testkit.InkOf(picture, testkit.Luminance(corner)+0.2)
		offset := ink.Min.X + ink.Max.X - 160 // twice the distance from the middle
		if (brightest+0.05)/(testkit.Luminance(corner)+0.05) < 3 || ink.Dy() < 20 || max(offset, -offset) > 8 {
			t.Errorf("%d: ink at %v, luminance %.2f on %.2f", number, ink, brightest, testkit.Luminance(corner))
		}
	}
}
