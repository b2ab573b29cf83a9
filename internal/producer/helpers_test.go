package producer

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// logBuffer is a log that a test reads while it is written.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// await waits until a text is in the log.
func (b *logBuffer) await(t *testing.T, text string) {
	t.Helper()
	testkit.Eventually(t, func() bool { return strings.Contains(b.String(), text) })
}

// start runs a producer of small pictures until stop is called, or the test ends. stop returns what Run does.
func start(t *testing.T, o Options) (log *logBuffer, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	log = new(logBuffer)
	o.Width, o.Height, o.Log = 28, 16, slog.New(slog.NewTextHandler(log, nil))
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, o) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { stop() })
	return log, stop
}

// request is what a fake server was asked.
type request struct {
	*http.Request
	body string
}

// serve runs a fake server until the test ends. Its requests come with their bodies, one at a time.
func serve(t *testing.T, answer func(w http.ResponseWriter, r request)) (url string) {
	var mu sync.Mutex
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		answer(w, request{r, string(body)})
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// inkOf returns the box around everything that stands out from the ground, and the luminance of the brightest of it.
func inkOf(picture image.Image, ground float64) (box image.Rectangle, brightest float64) {
	b := picture.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			if l := luminance(picture.At(x, y)); l > ground+0.05 {
				box = box.Union(image.Rect(x, y, x+1, y+1))
				brightest = max(brightest, l)
			}
		}
	}
	return box, brightest
}

// luminance of a grey, as the guidelines for readable text define it.
func luminance(c color.Color) float64 {
	return math.Pow((float64(color.GrayModel.Convert(c).(color.Gray).Y)/255+0.055)/1.055, 2.4)
}

func sameColor(a, b color.Color) bool {
	var far uint32
	r, g, bl, _ := a.RGBA()
	r2, g2, b2, _ := b.RGBA()
	for _, pair := range [][2]uint32{{r, r2}, {g, g2}, {bl, b2}} {
		far = max(far, max(pair[0], pair[1])-min(pair[0], pair[1]))
	}
	return far < 0x1800
}
