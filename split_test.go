package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

const (
	mixed = "multipart/x-mixed-replace; boundary=b"

	// bad stands for a skipped part among the images of a body.
	bad = "(skipped)"

	// splitMost is the largest image in these tests.
	splitMost = 1 << 10
)

// splitAll returns the images of a body in order, and its last error.
func splitAll(t testing.TB, body io.Reader, kind string, most int64) (found []string, err error) {
	t.Helper()
	room := 0
	s := newSplitter(body, kind, most, testUpload(t, func(size int) []byte {
		room = size
		return make([]byte, size)
	}))
	for range 1 << 20 {
		image, err := s.next()
		skip, isSkip := errors.AsType[*skippedPart](err)
		switch {
		case isSkip && image == nil && skip.why != "":
			found = append(found, bad)
		case err != nil:
			if again, same := s.next(); image != nil || again != nil || same != err {
				t.Errorf("got %q and %v behind the last error %v", again, same, err)
			}
			return found, err
		case len(image) == 0 || len(image) != room || int64(len(image)) > most:
			t.Fatalf("got an image of %d bytes, room was made for %d, allowed are %d", len(image), room, most)
		default:
			found = append(found, string(image))
		}
	}
	t.Fatal("no end")
	return nil, nil
}

// inPieces delivers a body in pieces of random size, the same every time.
type inPieces struct {
	body io.Reader
	*rand.Rand
}

func (r inPieces) Read(p []byte) (int, error) {
	return r.body.Read(p[:min(len(p), 1+r.IntN(1+r.IntN(200)))])
}

// deliveries are the ways in which a network may deliver a body.
func deliveries(body string) map[string]io.Reader {
	reader := func() io.Reader { return strings.NewReader(body) }
	return map[string]io.Reader{
		"whole":           reader(),
		"byte by byte":    iotest.OneByteReader(reader()),
		"in pieces":       inPieces{reader(), rand.New(rand.NewPCG(1, 2))},
		"end with a byte": iotest.DataErrReader(iotest.OneByteReader(reader())),
	}
}

// splitEvery splits a body in each delivery. The results are one.
func splitEvery(t testing.TB, body, kind string, most int64) (found []string, err error) {
	t.Helper()
	found, err = splitAll(t, strings.NewReader(body), kind, most)
	for how, reader := range deliveries(body) {
		if got, gotErr := splitAll(t, reader, kind, most); !slices.Equal(got, found) || gotErr != err {
			t.Errorf("%s: got %.999q, %v, want %.999q, %v", how, got, gotErr, found, err)
		}
	}
	return found, err
}

type splitRow struct {
	name, kind, body string
	want             []string
}

func testSplit(t *testing.T, rows []splitRow) {
	t.Parallel()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if got, err := splitEvery(t, row.body, row.kind, splitMost); !slices.Equal(got, row.want) || err != io.EOF {
				t.Errorf("got %.999q, error %v, want %.999q", got, err, row.want)
			}
		})
	}
}

// withLength is a part's header and content.
func withLength(image string) string {
	return fmt.Sprintf("Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s", len(image), image)
}

const noLength = "Content-Type: image/jpeg\r\n\r\n"

func jpegSegment(code byte, data string) string {
	size := len(data) + 2
	return string([]byte{0xff, code, byte(size >> 8), byte(size)}) + data
}

// photo is a JPEG in structure: tables, a scan of this data, the end.
func photo(data string) string {
	return "\xff\xd8" + jpegSegment(0xdb, "tables") + jpegSegment(sos, "scan") + data + "\xff\xd9"
}

