package main

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
)

// noDataText is what the image for an empty queue says.
const noDataText = "No Data"

// noDataPNG is the image that an empty queue answers with.
func noDataPNG(width, height int) []byte {
	var out bytes.Buffer
	if err := png.Encode(&out, noDataPicture(width, height)); err != nil {
		panic(err) // a buffer takes everything
	}
	return out.Bytes()
}

// noDataJPEG is the same for a stream, whose viewers may know JPEG alone.
func noDataJPEG(width, height int) []byte {
	var out bytes.Buffer
	if err := jpeg.Encode(&out, noDataPicture(width, height), nil); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// noDataPicture draws the image. Sixteen shades of grey keep it small: 4 bits for
// a pixel before compression.
func noDataPicture(width, height int) image.Image {
	text := image.NewGray(image.Rect(0, 0, width, height))
	drawCentred(text, noDataText, image.White, 0.25)

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
