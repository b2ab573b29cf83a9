package producer

import (
	"cmp"
	"context"
	"image/color"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// start runs a producer of small pictures until stop is called, or the test ends. stop returns what Run does.
func start(t *testing.T, o Options) (log *testkit.Log, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	log = new(testkit.Log)
	o.Width, o.Height, o.Log = 28, 16, slog.New(slog.NewTextHandler(log, nil))
	o.Client = cmp.Or(o.Client, testkit.Client)
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

func sameColor(a, b color.Color) bool {
	var far uint32
	r, g, bl, _ := a.RGBA()
	r2, g2, b2, _ := b.RGBA()
	for _, pair := range [][2]uint32{{r, r2}, {g, g2}, {bl, b2}} {
		far = max(far, max(pair[0], pair[1])-min(pair[0], pair[1]))
	}
	return far < 0x1800
}
