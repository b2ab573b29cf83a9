package config

import (
	"math"
	"strconv"
	"testing"
)

// FuzzRatio holds that a ratio is within its bounds, survives being written out, and gives a width that fits it.
func FuzzRatio(f *testing.F) {
	for _, seed := range []string{
		"0.5625", "9/16", "3 / 4", "1/0", "0/0", "NaN", "1/Inf", "-1/-2", "1e-400", "0x1p-1", "1/2/3", "/", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ratio, err := parseRatio(s)
		if err != nil {
			if ratio != 0 {
				t.Errorf("%q: got %v with an error", s, ratio)
			}
			return
		}
		if !(ratio >= 0.1 && ratio <= 10) {
			t.Errorf("%q: got %v", s, ratio)
		}
		again, err := parseRatio(strconv.FormatFloat(ratio, 'g', -1, 64))
		if err != nil || again != ratio {
			t.Errorf("%q: got %v, and %v, error %v, when written out", s, ratio, again, err)
		}
		w := NoData{Height: 4320, AspectRatio: ratio}.Width()
		if w < 432 || w > 43200 || math.Abs(float64(w)*ratio-4320) > ratio {
			t.Errorf("%q: got width %d at height 4320", s, w)
		}
	})
}
