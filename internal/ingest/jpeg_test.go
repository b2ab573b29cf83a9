package ingest

import (
	"strings"
	"testing"
)

func TestSplitJPEG(t *testing.T) {
	junk := "\x00\r\n--b\r\n\xff\x00\xff\xd9\xff"
	cut := photoA[:len(photoA)-2]
	testSplit(t, []splitRow{
		{"plain", "image/jpeg", photoA + photoB, []string{photoA, photoB}},
		{"nothing", "", "", nil},
		{"no type", "", photoA + photoB, []string{photoA, photoB}},
		{"multipart type", "multipart/x-mixed-replace", photoA + photoB, []string{photoA, photoB}},
		{
			"multipart without delimiters", "multipart/x-mixed-replace",
			withLength(photoA) + "\r\n" + withLength(photoB),
			[]string{photoA, photoB},
		},
		{"no boundary behind dashes", "", "--\r\n" + photoA + "--" + photoB, []string{photoA, photoB}},
		{"one dash", "", "-" + photoA, []string{photoA}},
		{"junk", "", junk + photoA + junk + "\xff" + photoB + junk, []string{photoA, photoB}},
		{
			"padding", "",
			photoA + strings.Repeat("\x00", 3*readAhead) + photoB + strings.Repeat("\xff", 3*readAhead),
			[]string{photoA, photoB},
		},
		{"no image in what begins as one", "", photoA + "\xff\xd8\x00\xff\xd8\x00" + photoB, []string{photoA, photoB}},
		{
			"all kinds", "",
			preview + filled + restarts + progressive + odd + largest,
			[]string{preview, filled, restarts, progressive, odd, largest},
		},
		{"too large", "", photoA + tooLargeBy1 + photoB + tooLargeBy1, []string{photoA, bad, photoB, bad}},
		{"far too large", "", photo(strings.Repeat("\xff\x00\n", 9999)) + photoB, []string{bad, photoB}},
		{
			"cut in its scan", "",
			cut + photoA + cut + "\xff" + photoB + cut + cut + photoA,
			[]string{bad, photoA, bad, photoB, bad, bad, photoA},
		},
		{"cut between segments", "", "\xff\xd8" + photoA + "\xff\xd8\xff" + photoB, []string{bad, photoA, bad, photoB}},
		{"cut by the end", "", photoA + cut, []string{photoA, bad}},
		{"cut behind its start", "", photoA + "\xff\xd8", []string{photoA, bad}},
		{"wrong marker", "", photo("\xff\x02") + photoA + photo("\xff\xbf") + photoB, []string{bad, photoA, bad, photoB}},
		{"no marker", "", "\xff\xd8" + jpegSegment(0xdb, "") + "image" + photoA, []string{bad, photoA}},
		{
			"bytes between segments", "",
			photoA[:12] + "\x00\xff\x00junk" + photoA[12:] + photoB,
			[]string{photoA[:12] + "\x00\xff\x00junk" + photoA[12:], photoB},
		},
		{
			"segment too short", "",
			"\xff\xd8\xff\xdb\x00\x01" + photoA + "\xff\xd8\xff\xda\x00\x00" + photoB,
			[]string{bad, photoA, bad, photoB},
		},
	})
}
