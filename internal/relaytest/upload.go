package relaytest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// MixedType is the type of a body of many parts, with the boundary that Part uses.
const MixedType = "multipart/x-mixed-replace; boundary=b"

// FormType is the type of a form, with the boundary that Form and FormPart use.
const FormType = "multipart/form-data; boundary=b"

// Chunked hides the length of a body, so that it is sent in chunks.
func Chunked(body string) io.Reader { return io.MultiReader(strings.NewReader(body)) }

// FormPart returns one part of a form; more is further header lines.
func FormPart(disposition, more, body string) string {
	return "--b\r\nContent-Disposition: " + disposition + "\r\n" + more + "\r\n" + body + "\r\n"
}

// Form returns a form whose only file is an image.
func Form(image string) string {
	return FormPart(`form-data; name="f"; filename="x.jpg"`, "Content-Type: image/jpeg\r\n", image) + "--b--\r\n"
}

// Part returns an image as a part with its length.
func Part(image string) string {
	return fmt.Sprintf("--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n", len(image), image)
}

// Ingested is the answer to a request with many images.
type Ingested struct {
	Session  string `json:"session"`
	Stored   int    `json:"stored"`
	Skipped  int    `json:"skipped"`
	Refused  int    `json:"refused"`
	Sequence int64  `json:"sequence"`
}

// WantIngested checks the answer to a request with many images.
func (r Response) WantIngested(t testing.TB, want Ingested) {
	t.Helper()
	var got Ingested
	decoder := json.NewDecoder(strings.NewReader(r.WantStatus(t, 200).Text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&got); err != nil || got != want {
		t.Errorf("got %s, error %v, want %+v", r.Text, err, want)
	}
}

// Sender is a POST of many images under way.
type Sender struct {
	*io.PipeWriter
	pending *Pending
}

// Send begins a POST of many images. Text that is written to it is sent at once.
func (c *Client) Send(t testing.TB, session, contentType string) *Sender {
	t.Helper()
	body, in := io.Pipe()
	req := c.NewRequest(t, http.MethodPost, "/stream/"+session, body)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	t.Cleanup(func() { in.Close() })
	return &Sender{in, SendLater(testkit.Client.Transport, req)}
}

// WriteText sends text.
func (s *Sender) WriteText(t testing.TB, text string) {
	t.Helper()
	if _, err := io.WriteString(s, text); err != nil {
		t.Fatal(err)
	}
}

// Answer waits for the answer.
func (s *Sender) Answer(t testing.TB) Response {
	t.Helper()
	answer, _ := s.pending.Answer(t)
	return answer
}

// WantIngested ends the body and checks the answer.
func (s *Sender) WantIngested(t testing.TB, want Ingested) {
	t.Helper()
	s.Close()
	s.Answer(t).WantIngested(t, want)
}
