package main

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"sync"

	"github.com/image-streamer/image-streamer/internal/drawtext"
)

// noDataText is the text of the No Data image.
const noDataText = "No Data"

// noData is the No Data image in its two forms. An empty queue answers with the PNG; streams show the JPEG, because
// their viewers may know nothing else.
type noData struct{ png, jpeg func() []byte }

func newNoData(width, height int) noData {
	return noData{
		png:  sync.OnceValue(func() []byte { return noDataPNG(width, height) }),
		jpeg: sync.OnceValue(func() []byte { return noDataJPEG(width, height) }),
	}
}

func noDataPNG(width, height int) []byte {
	var out bytes.Buffer
	if err := png.Encode(&out, noDataPicture(width, height)); err != nil {
		panic(err) // a buffer takes everything
	}
	return out.Bytes()
}

func noDataJPEG(width, height int) []byte {
	var out bytes.Buffer
	if err := jpeg.Encode(&out, noDataPicture(width, height), nil); err != nil {
		panic(err) // a buffer takes everything
	}
	return out.Bytes()
}

// noDataPicture draws the image. Sixteen shades of grey keep it small: 4 bits for a pixel before compression.
func noDataPicture(width, height int) image.Image {
	text := image.NewGray(image.Rect(0, 0, width, height))
	drawtext.Centred(text, noDataText, image.White, 0.25)

	const shades = 16
	palette := make(color.Palette, shades)
	for i := range palette {
		palette[i] = color.Gray{Y: uint8(0x30 + i*(0xd0-0x30)/(shades-1))} // light grey on dark grey
	}
	picture := image.NewPaletted(text.Rect, palette)
	for i, ink := range text.Pix {
		picture.Pix[i] = ink / (256 / shades)
	}
	return picture
}
