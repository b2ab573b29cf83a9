package ingest

import (
	"strings"
	"testing"
)

func TestSplitMultipart(t *testing.T) {
	const end = "\r\n--b--\r\n"
	one, two := "--b\r\n"+withLength("one"), "--b\r\n"+withLength("two")
	long := strings.Repeat("x", splitMax+1)
	testSplit(t, []splitRow{
		{"plain", mixed, one + "\r\n" + two + end, []string{"one", "two"}},
		{"nothing", mixed, "", nil},
		{"no part", mixed, "--b--", nil},
		{"no closing delimiter", mixed, one + "\r\n" + two, []string{"one", "two"}},
		{"delimiter ahead", mixed, one + "\r\n" + two + "\r\n--b\r\n", []string{"one", "two"}},
		{"closing delimiter without its line break", mixed, one + "\r\n--b--", []string{"one"}},
		{"every part closed", mixed, one + end + two + end, []string{"one", "two"}},
		{"every part closed, blank lines", mixed, one + end + "\r\n\r\n" + two + end + "\r\n", []string{"one", "two"}},
		{"closing delimiters alone", mixed, withLength("one") + end + withLength("two") + end, []string{"one", "two"}},
		{
			"closing delimiters alone, no lengths", mixed,
			noLength + "one" + end + noLength + photoA + end,
			[]string{"one", photoA},
		},
		{"delimiter twice", mixed, "--b\r\n" + one + "\r\n--b\r\n\r\n" + two + end, []string{"one", "two"}},
		{
			"no dashes", mixed,
			one[2:] + "\r\n" + two[2:] + "\r\nb\r\n" + noLength + "three\r\nb--\r\n",
			[]string{"one", "two", "three"},
		},
		{
			"more or fewer dashes", mixed,
			one + "\r\n" + two[2:] + "\r\n" + one[1:] + "\r\n----" + two + end,
			[]string{"one", "two", "one", "two"},
		},
		{
			"blanks behind delimiters", mixed,
			"--b \t\r\n" + withLength("one") + "\r\n--b-- \r\n--b \n" + withLength("two") + end,
			[]string{"one", "two"},
		},
		{"no blank line before a delimiter", mixed, one + two + "--b--", []string{"one", "two"}},
		{
			"text around", mixed,
			"preamble\r\nNote: b\r\n--bc\r\n b\r\n\r\n" + one + end + "Note: end\r\n\r\nepilogue",
			[]string{"one"},
		},
		{
			"long text around", mixed,
			strings.Repeat("preamble", 9999) + "\n" + one + end + strings.Repeat("epilogue\n", 9999),
			[]string{"one"},
		},
		{"first delimiter missing", mixed, withLength("one") + "\r\n" + two + end, []string{"one", "two"}},
		{
			"first delimiter missing, blank lines", mixed,
			"\r\n\r\n" + withLength("one") + "\r\n" + two + end,
			[]string{"one", "two"},
		},
		{"first header missing", mixed, photoA + "\r\n" + two + end, []string{photoA, "two"}},
		{"header missing", mixed, one + "\r\n--b\r\n" + photoA + "\r\n" + two + end, []string{"one", photoA, "two"}},
		{"header missing, not a JPEG", mixed, one + "\r\n--b\r\n\xff\xfb\r\n" + two + end, []string{"one", bad, "two"}},
		{"header empty", mixed, "--b\r\n\r\nimage\r\n--b\r\n\r\n" + photoA + end, []string{"image", photoA}},
		{
			"LF", mixed,
			strings.ReplaceAll(one+"\r\n"+two+"\r\n--b\r\n"+noLength+"three"+end, "\r", ""),
			[]string{"one", "two", "three"},
		},
		{
			"LF and CRLF", mixed,
			"--b\nContent-Length: 3\r\n\none\n--b\r\nX: y\n\r\ntwo\r\n--b\n\nthree\n--b--\r\n",
			[]string{"one", "two", "three"},
		},
		{
			"names", mixed,
			"--b\r\ncontent-length:3\r\n\r\none\r\n--b\r\nCONTENT-LENGTH \t: \t 3 \r\n\r\ntwo" + end,
			[]string{"one", "two"},
		},
		{
			"odd header lines", mixed,
			"--b\r\nHTTP/1.0 200 OK\r\nX\r\nContent-Length: 3\r\n  folded\r\n: y\r\n\r\none" + end,
			[]string{"one"},
		},
		{"blank lines", mixed, one + "\r\n\r\n \t\r\n" + two + "\r\n\r\n" + end, []string{"one", "two"}},
		{
			"blank lines of many blocks", mixed,
			"--b\r\n" + withLength(photoA) + strings.Repeat("\r\n", readAhead) + two + end,
			[]string{photoA, "two"},
		},
		{
			"delimiter in an image of known length", mixed,
			"--b\r\n" + withLength("\r\n--b\r\n\r\n--b--\r\n") + "\r\n" + two + end,
			[]string{"\r\n--b\r\n\r\n--b--\r\n", "two"},
		},
		{"length 0", mixed, "--b\r\n" + withLength("") + "\r\n" + two + end, []string{bad, "two"}},
		{"length too large", mixed, "--b\r\n" + withLength(long) + "\r\n" + two + end, []string{bad, "two"}},
		{
			"length too large, and not sent", mixed,
			one + "\r\n--b\r\nContent-Length: 99999\r\n\r\nimage\r\n" + two + end,
			[]string{"one", "image", "two"},
		},
		{"length of the largest", mixed, "--b\r\n" + withLength(long[1:]) + "\r\n" + two + end, []string{long[1:], "two"}},
		{"length negative", mixed, "--b\r\nContent-Length: -3\r\n\r\nimage\r\n" + two + end, []string{"image", "two"}},
		{
			"length that is not a number", mixed,
			"--b\r\nContent-Length: 3 bytes\r\n\r\nimage\r\n" + two + end,
			[]string{"image", "two"},
		},
		{
			"length beyond numbers", mixed,
			"--b\r\nContent-Length: 99999999999999999999\r\n\r\nimage\r\n" + two + end,
			[]string{"image", "two"},
		},
		{"length empty", mixed, "--b\r\nContent-Length:\r\n\r\nimage\r\n" + two + end, []string{"image", "two"}},
		{
			"lengths that differ", mixed,
			"--b\r\nContent-Length: 3\r\nContent-Length: 4\r\nContent-Length: 3\r\n\r\nimage\r\n" + two + end,
			[]string{"image", "two"},
		},
		{
			"length twice", mixed,
			"--b\r\nContent-Length: 3\r\nContent-Length: 03\r\n\r\none\r\n" + two + end,
			[]string{"one", "two"},
		},
		{
			"no length", mixed,
			"--b\r\n" + noLength + photoA + "\r\n--b\r\n" + noLength + "\x89PNG\r\n\x1a\n" + pngEnd + "\r\r\n--b\r\n" +
				noLength + "\xff" + end,
			[]string{photoA, "\x89PNG\r\n\x1a\n" + pngEnd + "\r", "\xff"},
		},
		{
			"no length, cut before the delimiter", mixed,
			"--b\r\n" + noLength + "\x89PNG\r\n\x1a\n" + pngEnd[:7] + "\r\n--b\r\n" + noLength + "GIF89a;x\r\n--b\r\n" +
				noLength + "RIFF\x06\x00\x00\x00WEBPx\r\n--b\r\n" + noLength + "GIF89a;\x00" + end,
			[]string{bad, bad, bad, "GIF89a;\x00"},
		},
		{
			"no length, no last delimiter", mixed,
			"--b\r\n" + noLength + photoA + "--b\r\n" + noLength + "image\r\n",
			[]string{photoA, "image\r\n"},
		},
		{
			"no length, empty", mixed,
			"--b\r\n" + noLength + "\r\n" + two + "--b\r\n" + noLength + two + "\r\n--b\r\n" + noLength,
			[]string{bad, "two", bad, "two", bad},
		},
		{
			"no length, padding", mixed,
			"--b\r\n" + noLength + photoA + "\r\n\r\n\r\n" + two + "\r\n--b\r\n" + noLength + photoB +
				"\r\n\r\n--b\r\n",
			[]string{photoA, "two", photoB},
		},
		{
			"no length, too large", mixed,
			"--b\r\n" + noLength + long + "\r\n" + two + "\r\n--b\r\n" + noLength + tooLargeBy1 + "\r\n" + two,
			[]string{bad, "two", bad, "two"},
		},
		{
			"no length, the largest", mixed,
			"--b\r\n" + noLength + long[1:] + "\r\n--b\r\n" + noLength + largest + end,
			[]string{long[1:], largest},
		},
		{
			"no length, all kinds", mixed,
			"--b\r\n\r\n" + strings.Join([]string{preview, filled, restarts, progressive, odd}, "\r\n--b\r\n\r\n"),
			[]string{preview, filled, restarts, progressive, odd},
		},
		{
			"cut in its scan", mixed,
			"--b\r\n" + noLength + photoA[:len(photoA)-2] + "\r\n" + two + "\r\n--b\r\n" + noLength + photoA[:len(photoA)-1] +
				"\n" + one,
			[]string{bad, "two", bad, "one"},
		},
		{
			"cut in a segment", mixed,
			"--b\r\n" + noLength + preview[:20] + "\r\n" + two + "\r\n--b\r\n" + noLength + preview[:5] + "\n" + one,
			[]string{bad, "two", bad, "one"},
		},
		{
			"cut between segments", mixed,
			"--b\r\n" + noLength + "\xff\xd8\r\n" + two + "\r\n--b\r\n" + noLength + "\xff\xd8\n" + one,
			[]string{bad, "two", bad, "one"},
		},
		{
			"cut by the next image", mixed,
			"--b\r\n" + noLength + photoA[:len(photoA)-2] + photoB + "\r\n" + two,
			[]string{bad, photoB, "two"},
		},
		{"cut by the end", mixed, one + "\r\n--b\r\n" + noLength + photoA[:len(photoA)-1], []string{"one", bad}},
		{
			"a PNG cut by the end", mixed,
			"--b\r\n" + noLength + pngPhoto + "\r\n--b\r\n" + noLength + pngPhoto[:len(pngPhoto)-1],
			[]string{pngPhoto, bad},
		},
		{"a PNG at the end", mixed, "--b\r\n" + noLength + pngPhoto, []string{pngPhoto}},
		{
			"a JPEG in base64 cut by the end", mixed,
			"--b\r\nContent-Transfer-Encoding: base64\r\n\r\n" + inBase64(photoB[:12]),
			[]string{bad},
		},
		{"cut by the end, length", mixed, one + "\r\n--b\r\nContent-Length: 9\r\n\r\nimage" + end[:3], []string{"one", bad}},
		{
			"cut in its header", mixed,
			one + "\r\n--b\r\nContent-Length: 3\r\n" + two + "\r\n--b\r\nContent-Length",
			[]string{"one", bad, "two", bad},
		},
		{"wrong marker", mixed, "--b\r\n" + noLength + photo("\xff\x02") + "\r\n" + two + end, []string{bad, "two"}},
		{"no marker", mixed, "--b\r\n" + noLength + "\xff\xd8\xff\xdb\x00\x02image\r\n" + two + end, []string{bad, "two"}},
		{"segment too short", mixed, "--b\r\n" + noLength + "\xff\xd8\xff\xdb\x00\x01\r\n" + two + end, []string{bad, "two"}},
		{
			"header too long", mixed,
			"--b\r\nX: " + long + strings.Repeat("\r\nX: y", 2000) + "\r\n" + two + "\r\n--b\r\n" + strings.Repeat(long, 9) +
				"\r\n" + two,
			[]string{bad, "two", bad, "two"},
		},
		{"header of bytes", mixed, "--b\r\n\x89PNG\r\n\x1a\n\r\n\r\nimage\r\n" + two + end, []string{bad, "two"}},
		{
			"short boundary in a JPEG", mixed,
			"--b\r\n" + noLength + photoB + "\r\n--b\r\n" + noLength + photo("\r\n-b\r\n") + end,
			[]string{photoB, photo("\r\n-b\r\n")},
		},
		{
			"dashes in the parameter", "multipart/x-mixed-replace;boundary=--b",
			one + "\r\n" + two + end,
			[]string{"one", "two"},
		},
		{
			"dashes behind the parameter", "multipart/x-mixed-replace;boundary=b--",
			one + "\r\n" + two + end,
			[]string{"one", "two"},
		},
		{
			"another boundary in the parameter", "multipart/x-mixed-replace;boundary=c",
			one + "\r\n" + two + end,
			[]string{"one", "two"},
		},
		{
			"all dashes in the parameter", "multipart/x-mixed-replace;boundary=--",
			one + "\r\n" + two + end,
			[]string{"one", "two"},
		},
		{"no parameter", "multipart/x-mixed-replace", "\r\n" + one + "\r\n" + two + end, []string{"one", "two"}},
		{"no type", "", one + "\r\n" + two + end, []string{"one", "two"}},
		{"another type", "image/jpeg", "--b--\n" + one + end + two + end, []string{"one", "two"}},
		{"no type, no part", "", "--b--", nil},
	})
}

