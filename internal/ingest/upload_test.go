package ingest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const testLimit = 64 << 20

func newTestBudget() *Budget {
	return NewBudget(BudgetOptions{Bytes: testLimit, Largest: maxBytes, Buffer: bytesOf})
}

// upload sends a body in pieces to the endpoint of a path, within a budget. A length of -1 is that of a chunked body.
func upload(t testing.TB, b *Budget, path, contentType string, length int, next pieces) (images []string, err error) {
	conn := &slowConn{ResponseRecorder: httptest.NewRecorder(), pieces: next}
	r := httptest.NewRequestWithContext(t.Context(), "POST", path, conn)
	r.ContentLength = int64(length)
	r.Header.Set("Content-Type", contentType)
	return receiveWithin(b, conn, r)
}

// atOnce is a body that comes in one piece.
func atOnce(body string) pieces {
	return func() (piece string, _ time.Duration, more bool) {
		piece, body = body, ""
		return piece, 0, piece != ""
	}
}

// dripping is a body that comes at 4.3 KB a second until stop is closed.
func dripping(head string, stop chan struct{}) pieces {
	second := strings.Repeat("x", 4300)
	return func() (piece string, _ time.Duration, more bool) {
		select {
		case <-stop:
			return "", 0, false
		default:
		}
		piece, head = head+second, ""
		return piece, time.Second, true
	}
}

// Small images get through in every way to send them, beside any number of slow uploads of any kind.
func TestSmallImagesHaveAShare(t *testing.T) {
	t.Parallel()
	file := part(`form-data; name="f"; filename="x.jpg"`, "", "")
	small := photo(strings.Repeat("x", 50_000))
	for _, slow := range []struct {
		name, path, contentType, head string
		length                        int
	}{
		{"sized", "/image/", "", "", maxBytes},
		{"small, sized", "/image/", "", "", smallImage},
		{"chunked", "/image/", "", "", -1},
		{"form", "/imageForm/", "multipart/form-data; boundary=b", file, maxBytes},
		{"form, chunked", "/imageForm/", "multipart/form-data; boundary=b", file, -1},
		{"stream of parts", "/stream/", mixed, "--b\r\nContent-Length: 10000000\r\n\r\n", -1},
		{"stream of small parts", "/stream/", mixed, "--b\r\nContent-Length: 250000\r\n\r\n", -1},
		{"stream of JPEGs", "/stream/", "", "\xff\xd8" + jpegSegment(sos, "scan"), -1},
	} {
		for _, clients := range []int{7, 1000} {
			t.Run(fmt.Sprint(clients, " ", slow.name), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b, stop := newTestBudget(), make(chan struct{})
					var all sync.WaitGroup
					for range clients {
						all.Go(func() {
							upload(t, b, slow.path, slow.contentType, slow.length, dripping(slow.head, stop))
						})
					}
					for range 2 {
						time.Sleep(4 * time.Second)
						for _, way := range waysToSend {
							wantStored(t, b, 20, way.path, way.contentType, way.chunked, way.body(small))
						}
					}
					close(stop)
					all.Wait()
					if got := b.Usage(); got != (Usage{}) {
						t.Errorf("in the end the budget has %+v", got)
					}
				})
			})
		}
	}
}

// wantStored sends the same body many times at once, and checks that each is received.
func wantStored(t *testing.T, b *Budget, times int, path, contentType string, chunked bool, body string) {
	t.Helper()
	length := len(body)
	if chunked {
		length = -1
	}
	var all sync.WaitGroup
	for range times {
		all.Go(func() {
			if images, err := upload(t, b, path, contentType, length, atOnce(body)); len(images) != 1 || err != nil {
				t.Errorf("%s%s: got %d images, error %v, want 1", path, contentType, len(images), err)
			}
		})
	}
	all.Wait()
}

// A slow upload holds little more than what it has sent, whatever it has announced.
func TestBytesAreTakenAsTheyCome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, stop := newTestBudget(), make(chan struct{})
		var all sync.WaitGroup
		all.Go(func() { upload(t, b, "/image/", "", maxBytes, dripping("", stop)) })
		for range 100 {
			time.Sleep(10 * time.Second)
			sent := int64(time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).Seconds()) * 4300
			if got := b.Usage().Bytes; got < sent || got > 2*(sent+2*chunkSize) {
				t.Errorf("it has sent %d bytes and holds %d", sent, got)
			}
		}
		close(stop)
		all.Wait()
	})
}

