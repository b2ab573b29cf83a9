package main

import (
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// bodiesOfPieces are good bodies in pieces: at the end of a piece its image is
// complete, and not before.
var bodiesOfPieces = []struct {
	name, kind string
	pieces     []piece
}{
	{"JPEGs", "", []piece{
		{photoA, photoA},
		{photoB, photoB},
		{"\r\n\x00" + preview, preview},
		{"\xff" + filled, filled},
		{restarts, restarts},
		{progressive, progressive},
		{"\x00\r\n", ""},
	}},
	{"lengths", mixed, []piece{
		{"--b\r\n" + withLength("one"), "one"},
		{"\r\n--b\r\n" + withLength(photoA), photoA},
		{"--b\nContent-Length: 4\n\n\nb\r\n", "\nb\r\n"},
		{"\r\n--b--\r\n--b\r\n" + withLength("four"), "four"},
		{"\r\n--b--\r\n", ""},
	}},
	{"no lengths", "", []piece{
		{"--b\r\n" + noLength + photoA, photoA},
		{"\r\n--b\r\n" + noLength + photoB, photoB},
		{"\r\n--b\n" + noLength + "image\r\n--b\r\n", "image"},
		{noLength + "\xff\r\n\r\n--b--\n", "\xff\r\n"},
		{withLength("known"), "known"},
		{"\r\n--b \r\n\r\n" + odd, odd},
		{"--b\r\n" + noLength + "\n--\n--b \n", "\n--"},
		{photoB, photoB},
		{"\r\n--b--\r\n", ""},
	}},
}

type piece struct{ body, image string }

// An image is returned before any later byte is read.
func TestSplitAtOnce(t *testing.T) {
	t.Parallel()
	for _, row := range bodiesOfPieces {
		var now piece
		s := newSplitter(readerFunc(func(p []byte) (int, error) {
			if now.body == "" {
				t.Fatalf("%s: read on before %q was returned", row.name, now.image)
			}
			n := copy(p, now.body)
			now.body = now.body[n:]
			return n, nil
		}), row.kind, splitMost, testUpload(t, bytesOf))
		for _, now = range row.pieces[:len(row.pieces)-1] {
			image, err := s.next()
			if string(image) != now.image || err != nil || now.body != "" {
				t.Fatalf("%s: got %q, error %v, %d bytes too early, want %q", row.name, image, err, len(now.body), now.image)
			}
		}
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A body that is cut, at any byte, gives the images that were complete by then.
func TestSplitCut(t *testing.T) {
	t.Parallel()
	for _, row := range bodiesOfPieces {
		var body string
		var complete []string
		for _, next := range row.pieces {
			for at := range next.body {
				here := body + next.body[:at]
				for how, reader := range deliveries(here) {
					got, err := splitAll(t, io.MultiReader(reader, new(cutOnce)), row.kind, splitMost)
					if !slices.Equal(got, complete) || err != io.ErrUnexpectedEOF {
						t.Fatalf("%s, %s: got %q, error %v, from %q, want %q", row.name, how, got, err, here, complete)
					}
				}
			}
			body += next.body
			if next.image != "" {
				complete = append(complete, next.image)
			}
		}
		if got, err := splitEvery(t, body, row.kind, splitMost); !slices.Equal(got, complete) || err != io.EOF {
			t.Errorf("%s: got %q, error %v, want %q", row.name, got, err, complete)
		}
	}
}

// cutOnce says once that the body was cut, as a request's body does.
type cutOnce bool

func (cut *cutOnce) Read([]byte) (int, error) {
	if *cut {
		return 0, io.EOF
	}
	*cut = true
	return 0, io.ErrUnexpectedEOF
}

// However much a body claims or holds, memory is that of one image. The bound
// leaves room for its copy, for what is read ahead, and for a part that is skipped.
func TestSplitMemory(t *testing.T) {
	const most, length = 1 << 17, 4 << 20
	endless := func(s string) io.Reader {
		chunk := strings.Repeat(s, readAhead/len(s))
		rest := length
		return readerFunc(func(p []byte) (int, error) {
			if rest <= 0 {
				return 0, io.EOF
			}
			n := copy(p, chunk)
			rest -= n
			return n, nil
		})
	}
	for _, row := range []struct {
		name, kind string
		body       io.Reader
		want       []string
	}{
		{"a claim", mixed, strings.NewReader("--b\r\nContent-Length: 1073741824\r\n\r\nimage"), []string{bad}},
		{"a length", mixed, io.MultiReader(strings.NewReader("--b\r\nContent-Length: 1000000000\r\n\r\n"), endless("x")), []string{bad}},
		{"no length", mixed, io.MultiReader(strings.NewReader("--b\r\n\r\n"), endless("x")), []string{bad}},
		{"text before", mixed, endless("\r\n-b"), nil},
		{"a line before", mixed, endless("x"), nil},
		{"a header", mixed, io.MultiReader(strings.NewReader("--b\r\n"), endless("X: y\r\n")), []string{bad}},
		{"a header line", mixed, io.MultiReader(strings.NewReader("--b\r\n"), endless("x")), []string{bad}},
		{"a boundary", mixed, io.MultiReader(strings.NewReader("--b\r\n\r\n"), endless("\n"+strings.Repeat("-", 9999))), []string{bad}},
		{"a JPEG", "", io.MultiReader(strings.NewReader(photoA+"\xff\xd8"), endless(jpegSegment(0xe1, "x"))), []string{photoA, bad}},
		{"a scan", mixed, io.MultiReader(strings.NewReader("--b\r\n\r\n"+photoA[:len(photoA)-2]), endless("\xff\x00\xff\xd0")), []string{bad}},
		{"fill bytes", "", io.MultiReader(strings.NewReader(photoA+"\xff\xd8"), endless("\xff")), []string{photoA, bad}},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got, _ := splitAll(t, row.body, row.kind, most)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; !slices.Equal(got, row.want) || used > 6*most {
			t.Errorf("%s: got %.99q, want %.99q, with %d bytes", row.name, got, row.want, used)
		}
	}
}