// Each of these is one JPEG.
var (
	photoA      = photo("a")
	photoB      = photo("b\r\n\r\nb\r\n")
	preview     = strings.Replace(photoA, "\xff\xdb", jpegSegment(0xe1, "Exif\x00\x00"+photoB)+"\xff\xdb", 1)
	filled      = strings.NewReplacer("\xff\xdb", "\xff\xff\xff\xdb", "\xff\xd9", "\xff\xff\xd9").Replace(photoA)
	restarts    = photo("a\xff\x00\xff\xd0b\xff\xd7c\xff\xff\x00\xff\xff\xd3d\xff\x00")
	progressive = photo("one" + jpegSegment(0xc4, "\xff\xd8\xff\xd9") + jpegSegment(sos, "") + "two\xff\x01" + jpegSegment(sos, "\xff\xd9") + "\xff\x00")
	odd         = "\xff\xd8\xff\x01\xff\xd3" + jpegSegment(0xfe, "\n--b") + photo("\r\n--c\r\n--\r\nb\r\n--b c\r\n")[2:]
	largest     = photo(strings.Repeat("x", splitMost-len(photo(""))))
	tooLargeBy1 = photo(strings.Repeat("x", splitMost-len(photo(""))+1))
)

func TestSplitMultipart(t *testing.T) {
	const end = "\r\n--b--\r\n"
	one, two := "--b\r\n"+withLength("one"), "--b\r\n"+withLength("two")
	long := strings.Repeat("x", splitMost+1)
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
		{"closing delimiters alone, no lengths", mixed, noLength + "one" + end + noLength + photoA + end, []string{"one", photoA}},
		{"delimiter twice", mixed, "--b\r\n" + one + "\r\n--b\r\n\r\n" + two + end, []string{"one", "two"}},
		{"no dashes", mixed, one[2:] + "\r\n" + two[2:] + "\r\nb\r\n" + noLength + "three\r\nb--\r\n", []string{"one", "two", "three"}},
		{"more or fewer dashes", mixed, one + "\r\n" + two[2:] + "\r\n" + one[1:] + "\r\n----" + two + end, []string{"one", "two", "one", "two"}},
		{"blanks behind delimiters", mixed, "--b \t\r\n" + withLength("one") + "\r\n--b-- \r\n--b \n" + withLength("two") + end, []string{"one", "two"}},
		{"no blank line before a delimiter", mixed, one + two + "--b--", []string{"one", "two"}},
		{"text around", mixed, "preamble\r\nNote: b\r\n--bc\r\n b\r\n\r\n" + one + end + "Note: end\r\n\r\nepilogue", []string{"one"}},
		{"long text around", mixed, strings.Repeat("preamble", 9999) + "\n" + one + end + strings.Repeat("epilogue\n", 9999), []string{"one"}},
		{"first delimiter missing", mixed, withLength("one") + "\r\n" + two + end, []string{"one", "two"}},
		{"first delimiter missing, blank lines", mixed, "\r\n\r\n" + withLength("one") + "\r\n" + two + end, []string{"one", "two"}},
		{"first header missing", mixed, photoA + "\r\n" + two + end, []string{photoA, "two"}},
		{"header missing", mixed, one + "\r\n--b\r\n" + photoA + "\r\n" + two + end, []string{"one", photoA, "two"}},
		{"header missing, no JPEG", mixed, one + "\r\n--b\r\n\xff\xfb\r\n" + two + end, []string{"one", bad, "two"}},
		{"header empty", mixed, "--b\r\n\r\nimage\r\n--b\r\n\r\n" + photoA + end, []string{"image", photoA}},
		{"LF", mixed, strings.ReplaceAll(one+"\r\n"+two+"\r\n--b\r\n"+noLength+"three"+end, "\r", ""), []string{"one", "two", "three"}},
		{"LF and CRLF", mixed, "--b\nContent-Length: 3\r\n\none\n--b\r\nX: y\n\r\ntwo\r\n--b\n\nthree\n--b--\r\n", []string{"one", "two", "three"}},
		{"names", mixed, "--b\r\ncontent-length:3\r\n\r\nonetrash\r\n--b\r\nCONTENT-LENGTH \t: \t 3 \r\n\r\ntwotrash" + end, []string{"one", "two"}},
		{"odd header lines", mixed, "--b\r\nHTTP/1.0 200 OK\r\nX\r\nContent-Length: 3\r\n  folded\r\n: y\r\n\r\none" + end, []string{"one"}},
		{"padding", mixed, one + "\x00\x00\xff\r\n\r\n\r\n" + two + "\r\n\r\n" + end, []string{"one", "two"}},
		{"padding of many blocks", mixed, one + strings.Repeat("\x00\n", readAhead) + "\r\n" + two + end, []string{"one", "two"}},
		{"delimiter in an image of known length", mixed, "--b\r\n" + withLength("\r\n--b\r\n\r\n--b--\r\n") + "\r\n" + two + end, []string{"\r\n--b\r\n\r\n--b--\r\n", "two"}},
		{"length 0", mixed, "--b\r\n" + withLength("") + "\r\n" + two + end, []string{bad, "two"}},
		{"length too large", mixed, "--b\r\n" + withLength(long) + "\r\n" + two + end, []string{bad, "two"}},
		{"length too large, and not sent", mixed, one + "\r\n--b\r\nContent-Length: 99999\r\n\r\nimage\r\n" + two + end, []string{"one", bad}},
		{"length of the largest", mixed, "--b\r\n" + withLength(long[1:]) + "\r\n" + two + end, []string{long[1:], "two"}},
		{"length negative", mixed, "--b\r\nContent-Length: -3\r\n\r\nimage\r\n" + two + end, []string{"image", "two"}},
		{"length that is none", mixed, "--b\r\nContent-Length: 3 bytes\r\n\r\nimage\r\n" + two + end, []string{"image", "two"}},
		{"length beyond numbers", mixed, "--b\r\nContent-Length: 99999999999999999999\r\n\r\nimage\r\n" + two + end, []string{"image", "two"}},
		{"length empty", mixed, "--b\r\nContent-Length:\r\n\r\nimage\r\n" + two + end, []string{"image", "two"}},
		{"lengths that differ", mixed, "--b\r\nContent-Length: 3\r\nContent-Length: 4\r\nContent-Length: 3\r\n\r\nimage\r\n" + two + end, []string{"image", "two"}},
		{"length twice", mixed, "--b\r\nContent-Length: 3\r\nContent-Length: 03\r\n\r\none\r\n" + two + end, []string{"one", "two"}},
		{"no length", mixed, "--b\r\n" + noLength + photoA + "\r\n--b\r\n" + noLength + "\x89PNG\r\n\x1a\n\r\r\n--b\r\n" + noLength + "\xff" + end, []string{photoA, "\x89PNG\r\n\x1a\n\r", "\xff"}},
		{"no length, no last delimiter", mixed, "--b\r\n" + noLength + photoA + "--b\r\n" + noLength + "image\r\n", []string{photoA, "image\r\n"}},
		{"no length, empty", mixed, "--b\r\n" + noLength + "\r\n" + two + "--b\r\n" + noLength + two + "\r\n--b\r\n" + noLength, []string{bad, "two", bad, "two", bad}},
		{"no length, padding", mixed, "--b\r\n" + noLength + photoA + "\x00\xff\n\x00\r\n\r\n" + two + "\r\n--b\r\n" + noLength + photoB + "\r\n\r\n--b\r\n", []string{photoA, "two", photoB}},
		{"no length, too large", mixed, "--b\r\n" + noLength + long + "\r\n" + two + "\r\n--b\r\n" + noLength + tooLargeBy1 + "\r\n" + two, []string{bad, "two", bad, "two"}},
		{"no length, the largest", mixed, "--b\r\n" + noLength + long[1:] + "\r\n--b\r\n" + noLength + largest + end, []string{long[1:], largest}},
		{"no length, all kinds", mixed, "--b\r\n\r\n" + strings.Join([]string{preview, filled, restarts, progressive, odd}, "\r\n--b\r\n\r\n"), []string{preview, filled, restarts, progressive, odd}},
		{"cut in its scan", mixed, "--b\r\n" + noLength + photoA[:len(photoA)-2] + "\r\n" + two + "\r\n--b\r\n" + noLength + photoA[:len(photoA)-1] + "\n" + one, []string{bad, "two", bad, "one"}},
		{"cut in a segment", mixed, "--b\r\n" + noLength + preview[:20] + "\r\n" + two + "\r\n--b\r\n" + noLength + preview[:5] + "\n" + one, []string{bad, "two", bad, "one"}},
		{"cut between segments", mixed, "--b\r\n" + noLength + "\xff\xd8" + two + "\r\n--b\r\n" + noLength + "\xff\xd8\n" + one, []string{bad, "two", bad, "one"}},
		{"cut by the next image", mixed, "--b\r\n" + noLength + photoA[:len(photoA)-2] + photoB + "\r\n" + two, []string{bad, photoB, "two"}},
		{"cut by the end", mixed, one + "\r\n--b\r\n" + noLength + photoA[:len(photoA)-1], []string{"one", bad}},
		{"cut by the end, length", mixed, one + "\r\n--b\r\nContent-Length: 9\r\n\r\nimage" + end[:3], []string{"one", bad}},
		{"cut in its header", mixed, one + "\r\n--b\r\nContent-Length: 3\r\n" + two + "\r\n--b\r\nContent-Length", []string{"one", bad, "two", bad}},
		{"wrong marker", mixed, "--b\r\n" + noLength + photo("\xff\x02") + "\r\n" + two + end, []string{bad, "two"}},
		{"no marker", mixed, "--b\r\n" + noLength + "\xff\xd8\xff\xdb\x00\x02image\r\n" + two + end, []string{bad, "two"}},
		{"segment too short", mixed, "--b\r\n" + noLength + "\xff\xd8\xff\xdb\x00\x01\r\n" + two + end, []string{bad, "two"}},
		{"text parts", mixed, "--b\r\nContent-Type: Text/Plain; x=y\r\n\r\n1\r\n" + two + "\r\n--b\r\nContent-Type:application/JSON ;x\r\nContent-Length: 7\r\n\r\n\r\n--b\r\n\r\n--b\r\n" + noLength + "image" + end, []string{"two", "image"}},
		{"header too long", mixed, "--b\r\nX: " + long + strings.Repeat("\r\nX: y", 2000) + "\r\n" + two + "\r\n--b\r\n" + strings.Repeat(long, 9) + "\r\n" + two, []string{bad, "two", bad, "two"}},
		{"header of bytes", mixed, "--b\r\n\x89PNG\r\n\x1a\n\r\n\r\nimage\r\n" + two + end, []string{bad, "two"}},
		{"short boundary in a JPEG", mixed, "--b\r\n" + noLength + photoB + "\r\n--b\r\n" + noLength + photo("\r\n-b\r\n") + end, []string{photoB, photo("\r\n-b\r\n")}},
		{"dashes in the parameter", "multipart/x-mixed-replace;boundary=--b", one + "\r\n" + two + end, []string{"one", "two"}},
		{"dashes behind the parameter", "multipart/x-mixed-replace;boundary=b--", one + "\r\n" + two + end, []string{"one", "two"}},
		{"another boundary in the parameter", "multipart/x-mixed-replace;boundary=c", one + "\r\n" + two + end, []string{"one", "two"}},
		{"all dashes in the parameter", "multipart/x-mixed-replace;boundary=--", one + "\r\n" + two + end, []string{"one", "two"}},
		{"no parameter", "multipart/x-mixed-replace", "\r\n" + one + "\r\n" + two + end, []string{"one", "two"}},
		{"no type", "", one + "\r\n" + two + end, []string{"one", "two"}},
		{"another type", "image/jpeg", "--b--\n" + one + end + two + end, []string{"one", "two"}},
		{"no type, no part", "", "--b--", nil},
	})
}

