package ingest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// slowConn is a connection over which a body comes in pieces, one at a time. A pause is a piece without bytes.
type slowConn struct {
	*httptest.ResponseRecorder
	pieces   pieces
	rest     string
	deadline time.Time
}

// pieces returns the next piece of a body, and how long it takes to come.
type pieces func() (piece string, after time.Duration, more bool)

func (c *slowConn) SetReadDeadline(t time.Time) error { c.deadline = t; return nil }

func (c *slowConn) Read(p []byte) (int, error) {
	for c.rest == "" {
		piece, after, more := c.pieces()
		if !more {
			return 0, io.EOF
		}
		if left := time.Until(c.deadline); left < after {
			time.Sleep(left)
			return 0, os.ErrDeadlineExceeded
		}
		time.Sleep(after)
		c.rest = piece
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// steadily sends 200 bytes of a body, with which the image has begun, and then pieces of one size, one after each
// pause.
func steadily(body string, size int, pause time.Duration) pieces {
	next, after := 200, time.Duration(0)
	return func() (piece string, _ time.Duration, more bool) {
		n, wait := min(next, len(body)), after
		piece, body = body[:n], body[n:]
		next, after = size, pause
		return piece, wait, n > 0
	}
}

// received is what became of a request.
type received struct {
	images []string
	err    error
	took   time.Duration
}

// sendSlowly receives a body as the endpoint of its path does. Without a length the body is chunked.
func sendSlowly(t *testing.T, path, contentType string, length int, next pieces) received {
	t.Helper()
	conn := &slowConn{ResponseRecorder: httptest.NewRecorder(), pieces: next}
	r := httptest.NewRequest("POST", path, conn)
	r.ContentLength = int64(length)
	r.Header.Set("Content-Type", contentType)
	begun := time.Now()
	images, err := receive(t, conn, r)
	return received{images, err, time.Since(begun)}
}

// wantError checks the status of an error, and that its text contains another text. The status 200 is that of no error.
func (r received) wantError(t *testing.T, status int, text string) {
	t.Helper()
	if statusOf(r.err) != status || r.err != nil && !strings.Contains(r.err.Error(), text) {
		t.Errorf("got error %v after %s, want status %d, %q", r.err, r.took, status, text)
	}
}

// The limits as they are, by the clock of the test: a body that drips is cut off within a minute, one that is slow but
// steady succeeds, in all the ways to send an image.
func TestDataRate(t *testing.T) {
	t.Parallel()
	big, small := photo(strings.Repeat("x", 5_000_000)), photo(strings.Repeat("x", 20_000))
	medium := photo(strings.Repeat("x", 150_000))
	for _, row := range []struct {
		name, image string
		size        int
		pause       time.Duration
		text        string // of the error
		least, most time.Duration
	}{
		{
			"a phone at 50 KB a second", big, 5_000, 100 * time.Millisecond,
			"", 99 * time.Second, 101 * time.Second,
		},
		{
			"GPRS at 2200 bytes a second", medium, 2_200, time.Second,
			"", 68 * time.Second, 69 * time.Second,
		},
		{
			"a radio at 1100 bytes a second", big, 1_100, time.Second,
			"", 75 * time.Minute, 76 * time.Minute,
		},
		{
			"a small image at 250 bytes a second", small, 5_000, 20 * time.Second,
			"too slowly", 30 * time.Second, time.Minute,
		},
		{
			"a small image in a grace", small, 2_000, 3 * time.Second,
			"", 29 * time.Second, 40 * time.Second,
		},
		{
			"a byte every 20 seconds", small, 1, 20 * time.Second,
			"too slowly: allowed are 1.0 KiB a second on average after the first 30s", 30 * time.Second, time.Minute,
		},
		{
			"500 bytes a second", big, 500, time.Second,
			"too slowly", 30 * time.Second, 2 * time.Minute,
		},
		{
			"rests of 29 seconds", big, 250_000, 29 * time.Second,
			"", 9 * time.Minute, 10 * time.Minute,
		},
	} {
		for _, way := range waysToSend {
			t.Run(row.name+"/"+way.name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					body := way.body(row.image)
					length, status := len(body), http.StatusOK
					if way.chunked {
						length = -1
					}
					if row.text != "" {
						status = http.StatusRequestTimeout
					}
					got := sendSlowly(t, way.path, way.contentType, length, steadily(body, row.size, row.pause))
					got.wantError(t, status, row.text)
					if got.took < row.least || got.took > row.most {
						t.Errorf("it took %s, want %s to %s", got.took, row.least, row.most)
					}
					if status == http.StatusOK && !slices.Equal(got.images, []string{row.image}) {
						t.Errorf("got %d images, want the one of %d bytes", len(got.images), len(row.image))
					}
				})
			})
		}
	}
}

