// Package drawtext draws a few words on an image, as large as it fits.
//
// The No Data image and the pictures of the test producer are made with it. The font is Go Bold, which is compiled
// into the program, so that the text looks the same on every machine.
package drawtext

import (
	"image"
	"image/draw"
	"strings"
	"sync"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

// Centred draws a text in the middle of an image whose bounds begin at 0,0. Newlines separate the lines of the text,
// none of which is empty. The text is as large as four fifths of the width and the given fraction of the height allow.
func Centred(dst draw.Image, text string, ink image.Image, height float64) {
	size, lines := dst.Bounds().Size(), strings.Split(text, "\n")
	const probe = 100
	extent := measure(face(probe), lines).size()
	f := face(probe * min(
		0.8*float64(size.X)/float64(extent.X),
		height*float64(size.Y)/float64(extent.Y),
	))
	measured := measure(f, lines)
	top := (size.Y - measured.size().Y) / 2
	for i, box := range measured.boxes {
		drawer := font.Drawer{Dst: dst, Src: ink, Face: f, Dot: fixed.P(
			(size.X-box.Dx())/2-box.Min.X,
			top-measured.boxes[0].Min.Y+i*measured.pitch,
		)}
		drawer.DrawString(lines[i])
	}
}

// block is what lines of text take, one below another.
type block struct {
	boxes []image.Rectangle // around the ink of each line, as drawn at the origin
	pitch int               // from one line to the next
}

func measure(f font.Face, lines []string) block {
	m := block{pitch: f.Metrics().Height.Round()}
	for _, line := range lines {
		b, _ := font.BoundString(f, line)
		m.boxes = append(m.boxes, image.Rect(b.Min.X.Floor(), b.Min.Y.Floor(), b.Max.X.Ceil(), b.Max.Y.Ceil()))
	}
	return m
}

// size returns the width and the height of the ink.
func (m block) size() (size image.Point) {
	for _, box := range m.boxes {
		size.X = max(size.X, box.Dx())
	}
	last := len(m.boxes) - 1
	size.Y = m.boxes[last].Max.Y + last*m.pitch - m.boxes[0].Min.Y
	return size
}

var goBold = sync.OnceValue(func() *opentype.Font {
	parsed, err := opentype.Parse(gobold.TTF)
	if err != nil {
		panic(err) // the font is part of the program
	}
	return parsed
})

// face returns Go Bold at a size in pixels.
func face(size float64) font.Face {
	f, err := opentype.NewFace(goBold(), &opentype.FaceOptions{Size: size, DPI: 72, Hinting: font.HintingFull})
	if err != nil {
		panic(err) // no size is refused
	}
	return f
}
