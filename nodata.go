package main

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"net/http"
	"strings"
	"sync"

	"github.com/image-streamer/image-streamer/internal/drawtext"
	"github.com/image-streamer/image-streamer/internal/httpserver"
)

// noData is the No Data image in its two forms, each drawn when it is first needed.
type noData struct{ png, jpeg func() []byte }

func newNoData(width, height int) noData {
	return noData{
		png:  sync.OnceValue(func() []byte { return noDataPNG(width, height) }),
		jpeg: sync.OnceValue(func() []byte { return noDataJPEG(width, height) }),
	}
}

// formFor returns the form of the image that the reader knows. Every reader of images knows JPEG. PNG is what readers
// get by default.
func (n noData) formFor(r *http.Request) (contentType string, image []byte) {
	if knowsOnlyJPEG(r) {
		return "image/jpeg", n.jpeg()
	}
	return "image/png", n.png()
}

// knowsOnlyJPEG reports whether a reader may know no other type than JPEG. Three things tell: a path that names the
// type, the spelling of mjpg-streamer, by which time-lapse tools fetch images for files called .jpg, and Accept. The
// camera reader of Motion sends no Accept.
func knowsOnlyJPEG(r *http.Request) bool {
	return namesJPEG(r) || r.URL.Query().Get("action") == "snapshot" ||
		strings.HasPrefix(r.UserAgent(), "Motion-netcam/") || acceptsOnlyJPEG(r)
}

// namesJPEG reports whether the path had the extension of a JPEG.
func namesJPEG(r *http.Request) bool {
	switch r.PathValue("extension") {
	case ".jpg", ".jpeg", ".jpe", ".jfif":
		return true
	}
	return false
}

// acceptsOnlyJPEG reports whether Accept names JPEG, and nothing that includes PNG.
func acceptsOnlyJPEG(r *http.Request) bool {
	named := false
	for mediaType := range httpserver.Accepted(r) {
		switch mediaType {
		case "image/png", "image/*", "*/*":
			return false
		case "image/jpeg", "image/jpg", "image/pjpeg":
			named = true
		}
	}
	return named
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
	words := "No Data"
	if height > width {
		words = "No\nData" // on two lines they are larger
	}
	text := image.NewGray(image.Rect(0, 0, width, height))
	drawtext.Centred(text, words, image.White, 0.5)

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