// A body that stands still is cut off sooner, but one of many images may be silent between two of them.
func TestDataRateIdle(t *testing.T) {
	t.Parallel()
	image := photo(strings.Repeat("x", 100_000))
	half := image[:50_000]
	for _, row := range []struct {
		name, path string
		pieces     []string      // each after
		pause      time.Duration // this
		status     int
		text       string
		images     int
		took       time.Duration // 0: any
	}{
		{
			"an image", "/image/",
			[]string{half, ""},
			31 * time.Second,
			408, "stood still for 30s: nothing was stored", 0, 30 * time.Second,
		},
		{
			"an image that came fast", "/image/",
			[]string{strings.Repeat("x", 500_000), "", ""},
			25 * time.Second,
			408, "stood still for 30s: nothing was stored", 0, 55 * time.Second,
		},
		{
			"an image of a stream", "/stream/",
			[]string{half, ""},
			50 * time.Second,
			408, "too slowly: allowed are 1.0 KiB a second", 0, 96 * time.Second,
		},
		{
			"between two images", "/stream/",
			[]string{image, image, image},
			119 * time.Second,
			200, "", 3, 357 * time.Second,
		},
		{
			"between two images, long", "/stream/",
			[]string{image, image, ""},
			121 * time.Second,
			408, "stood still for 2m0s", 0, 120 * time.Second,
		},
		{
			"bytes between two images", "/stream/",
			[]string{image, "\n", "\n", "\n", "\n", image},
			100 * time.Second,
			200, "", 2, 600 * time.Second,
		},
		{
			"slow behind fast ones", "/stream/",
			[]string{image, image, image, half, "x", "x"},
			29 * time.Second,
			408, "3 of its images were stored", 3, 0,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				rest := row.pieces
				got := sendSlowly(t, row.path, "", 1_000_000, func() (piece string, _ time.Duration, more bool) {
					if len(rest) > 0 {
						piece, rest, more = rest[0], rest[1:], true
					}
					return piece, row.pause, more
				})
				got.wantError(t, row.status, row.text)
				if len(got.images) != row.images || (got.took-row.took).Abs() > time.Second && row.took > 0 {
					t.Errorf("got %d images in %s, want %d in %s", len(got.images), got.took, row.images, row.took)
				}
			})
		})
	}
}

// Without a least average a body may come byte by byte.
func TestDataRateWithoutAverage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pause := 29 * time.Second
		conn := &slowConn{ResponseRecorder: httptest.NewRecorder(), pieces: steadily(strings.Repeat("x", 300), 1, pause)}
		image, err := io.ReadAll(testUpload(t, bytesOf).Body(conn, httptest.NewRequest("POST", "/image/", conn), nil))
		if len(image) != 300 || err != nil {
			t.Errorf("got %d bytes, error %v, want 300", len(image), err)
		}
	})
}

// Once the server stops, the read in flight and every later one have 3 seconds.
func TestBodyDrains(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		draining := make(chan struct{})
		conn := &slowConn{ResponseRecorder: httptest.NewRecorder()}
		r := httptest.NewRequest("POST", "/stream/", strings.NewReader("image"))
		body := testUpload(t, bytesOf).Body(conn, r, draining)
		read := func() time.Duration {
			if _, err := body.Read(make([]byte, 1)); err != nil {
				t.Error(err)
			}
			return time.Until(conn.deadline)
		}
		if left := read(); left != 30*time.Second {
			t.Errorf("a read has %s, want 30s", left)
		}
		close(draining)
		body.ShortenDeadline()
		if left := time.Until(conn.deadline); left != 3*time.Second {
			t.Errorf("the read in flight has %s, want 3s", left)
		}
		time.Sleep(time.Second)
		if left := read(); left != 3*time.Second {
			t.Errorf("a later read has %s, want 3s", left)
		}
	})
}
