package ingest

import (
	"io"
	"slices"
	"strings"
	"testing"
)

// FuzzSplitMultipart holds any body to what is promised of all bodies, and takes the same bytes as images: sent with
// their lengths, the images come back as they are.
func FuzzSplitMultipart(f *testing.F) {
	for _, body := range []string{
		"--b\r\n" + withLength("one") + "\r\n--b\r\n" + noLength + photoA + "\r\n--b--\r\n",
		"\n--b\n\nb\n\n--b--",
		"b\n\n\xff\xd8\nb",
		"--b\r\nContent-Type: text/plain\r\n\r\nb\r\n-b\r\n\r\nimage\r\n",
		noLength + odd + "--b\n" + preview + "\n--b",
		"--b\r\nX\r\n\x00\r\n--b",
		"--b\r\n\r\n" + photoA[:9] + "\n--b\r\n\r\n" + photoA[:17] + photoA,
		"--b-- \n--b\t\r\nContent-Length : 3\nContent-Length:4\n\n-\r-\r\n-b-\r\n",
	} {
		f.Add([]byte(body), mixed, byte('\n'))
	}
	f.Add([]byte("\r\n--a:b--\r\n\r\n"+photoB+"\r\n"), "multipart/mixed;boundary", byte(0))
	f.Add([]byte("-a b\n\n\x00"), `multipart/mixed; x="y;"; boundary ="-a b" `, byte(' '))
	wrong := "--b\r\nContent-Length: 7\r\n\r\n" + photoA
	f.Add([]byte(wrong+"\r\n--b\r\n\r\ndata:image/x;base64,/9j/\r\n--b--"), mixed, byte(0))
	delimiters := []string{"\r\n--b\r\n", "\n--b--\n--b \n", "--b\r\n", "\r\n\r\n--b--\r\n"}
	f.Fuzz(func(t *testing.T, body []byte, contentType string, between byte) {
		if len(body) > 1<<10 {
			return
		}
		for _, reader := range deliveries(string(body)) {
			got, _ := splitAll(t, reader, contentType, 100)
			wantOf(t, string(body), got)
		}

		var images []string
		for image := range strings.FieldsFuncSeq(string(body), func(r rune) bool { return r == rune(between) }) {
			if image = strings.TrimRight(image, "\r\n"); completenessOf([]byte(image)) != unknown {
				image = strings.ReplaceAll(image, "b", "c") // a whole image may end at what looks like a delimiter
			}
			if image != "" && !isDataURL([]byte(image)) {
				images = append(images, image)
			}
		}
		form := ""
		for i, image := range images {
			form += delimiters[(i+len(body))%len(delimiters)] + withLength(image)
		}
		if len(images) > 0 {
			form += "\r\n--b--" // otherwise the last one may end with what looks like a delimiter
		}
		if got, err := splitEvery(t, form, mixed, 1<<12); !slices.Equal(got, images) || err != io.EOF {
			t.Errorf("got %q, error %v, want %q", got, err, images)
		}
	})
}

// wantOf checks that images are of a body, and no more than can be in it.
func wantOf(t *testing.T, body string, images []string) {
	t.Helper()
	if len(images) > 1+len(body)/2 {
		t.Errorf("got %d images and skipped parts from %d bytes", len(images), len(body))
	}
	decoded := strings.Contains(strings.ToLower(body), "base64")
	for _, image := range images {
		if image != bad && !strings.Contains(body, image) && !decoded {
			t.Errorf("got %q from %q", image, body)
		}
	}
}

// FuzzSplitJPEG holds any body to what is promised of all bodies, and puts the same bytes between images and into them:
// none of that hides an image.
func FuzzSplitJPEG(f *testing.F) {
	for _, body := range []string{
		photoA + photoB, preview + filled, restarts + progressive, odd,
		photoA[:9] + photoA, photoB[:17] + photoB, tooLargeBy1 + photoA,
		"\xff\xd8\xff\xd8\xff\xd9", "\xff\xd8\xff\xda\x00\x02\xff\x00\xff\xd9",
		"\r\n--b\n\xff\xd8\xff\xff\x01\xff\xe0\x00\x01", "", mpo(0, photoA, photoB) + photoA, mpo(9, photoA, photoB),
	} {
		f.Add([]byte(body))
	}
	drawn := drawnJPEG(f, 7, 16, 16)
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > 1<<10 {
			return
		}
		got, _ := splitEvery(t, "x"+string(body), "", splitMax) // not a body that begins with a boundary
		wantOf(t, string(body), got)
		for _, image := range got {
			image = strings.TrimRight(image, "\x00") // where an index has a picture that does not come
			if image != bad && (!strings.HasPrefix(image, "\xff\xd8") || !strings.HasSuffix(image, "\xff\xd9")) {
				t.Errorf("got %q from %q", image, body)
			}
		}

		junk := strings.ReplaceAll(string(body), "\xff", "")
		own := photo(strings.ReplaceAll(string(body), "\xff", "\xff\x00"))
		within := strings.Replace(photoA, "\xff\xdb", jpegSegment(0xe1, string(body))+"\xff\xdb", 1)
		want := []string{drawn, own, within, drawn}
		got, err := splitEvery(t, "x"+junk+strings.Join(want, junk)+junk, "", 1<<16)
		if !slices.Equal(got, want) || err != io.EOF {
			t.Errorf("got %q, error %v, want %q", got, err, want)
		}
	})
}

func BenchmarkSplit(b *testing.B) {
	image := drawnJPEG(b, 1, 1400, 1100)
	for name, next := range map[string]string{
		"JPEG":      image,
		"length":    "--boundary\r\n" + withLength(image) + "\r\n",
		"no length": "--boundary\r\n" + noLength + image + "\r\n",
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(image)))
			kept := make([]byte, len(image))
			at := strings.NewReader("")
			endless := readerFunc(func(p []byte) (int, error) {
				if at.Len() == 0 {
					at.Reset(next)
				}
				return at.Read(p)
			})
			s := newSplitter(b, endless, "", 1<<20, testUpload(b, func(size int) []byte { return kept[:size] }))
			for b.Loop() {
				if got, err := s.Next(); len(got) != len(image) || err != nil {
					b.Fatal(len(got), err)
				}
			}
		})
	}
}