func TestSplitJPEG(t *testing.T) {
	junk := "\x00\r\n--b\r\n\xff\x00\xff\xd9\xff"
	cut := photoA[:len(photoA)-2]
	testSplit(t, []splitRow{
		{"plain", "image/jpeg", photoA + photoB, []string{photoA, photoB}},
		{"nothing", "", "", nil},
		{"no type", "", photoA + photoB, []string{photoA, photoB}},
		{"multipart type", "multipart/x-mixed-replace", photoA + photoB, []string{photoA, photoB}},
		{"multipart without delimiters", "multipart/x-mixed-replace", withLength(photoA) + "\r\n" + withLength(photoB), []string{photoA, photoB}},
		{"no boundary behind dashes", "", "--\r\n" + photoA + "--" + photoB, []string{photoA, photoB}},
		{"one dash", "", "-" + photoA, []string{photoA}},
		{"junk", "", junk + photoA + junk + "\xff" + photoB + junk, []string{photoA, photoB}},
		{"padding", "", photoA + strings.Repeat("\x00", 3*readAhead) + photoB + strings.Repeat("\xff", 3*readAhead), []string{photoA, photoB}},
		{"no image in what begins as one", "", photoA + "\xff\xd8\x00\xff\xd8\x00" + photoB, []string{photoA, photoB}},
		{"all kinds", "", preview + filled + restarts + progressive + odd + largest, []string{preview, filled, restarts, progressive, odd, largest}},
		{"too large", "", photoA + tooLargeBy1 + photoB + tooLargeBy1, []string{photoA, bad, photoB, bad}},
		{"far too large", "", photo(strings.Repeat("\xff\x00\n", 9999)) + photoB, []string{bad, photoB}},
		{"cut in its scan", "", cut + photoA + cut + "\xff" + photoB + cut + cut + photoA, []string{bad, photoA, bad, photoB, bad, bad, photoA}},
		{"cut between segments", "", "\xff\xd8" + photoA + "\xff\xd8\xff" + photoB, []string{bad, photoA, bad, photoB}},
		{"cut by the end", "", photoA + cut, []string{photoA, bad}},
		{"cut behind its start", "", photoA + "\xff\xd8", []string{photoA, bad}},
		{"wrong marker", "", photo("\xff\x02") + photoA + photo("\xff\xbf") + photoB, []string{bad, photoA, bad, photoB}},
		{"no marker", "", "\xff\xd8" + jpegSegment(0xdb, "") + "image" + photoA, []string{bad, photoA}},
		{"segment too short", "", "\xff\xd8\xff\xdb\x00\x01" + photoA + "\xff\xd8\xff\xda\x00\x00" + photoB, []string{bad, photoA, bad, photoB}},
	})
}

// The images that the project draws itself, in all the ways to send them.
func TestSplitRealImages(t *testing.T) {
	t.Parallel()
	var images, parts, bare []string
	for i := range 9 {
		image := string(numberedJPEG(i, 32<<(i%4), 24<<(i%4)))
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
	for _, row := range []struct{ kind, body string }{
		{mixed, "\n--\r\n--c\r\n" + withLength("image") + "\r\n--c--\r\n"},
		{mixed, "text"},
		{"text/plain", "text"},
		{"", "\x89PNG\r\n\x1a\n\xff"},
		{"", "--\r\n"},
	} {
		got, err := splitEvery(t, row.body, row.kind, splitMost)
		if refused, ok := errors.AsType[*refusal](err); got != nil || !ok || refused.status != http.StatusUnsupportedMediaType {
			t.Errorf("%q: got %q, error %v, want status 415", row.body, got, err)
		}
	}
}

func TestSplitBoundary(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]string{
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
		if got := boundaryIn(kind); string(got) != want {
			t.Errorf("%q: got %q, want %q", kind, got, want)
		}
	}
}
