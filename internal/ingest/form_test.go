package ingest

import (
	"bytes"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// FuzzForm holds ReadForm against a reader that keeps every part: what ReadForm returns is the only file of a form that
// is whole, and what it refuses is the fault of the client.
func FuzzForm(f *testing.F) {
	file := part(`form-data; name="f"; filename="x"`, "", "image")
	for _, seed := range []string{
		formWith("image"), file + file + "--b--", file, "--b--", "", "--b\r\n\r\n\r\n--b--", "--b\n\nimage\n--b--",
		part("form-data", "Content-Type: image/png\r\n", "\x00") + "--b--\r\n", "junk\r\n" + file + "--b--junk",
		part(`form-data; filename="x"`, "Content-Transfer-Encoding: quoted-printable\r\n", "=41=") + "--b--\r\n",
	} {
		f.Add(seed, "multipart/form-data; boundary=b")
	}
	f.Add("--c\r\n", `multipart/form-data; boundary="`)
	const maxBytes = 1 << 10
	f.Fuzz(func(t *testing.T, body, contentType string) {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Content-Length", fmt.Sprint(len(body)))
		image, err := ReadForm(httptest.NewRecorder(), r, maxBytes, testUpload(t, bytesOf))
		if err != nil {
			if status := statusOf(err); status < 400 || status > 499 || image != nil {
				t.Errorf("got %d bytes, error %v, want an error of the client", len(image), err)
			}
			return
		}
		if parts := namedParts(t, body, contentType); len(image) == 0 || len(image) > maxBytes || len(parts) > 1 ||
			len(parts) == 1 && !bytes.Equal(parts[0], image) {
			t.Errorf("got image %q, the named files are %q", image, parts)
		}
	})
}

// namedParts returns the parts that have a file name, of a form that must be whole.
func namedParts(t *testing.T, body, contentType string) (parts [][]byte) {
	r := httptest.NewRequest("POST", "/", strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	form := testkit.Must(r.MultipartReader())(t)
	for {
		p, err := form.NextPart()
		if err == io.EOF {
			return parts
		}
		if err != nil {
			t.Fatalf("accepted, but it is not whole: %v", err)
		}
		if data := testkit.Must(io.ReadAll(p))(t); p.FileName() != "" {
			parts = append(parts, data)
		}
	}
}
