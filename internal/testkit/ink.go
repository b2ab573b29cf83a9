package testkit

import (
	"image"
	"image/color"
	"math"
)

// InkOf returns the box around all pixels that stand out from the ground, and the luminance of the brightest one.
func InkOf(picture image.Image, ground float64) (box image.Rectangle, brightest float64) {
	b := picture.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			if l := Luminance(picture.At(x, y)); l > ground+0.05 {
				box = box.Union(image.Rect(x, y, x+1, y+1))
				brightest = max(brightest, l)
			}
		}
	}
	return box, brightest
}

// Luminance returns that of a grey, as the guidelines for readable text define it.
func Luminance(c color.Color) float64 {
	return math.Pow((float64(color.GrayModel.Convert(c).(color.Gray).Y)/255+0.055)/1.055, 2.4)
}
