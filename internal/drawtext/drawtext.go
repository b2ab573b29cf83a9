// Package drawtext draws one line of text on an image, as large as it fits.
//
// The No Data image and the pictures of the test producer are made with it. The font is Go Bold, which is compiled
// into the program, so that the text looks the same on every machine.
package drawtext

import (
	"image"
	"image/draw"
	"sync"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

// Centred draws a text that is not empty in the middle of an image whose bounds begin at 0,0. The text is as large as
// four fifths of the width and the given fraction of the height allow.
func Centred(dst draw.Image, text string, ink image.Image, height float64) {
	size := dst.Bounds().Size()
	const probe = 100
	extent := measure(face(probe), text)
	scale := min(
		0.8*float64(size.X)/float64(extent.Dx()),
		height*float64(size.Y)/float64(extent.Dy()),
	)
	f := face(probe * scale)
	extent = measure(f, text)
	drawer := font.Drawer{Dst: dst, Src: ink, Face: f, Dot: fixed.P(
		(size.X-extent.Dx())/2-extent.Min.X,
		(size.Y-extent.Dy())/2-extent.Min.Y,
	)}
	drawer.DrawString(text)
}

// measure returns the box around the ink of a text drawn at the origin.
func measure(f font.Face, text string) image.Rectangle {
	b, _ := font.BoundString(f, text)
	return image.Rect(b.Min.X.Floor(), b.Min.Y.Floor(), b.Max.X.Ceil(), b.Max.Y.Ceil())
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