// Large images that come quickly wait for one another, and none of them is refused, however many begin at once.
func TestLargeImagesTakeTurns(t *testing.T) {
	t.Parallel()
	image := strings.Repeat("x", maxBytes)
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudget()
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				images, err := upload(t, b, "/image/", "", maxBytes, steadily(image, 1<<20, 10*time.Millisecond))
				if len(images) != 1 || images[0] != image || err != nil {
					t.Errorf("got %d images, error %v, want the one", len(images), err)
				}
				if got := b.Usage().Bytes; got > testLimit {
					t.Errorf("uploads hold %d bytes", got)
				}
			})
		}
		all.Wait()
	})
}

// One image of the maximum size gets through when there is no room for any other.
func TestLargestImageGetsThrough(t *testing.T) {
	t.Parallel()
	image := strings.Repeat("x", maxBytes)
	for _, length := range []int{maxBytes, -1} {
		for _, pause := range []time.Duration{0, time.Second} {
			synctest.Test(t, func(t *testing.T) {
				b := NewBudget(BudgetOptions{Bytes: maxBytes, Largest: maxBytes, Buffer: bytesOf})
				images, err := upload(t, b, "/image/", "", length, steadily(image, 50_000, pause))
				if len(images) != 1 || images[0] != image || err != nil {
					t.Errorf("length %d, pause %s: got %d images, error %v", length, pause, len(images), err)
				}
			})
		}
	}
}

// Bytes of the share are lent for a second of reading. In common a slow image may take its time.
func TestShareIsLentForAMoment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudget()
		slow := func() (took time.Duration, err error) {
			begun := time.Now()
			_, err = upload(t, b, "/image/", "", 20_000, steadily(strings.Repeat("x", 20_000), 2_000, time.Second))
			return time.Since(begun), err
		}
		if took, err := slow(); took < 9*time.Second || err != nil {
			t.Errorf("in common: got error %v after %s, want none", err, took)
		}
		other := b.Begin(t.Context(), ImageRate())
		if err := other.Reserve(testLimit); err != nil {
			t.Fatal(err)
		}
		if took, err := slow(); took != shareTime || statusOf(err) != http.StatusServiceUnavailable {
			t.Errorf("in the share: got error %v after %s, want status 503 after %s", err, took, shareTime)
		}
		large := b.Begin(t.Context(), ImageRate())
		if err := large.Reserve(smallImage + 1); statusOf(err) != http.StatusServiceUnavailable {
			t.Errorf("a large image got bytes of the share: error %v", err)
		}
		small := b.Begin(t.Context(), ImageRate())
		if err := small.Reserve(smallImage); err != nil {
			t.Errorf("a small image: %v", err)
		}
		other.Release()
		if err := small.Reserve(smallImage + 1); err != nil || b.share.used != 0 {
			t.Errorf("an image that has grown is still of the share: error %v", err)
		}
	})
}

// An upload that is served while it does not run has its second in the share from when it runs.
func TestShareIsLentFromAwakening(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudget()
		other, u := b.Begin(t.Context(), ImageRate()), b.Begin(t.Context(), ImageRate())
		if err := other.Reserve(testLimit); err != nil {
			t.Fatal(err)
		}
		b.share.size = smallImage // room for one
		holder := b.Begin(t.Context(), ImageRate())
		if err := holder.Reserve(smallImage); err != nil {
			t.Fatal(err)
		}
		w := b.reserve(u, 1000)
		holder.Release()
		time.Sleep(3 * shareTime) // the machine is busy
		if err := u.await(w); err != nil {
			t.Fatal(err)
		}
		if left := u.timeLeft(time.Now()).share; left != shareTime {
			t.Errorf("%s are left, want %s", left, shareTime)
		}
	})
}

// A sender does not owe the time in which its upload waits for bytes and reads nothing.
func TestWaitIsNotOwed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudget()
		u := b.Begin(t.Context(), DataRate{Idle: time.Minute, Grace: time.Second, BytesPerSecond: 1000})
		other := b.Begin(t.Context(), ImageRate())
		if err := u.Reserve(1); err != nil {
			t.Fatal(err)
		}
		if err := other.Reserve(b.common.size - 1); err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(1500 * time.Millisecond)
			other.Release()
		}()
		if err := u.Reserve(1 << 20); err != nil {
			t.Fatal(err)
		}
		conn := &slowConn{ResponseRecorder: httptest.NewRecorder()}
		body := u.Body(conn, httptest.NewRequest("POST", "/image/", strings.NewReader("image")), nil)
		if _, err := io.ReadAll(body); err != nil || time.Until(conn.deadline) != time.Second {
			t.Errorf("after the wait the body has %s, error %v, want 1s", time.Until(conn.deadline), err)
		}
	})
}
