package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/image-streamer/image-streamer/internal/httpserver"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// leastRate is the least average rate of a body, in bytes a second.
const leastRate = 1 << 10

func bytesOf(size int) []byte { return make([]byte, size) }

// testUpload is an upload that nothing limits.
func testUpload(t testing.TB, buffer func(int) []byte) *Upload {
	return NewBudget(BudgetOptions{Buffer: buffer}).Begin(t.Context(), ImageRate())
}

// statusOf returns the status of an error for the client, 0 for any other error, and 200 for nil.
func statusOf(err error) int {
	if err == nil {
		return http.StatusOK
	}
	if refused, ok := errors.AsType[*httpserver.Error](err); ok {
		return refused.Status
	}
	return 0
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// drawnJPEG is a real JPEG. Its size depends on the number.
func drawnJPEG(t testing.TB, number, width, height int) string {
	t.Helper()
	dots := rand.New(rand.NewPCG(uint64(number), 0))
	picture := image.NewGray(image.Rect(0, 0, width, height))
	for range width * height / 100 {
		picture.SetGray(dots.IntN(width), dots.IntN(height), color.Gray{Y: 0xff})
	}
	var out bytes.Buffer
	if err := jpeg.Encode(&out, picture, &jpeg.Options{Quality: 50 + number%50}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

const (
	mixed = "multipart/x-mixed-replace; boundary=b"

	// bad stands for a skipped part among the images of a body.
	bad = "(skipped)"

	// splitMax is the size of the largest image in the tests of the splitter.
	splitMax = 1 << 10
)

func newSplitter(t testing.TB, body io.Reader, contentType string, maxBytes int64, u *Upload) *Splitter {
	t.Helper()
	return testkit.Must(NewSplitter(body, http.Header{"Content-Type": {contentType}}, maxBytes, u))(t)
}

// splitAll returns the images of a body in order, and its last error.
func splitAll(t testing.TB, body io.Reader, contentType string, maxBytes int64) (found []string, err error) {
	t.Helper()
	room := 0
	s := newSplitter(t, body, contentType, maxBytes, testUpload(t, func(size int) []byte {
		room = size
		return make([]byte, size)
	}))
	for range 1 << 20 {
		image, err := s.Next()
		skipped, isSkipped := errors.AsType[*Skipped](err)
		switch {
		case isSkipped && image == nil && skipped.Error() != "":
			found = append(found, bad)
		case err != nil:
			if again, same := s.Next(); image != nil || again != nil || same != err {
				t.Errorf("got %q and %v behind the last error %v", again, same, err)
			}
			return found, err
		case len(image) == 0 || len(image) != room || int64(len(image)) > maxBytes:
			t.Fatalf("got an image of %d bytes, room was made for %d, allowed are %d", len(image), room, maxBytes)
		default:
			found = append(found, string(image))
		}
	}
	t.Fatal("no end")
	return nil, nil
}

// inPieces delivers a body in pieces of random size, the same every time.
func inPieces(body io.Reader) io.Reader {
	random := rand.New(rand.NewPCG(1, 2))
	return readerFunc(func(p []byte) (int, error) {
		return body.Read(p[:min(len(p), 1+random.IntN(1+random.IntN(200)))])
	})
}

// deliveries are the ways in which a network may deliver a body.
func deliveries(body string) map[string]io.Reader {
	reader := func() io.Reader { return strings.NewReader(body) }
	return map[string]io.Reader{
		"whole":           reader(),
		"byte by byte":    iotest.OneByteReader(reader()),
		"in pieces":       inPieces(reader()),
		"end with a byte": iotest.DataErrReader(iotest.OneByteReader(reader())),
	}
}

// splitEvery splits a body in each delivery. The results must be the same.
func splitEvery(t testing.TB, body, contentType string, maxBytes int64) (found []string, err error) {
	t.Helper()
	found, err = splitAll(t, strings.NewReader(body), contentType, maxBytes)
	for how, reader := range deliveries(body) {
		got, gotErr := splitAll(t, reader, contentType, maxBytes)
		if !slices.Equal(got, found) || gotErr != err {
			t.Errorf("%s: got %.999q, %v, want %.999q, %v", how, got, gotErr, found, err)
		}
	}
	return found, err
}

type splitRow struct {
	name, contentType, body string
	want                    []string
}

func testSplit(t *testing.T, rows []splitRow) {
	t.Parallel()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got, err := splitEvery(t, row.body, row.contentType, splitMax)
			if !slices.Equal(got, row.want) || err != io.EOF {
				t.Errorf("got %.999q, error %v, want %.999q", got, err, row.want)
			}
		})
	}
}

