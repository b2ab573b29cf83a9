package ingest

import (
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// Real images, in all the ways to send them, come back as they are.
func TestSplitRealImages(t *testing.T) {
	t.Parallel()
	var images, parts, bare []string
	for i := range 9 {
		image := drawnJPEG(t, i, 32<<(i%4), 24<<(i%4))
		images = append(images, image)
		parts = append(parts, withLength(image))
		bare = append(bare, noLength+image)
	}
	for _, body := range []string{
		strings.Join(images, ""),
		"--b\r\n" + strings.Join(parts, "\r\n--b\r\n"),
		"--b\r\n" + strings.Join(bare, "\r\n--b\r\n"),
		"--b\r\n" + strings.Join(bare, "--b--\n") + "--b--\n",
		strings.Join(bare, "\r\n\r\n"),
	} {
		if got, err := splitEvery(t, body, "", 1<<20); !slices.Equal(got, images) || err != io.EOF {
			t.Errorf("got %d images, error %v, from %.99q", len(got), err, body)
		}
	}
}

func TestSplitNothing(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ contentType, body string }{
		{mixed, "\n--\r\n--c\r\n" + withLength("image") + "\r\n--c--\r\n"},
		{mixed, "text"},
		{"text/plain", "text"},
		{"", "\x89PNG\r\n\x1a\n\xff"},
		{"", "--\r\n"},
	} {
		got, err := splitEvery(t, row.body, row.contentType, splitMax)
		if got != nil || statusOf(err) != http.StatusUnsupportedMediaType {
			t.Errorf("%q: got %q, error %v, want status 415", row.body, got, err)
		}
	}
}

// bodiesOfPieces are good bodies in pieces. The image of a piece is complete at the end of the piece, and not before.
var bodiesOfPieces = []struct {
	name, contentType string
	pieces            []piece
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
		s := newSplitter(t, readerFunc(func(p []byte) (int, error) {
			if now.body == "" {
				t.Fatalf("%s: read on before %q was returned", row.name, now.image)
			}
			n := copy(p, now.body)
			now.body = now.body[n:]
			return n, nil
		}), row.contentType, splitMax, testUpload(t, bytesOf))
		for _, now = range row.pieces[:len(row.pieces)-1] {
			image, err := s.Next()
			if string(image) != now.image || err != nil || now.body != "" {
				t.Fatalf("%s: got %q, error %v, %d bytes too early, want %q", row.name, image, err, len(now.body), now.image)
			}
		}
	}
}

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
					got, err := splitAll(t, io.MultiReader(reader, new(cutOnce)), row.contentType, splitMax)
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
		if got, err := splitEvery(t, body, row.contentType, splitMax); !slices.Equal(got, complete) || err != io.EOF {
			t.Errorf("%s: got %q, error %v, want %q", row.name, got, err, complete)
		}
	}
}

// cutOnce says once that the body was cut, as the body of a request does.
type cutOnce bool

func (cut *cutOnce) Read([]byte) (int, error) {
	if *cut {
		return 0, io.EOF
	}
	*cut = true
	return 0, io.ErrUnexpectedEOF
}

// However much a body claims or holds, the memory in use is that of one image. The bound leaves room for the copy of
// the image, for what is read ahead, and for a part that is skipped.
func TestSplitMemory(t *testing.T) {
	const maxBytes, length = 1 << 17, 4 << 20
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
	behind := func(start, more string) io.Reader { return io.MultiReader(strings.NewReader(start), endless(more)) }
	for _, row := range []struct {
		name, contentType string
		body              io.Reader
		want              []string
	}{
		{"a claim", mixed, strings.NewReader("--b\r\nContent-Length: 1073741824\r\n\r\nimage"), []string{bad}},
		{"a length", mixed, behind("--b\r\nContent-Length: 1000000000\r\n\r\n", "x"), []string{bad}},
		{
			"a wrong length", mixed,
			behind("--b\r\n"+withClaim(maxBytes, photoA)+"\r\n--b\r\n\r\n", "x"),
			[]string{photoA, bad},
		},
		{"no length", mixed, behind("--b\r\n\r\n", "x"), []string{bad}},
		{"text before", mixed, endless("\r\n-b"), nil},
		{"a line before", mixed, endless("x"), nil},
		{"a header", mixed, behind("--b\r\n", "X: y\r\n"), []string{bad}},
		{"a header line", mixed, behind("--b\r\n", "x"), []string{bad}},
		{"a boundary", mixed, behind("--b\r\n\r\n", "\n"+strings.Repeat("-", 9999)), []string{bad}},
		{"a JPEG", "", behind(photoA+"\xff\xd8", jpegSegment(0xe1, "x")), []string{photoA, bad}},
		{"a scan", mixed, behind("--b\r\n\r\n"+photoA[:len(photoA)-2], "\xff\x00\xff\xd0"), []string{bad}},
		{"fill bytes", "", behind(photoA+"\xff\xd8", "\xff"), []string{photoA, bad}},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got, _ := splitAll(t, row.body, row.contentType, maxBytes)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; !slices.Equal(got, row.want) || used > 6*maxBytes {
			t.Errorf("%s: got %.99q, want %.99q, with %d bytes", row.name, got, row.want, used)
		}
	}
}