func TestSplitBoundary(t *testing.T) {
	t.Parallel()
	for contentType, want := range map[string]string{
		"multipart/x-mixed-replace;boundary=x":                    "x",
		"multipart/x-mixed-replace; boundary =x":                  "x",
		"multipart/x-mixed-replace; boundary = x ; charset=utf-8": "x",
		"multipart/x-mixed-replace; boundary=--x--y":              "x--y",
		"multipart/x-mixed-replace; boundary=a:b/c=d":             "a:b/c=d",
		`multipart/x-mixed-replace; boundary="a;b c"`:             "a;b c",
		`multipart/x-mixed-replace; x=";boundary=y"; boundary=z`:  "z",
		`multipart/x-mixed-replace; boundary="--x`:                "x",
		" Multipart/Form-Data ; BOUNDARY=----x":                   "x",
		"multipart/x-mixed-replace; xboundary=x":                  "",
		"multipart/x-mixed-replace; boundary":                     "",
		"multipart/x-mixed-replace; boundary=":                    "",
		"multipart/x-mixed-replace; boundary=----":                "",
		"multipart/x-mixed-replace; boundary=\"a\xff\"":           "",
		"multipart/mixed; boundary=" + strings.Repeat("x", 201):   "",
		"image/jpeg; boundary=x":                                  "",
		"":                                                        "",
	} {
		if got := boundaryIn(contentType); string(got) != want {
			t.Errorf("%q: got %q, want %q", contentType, got, want)
		}
	}
}
