package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// In every size and shape the text is in the middle, large and light enough to be read, and the image costs little to
// send.
func TestNoDataPicture(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		width, height int
		leastPart     float64 // of the height that the ink takes
	}{
		{160, 90, 0.28},
		{1280, 720, 0.28},
		{3840, 2160, 0.28},
		{28, 16, 0.28},
		{16, 16, 0.1}, // the least that the settings allow
		{720, 720, 0.15},
		{360, 720, 0.3},
		{72, 720, 0.06}, // the width bounds the text
		{90, 900, 0.06},
		{900, 90, 0.45},
		{7200, 720, 0.45},
		{160, 16, 0.45},
	} {
		t.Run(fmt.Sprintf("%dx%d", row.width, row.height), func(t *testing.T) {
			t.Parallel()
			data := noDataPNG(row.width, row.height)
			picture := wantPNG(t, string(data), row.width, row.height)
			if most := 1<<10 + row.width*row.height/100; len(data) > most {
				t.Errorf("got %d bytes, want at most %d", len(data), most)
			}
			ground := testkit.Luminance(picture.At(0, 0))
			ink, brightest := testkit.InkOf(picture, ground)
			x, y := ink.Min.X+ink.Max.X-row.width, ink.Min.Y+ink.Max.Y-row.height // twice the distance
			if max(x, -x) > 3 || max(y, -y) > 3 {
				t.Errorf("ink at %v: its centre is %d,%d half pixels off", ink, x, y)
			}
			if part := float64(ink.Dy()) / float64(row.height); part < row.leastPart {
				t.Errorf("ink takes %.3f of the height, want at least %.3f", part, row.leastPart)
			}
			if part := float64(ink.Dx()) / float64(row.width); part < 0.15 || part > 0.9 {
				t.Errorf("ink takes %.3f of the width, want 0.15 to 0.9", part)
			}
			if contrast := (brightest + 0.05) / (ground + 0.05); row.height >= 90 && contrast < 7 {
				t.Errorf("got contrast %.1f, want at least 7", contrast)
			}
		})
	}
}

// Each form is drawn once, when it is first needed.
func TestNoDataDrawnOnce(t *testing.T) {
	t.Parallel()
	n := newNoData(160, 90)
	for name, form := range map[string]func() []byte{"PNG": n.png, "JPEG": n.jpeg} {
		if first, second := form(), form(); &first[0] != &second[0] {
			t.Errorf("%s was drawn twice", name)
		}
	}
}

// A reader that may know no type but JPEG gets No Data as JPEG, by GET and by HEAD, and every other reader as PNG.
func TestNoDataForm(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		for _, row := range []struct {
			path, header, want string
		}{
			{"/snapshot/ID", "Accept-Language: en", "image/png"},
			{"/snapshot/ID.jpg", "Accept-Language: en", "image/jpeg"},
			{"/snapshot/ID.jpg?nodata=404", "Accept: image/png", "image/jpeg"},
			{"/image/ID.JPEG", "Accept-Language: en", "image/jpeg"},
			{"/image/ID.jpe", "Accept-Language: en", "image/jpeg"},
			{"/snapshot/ID.jfif", "Accept-Language: en", "image/jpeg"},
			{"/image/ID", "Accept: image/pjpeg", "image/jpeg"},
			{"/snapshot/ID.png", "Accept-Language: en", "image/png"},
			{"/stream/ID?action=snapshot", "Accept-Language: en", "image/jpeg"},
			{"/image/ID", "User-Agent: Motion-netcam/4.7.0", "image/jpeg"},
			{"/image/ID", "Accept: image/jpeg", "image/jpeg"},
			{"/image/ID/pop", "Accept: image/jpg", "image/jpeg"},
			{"/image/ID?after=0", "Accept: text/plain, Image/JPEG;q=0.5, image/png;q=0", "image/jpeg"},
			{"/image/ID", "Accept-Language: en", "image/png"},
			{"/image/ID", "Accept: */*", "image/png"},
			{"/image/ID", "Accept: image/*", "image/png"},
			{"/image/ID", "Accept: image/jpeg, image/png", "image/png"},
			{"/image/ID", "Accept: image/jpeg, image/*;q=0.8", "image/png"},
			{"/image/ID", "Accept: image/jpeg, */*;q=0.1", "image/png"},
			{"/image/ID", "Accept: image/webp", "image/png"},
			{"/image/ID", "Accept: image/jpeg;q=0", "image/png"},
		} {
			path := strings.ReplaceAll(row.path, "ID", session.New())
			status, methods := 200, []string{http.MethodGet, http.MethodHead}
			if strings.Contains(path, "nodata=404") {
				status = 404
			}
			if strings.HasSuffix(path, "/pop") {
				methods = []string{http.MethodPost}
			}
			for _, method := range methods {
				s.wantNoDataForm(t, s.Do(t, method, path, nil, row.header).WantStatus(t, status), method, row.want)
			}
		}
	})
}

func (s *testServer) wantNoDataForm(t *testing.T, got relaytest.Response, method, contentType string) {
	t.Helper()
	image := string(noDataPNG(160, 90))
	if contentType == "image/jpeg" {
		image = string(noDataJPEG(160, 90))
	}
	if kind := got.Header.Get("Content-Type"); kind != contentType || got.ContentLength != int64(len(image)) ||
		!got.IsNoData() || method != http.MethodHead && got.Text != image {
		t.Errorf("%s %s: got %d bytes of %s, headers %v, want %s", method, got.Request.URL, got.ContentLength,
			kind, got.Header, contentType)
	}
}
