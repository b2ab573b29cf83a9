package drawtext

import (
	"fmt"
	"image"
	"testing"
)

// A text is in the middle, and as large as the width and the height allow.
func TestCentred(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		text          string
		width, height int
		part          float64 // of the height
		byWidth       bool    // the width bounds the text
	}{
		{"No Data", 1280, 720, 0.25, false},
		{"No Data", 160, 90, 0.25, false},
		{"No Data", 90, 900, 0.25, true},
		{"No\nData", 90, 900, 0.5, true},
		{"No\nData", 360, 720, 0.3, false},
		{"1", 160, 90, 0.5, false},
		{"1234567890", 160, 90, 0.5, true},
	} {
		t.Run(fmt.Sprintf("%s on %dx%d", row.text, row.width, row.height), func(t *testing.T) {
			t.Parallel()
			picture := image.NewGray(image.Rect(0, 0, row.width, row.height))
			Centred(picture, row.text, image.White, row.part)
			ink := inkOf(picture)
			x, y := ink.Min.X+ink.Max.X-row.width, ink.Min.Y+ink.Max.Y-row.height // twice the distance
			if max(x, -x, y, -y) > 3 {
				t.Errorf("ink at %v: its centre is %d,%d half pixels off", ink, x, y)
			}
			got, most := float64(ink.Dy()), row.part*float64(row.height)
			if row.byWidth {
				got, most = float64(ink.Dx()), 0.8*float64(row.width)
			}
			if got > most+2 || got < 0.9*most-2 {
				t.Errorf("ink at %v: it takes %.0f pixels, want about %.0f", ink, got, most)
			}
			if ink.Dx() > row.width*8/10+2 || float64(ink.Dy()) > row.part*float64(row.height)+2 {
				t.Errorf("ink at %v is too large", ink)
			}
		})
	}
}

// inkOf returns the box around everything that is not black.
func inkOf(picture *image.Gray) (box image.Rectangle) {
	for i, ink := range picture.Pix {
		if ink > 0 {
			at := image.Pt(i%picture.Stride, i/picture.Stride)
			box = box.Union(image.Rectangle{at, at.Add(image.Pt(1, 1))})
		}
	}
	return box
}
