package producer

import (
	"bytes"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"strconv"

	"github.com/image-streamer/image-streamer/internal/drawtext"
)

// numberedJPEG draws a number on a ground whose colour changes with the number.
func numberedJPEG(number, width, height int) []byte {
	picture := image.NewRGBA(image.Rect(0, 0, width, height))
	draw.Draw(picture, picture.Rect, image.NewUniform(ground(number)), image.Point{}, draw.Src)
	drawtext.Centred(picture, strconv.Itoa(number), image.White, 0.5)
	var out bytes.Buffer
	if err := jpeg.Encode(&out, picture, &jpeg.Options{Quality: 85}); err != nil {
		panic(err) // a buffer takes everything
	}
	return out.Bytes()
}

// ground walks around the colour circle in steps that keep neighbours apart. All of the colours are dark enough for
// white ink.
func ground(number int) color.Color {
	const step, circle = 55, 240
	return color.YCbCr{Y: 80, Cb: 128 + wave(number*step%circle), Cr: 128 + wave((number*step+circle/4)%circle)}
}

// wave is a triangle between -60 and 60 over a circle of 240. Negative values wrap around, as the sum that they go
// into does.
func wave(at int) uint8 {
	if at < 120 {
		return uint8(at - 60)
	}
	return uint8(180 - at)
}