// withLength is the header and the content of a part.
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
	progressive = photo("one" + jpegSegment(0xc4, "\xff\xd8\xff\xd9") + jpegSegment(sos, "") +
		"two\xff\x01" + jpegSegment(sos, "\xff\xd9") + "\xff\x00")
	odd = "\xff\xd8\xff\x01\xff\xd3" + jpegSegment(0xfe, "\n--b") +
		photo("\r\n--c\r\n--\r\nb\r\n--b c\r\n")[2:]
	largest     = photo(strings.Repeat("x", splitMax-len(photo(""))))
	tooLargeBy1 = photo(strings.Repeat("x", splitMax-len(photo(""))+1))
)

// part is a part of a form of the boundary b.
func part(disposition, more, body string) string {
	return "--b\r\nContent-Disposition: " + disposition + "\r\n" + more + "\r\n" + body + "\r\n"
}

func formWith(image string) string {
	return part(`form-data; name="f"; filename="x.jpg"`, "Content-Type: image/jpeg\r\n", image) + "--b--\r\n"
}

// waysToSend are requests with the body of one image.
var waysToSend = []struct {
	name, path, contentType string
	chunked                 bool
	body                    func(image string) string
}{
	{"sized", "/image/", "image/jpeg", false, func(s string) string { return s }},
	{"chunked", "/image/", "image/jpeg", true, func(s string) string { return s }},
	{"form", "/imageForm/", "multipart/form-data; boundary=b", false, formWith},
	{"form, chunked", "/imageForm/", "multipart/form-data; boundary=b", true, formWith},
	{
		"stream of parts", "/stream/", mixed, true,
		func(s string) string { return "--b\r\n" + withLength(s) + "\r\n" },
	},
	{
		"stream of parts without lengths", "/stream/", mixed, true,
		func(s string) string { return "--b\r\n\r\n" + s + "\r\n--b--\r\n" },
	},
	{"stream of JPEGs", "/stream/", "", true, func(s string) string { return s }},
}

// maxBytes is the size of the largest image that receive accepts.
const maxBytes = 10 << 20

// receive reads a request as the endpoint of its path does.
func receive(t testing.TB, w http.ResponseWriter, r *http.Request) (images []string, err error) {
	t.Helper()
	budget := NewBudget(BudgetOptions{Buffer: bytesOf})
	defer func() {
		if usage := budget.Usage(); usage != (Usage{}) {
			t.Errorf("in the end the budget has %+v", usage)
		}
	}()
	return receiveWithin(budget, w, r)
}

// receiveWithin is receive within a budget.
func receiveWithin(budget *Budget, w http.ResponseWriter, r *http.Request) (images []string, err error) {
	rate := ImageRate()
	if r.URL.Path == "/stream/" {
		rate = StreamRate()
	}
	rate.BytesPerSecond = leastRate
	u := budget.Begin(r.Context(), rate)
	defer u.End()
	var image []byte
	switch r.URL.Path {
	case "/image/":
		image, err = ReadImage(w, r, maxBytes, u)
	case "/imageForm/":
		image, err = ReadForm(w, r, maxBytes, u)
	default:
		var s *Splitter
		if s, err = NewSplitter(u.Body(w, r, nil), r.Header, maxBytes, u); err == nil {
			return receiveStream(s, u)
		}
	}
	if err != nil {
		return nil, err
	}
	return []string{string(image)}, nil
}

func receiveStream(s *Splitter, u *Upload) (images []string, err error) {
	for {
		u.Release()
		image, err := s.Next()
		if err == io.EOF {
			return images, nil
		}
		if err != nil {
			return images, StreamError(err, fmt.Sprintf("%d of its images were stored", len(images)))
		}
		images = append(images, string(image))
	}
}
