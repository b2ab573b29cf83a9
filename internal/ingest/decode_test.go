package ingest

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

func inBase64(image string) string { return base64.StdEncoding.EncodeToString([]byte(image)) }

// Base64 in any lines and with any padding is decoded. What is more than padding behind the padding is refused: decoded
// as one text it would give other bytes than were meant.
func TestDecodeBase64(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"QUJD": "ABC", "QUJDRA": "ABCD", "QUJDRA==": "ABCD", " Q\r\nU\tJD\n": "ABC", "QUJD====\r\n": "ABC",
		"-_-_":     "\xfb\xff\xbf",
		"QUI=QUI=": "", "QUI=\r\nQUI=": "", "=QUJD": "", "QUJDR": "", "QUJ!": "", "QQ=x": "",
	} {
		for how, reader := range deliveries(text) {
			got, err := io.ReadAll(decodeText(reader, "base64"))
			if want != "" && (string(got) != want || err != nil) || want == "" && err == nil {
				t.Errorf("%q, %s: got %q, error %v, want %q", text, how, got, err, want)
			}
		}
	}
}

// An image that is said to be text and is none is taken as it is, as in a part.
func TestDecodeNoText(t *testing.T) {
	t.Parallel()
	for _, image := range []string{photoA, pngPhoto} {
		for how, reader := range deliveries(image) {
			r := httptest.NewRequest("POST", "/", reader)
			r.Header.Set("Content-Transfer-Encoding", "Base64")
			got, err := ReadImage(httptest.NewRecorder(), r, 1<<10, testUpload(t, bytesOf))
			if string(got) != image || err != nil {
				t.Errorf("%s: got %q, error %v, want %q", how, got, err, image)
			}
		}
	}
}

// An encoding that is not understood is refused, for a body and for a file of a form alike.
func TestDecodeUnknown(t *testing.T) {
	t.Parallel()
	const encoding = "Content-Transfer-Encoding: Quoted-Printable\r\n"
	r := httptest.NewRequest("POST", "/", strings.NewReader("image=3D"))
	r.Header.Set("Content-Transfer-Encoding", "Quoted-Printable")
	_, bodyErr := ReadImage(httptest.NewRecorder(), r, 1<<10, testUpload(t, bytesOf))
	_, formErr := readForm(t, part(`form-data; filename="x"`, encoding, "image=3D")+"--b--", formType, 1<<10)
	for _, err := range []error{bodyErr, formErr} {
		if statusOf(err) != http.StatusUnsupportedMediaType || !strings.Contains(err.Error(), "allowed is base64") {
			t.Errorf("got error %v, want status 415", err)
		}
	}
}

// The memory for a data URL of known size is reserved beside that for its image.
func TestDecodeReserves(t *testing.T) {
	t.Parallel()
	image := strings.Repeat("x", 300_000)
	text := "data:image/x;base64," + inBase64(image)
	var budget *Budget
	calls := 0
	budget = NewBudget(BudgetOptions{Buffer: func(size int) []byte {
		want := int64(size)
		if calls++; calls == 2 {
			want = int64(len(text) + 2*len(image))
		}
		if got := budget.Usage().Bytes; got < want {
			t.Errorf("buffer %d: %d bytes are reserved, want %d", calls, got, want)
		}
		return make([]byte, size)
	}})
	r := httptest.NewRequest("POST", "/", strings.NewReader(text))
	u := budget.Begin(t.Context(), ImageRate())
	if got, err := ReadImage(httptest.NewRecorder(), r, 1<<20, u); string(got) != image || calls != 2 || err != nil {
		t.Errorf("got %d bytes, %d buffers, error %v", len(got), calls, err)
	}
}

// An image as text is within the limits of a stream with a Content-Encoding, up to the largest one.
func TestSplitEncodedText(t *testing.T) {
	t.Parallel()
	const largest = 4<<20 - 1
	image := strings.Repeat("\xff\xd8\xff", largest/3)
	var body bytes.Buffer
	zipped := gzip.NewWriter(&body)
	fmt.Fprintf(zipped, "--b\r\nContent-Transfer-Encoding: base64\r\n\r\n%s\r\n--b--\r\n", inBase64(image))
	zipped.Close()
	h := http.Header{"Content-Type": {mixed}, "Content-Encoding": {"gzip"}}
	s := testkit.Must(NewSplitter(&body, h, largest, testUpload(t, bytesOf)))(t)
	if got, err := s.Next(); string(got) != image || err != nil {
		t.Errorf("got %d bytes, error %v, want %d", len(got), err, len(image))
	}
}

// An image is taken before any later byte is read, whether its sender ends the encoding with each image or flushes it.
func TestSplitEncodedAtOnce(t *testing.T) {
	t.Parallel()
	image := photo(strings.Repeat("x", 100_000))
	flushes, members := new(bytes.Buffer), new(bytes.Buffer)
	flushing := gzip.NewWriter(flushes)
	for name, next := range map[string]func() string{
		"flushes": func() string {
			flushes.Reset()
			io.WriteString(flushing, "--b\r\n"+withLength(image)+"\r\n")
			flushing.Flush()
			return flushes.String()
		},
		"members": func() string {
			members.Reset()
			member := gzip.NewWriter(members)
			io.WriteString(member, "--b\r\n"+withLength(image)+"\r\n")
			member.Close()
			return members.String()
		},
	} {
		sent := 0
		body := readerFunc(func(p []byte) (int, error) {
			sent++
			return copy(p, next()), nil
		})
		h := http.Header{"Content-Type": {mixed}, "Content-Encoding": {"gzip"}}
		s := testkit.Must(NewSplitter(body, h, 1<<20, testUpload(t, bytesOf)))(t)
		for want := 1; want <= 3; want++ {
			if got, err := s.Next(); string(got) != image || err != nil || sent != want {
				t.Errorf("%s: got %d bytes, error %v, after %d images, want %d", name, len(got), err, sent, want)
			}
		}
	}
}

// Text that holds no byte of an image ends somewhere, too.
func TestDecodeEndless(t *testing.T) {
	t.Parallel()
	sent := 0
	blanks := readerFunc(func(p []byte) (int, error) {
		if sent += len(p); sent > 1<<20 {
			return 0, io.ErrUnexpectedEOF
		}
		return copy(p, strings.Repeat(" ", len(p))), nil
	})
	r := httptest.NewRequest("POST", "/", blanks)
	r.Header.Set("Content-Transfer-Encoding", "base64")
	_, err := ReadImage(httptest.NewRecorder(), r, 1<<16, testUpload(t, bytesOf))
	if statusOf(err) != http.StatusRequestEntityTooLarge {
		t.Errorf("got error %v, want status 413", err)
	}
}
