package live

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/image-streamer/image-streamer/internal/httpserver"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// The last image is sent again after each poll period in which no other one came.
func TestImageRepeats(t *testing.T) {
	withFakeTime(t, func(t *testing.T) {
		q := newFakeQueue()
		s := watch(t, newTestHub(q), "x", ViewerOptions{})
		s.want(t, noData)
		time.Sleep(pollPeriod * 3 / 4)
		q.push("x", "image 1")
		s.want(t, "image 1")
		time.Sleep(pollPeriod * 3 / 4)
		q.push("x", "image 2")
		begun := s.want(t, "image 2").at
		for i := range 5 {
			s.wantAt(t, "image 2", begun.Add(time.Duration(i+1)*pollPeriod))
		}
		if n := q.loaded(); n != 2 {
			t.Errorf("2 images were loaded %d times", n)
		}
	})
}

// The first frame comes once, not once more when the subscription stands.
func TestStreamFirstFrameOnce(t *testing.T) {
	withFakeTime(t, func(t *testing.T) {
		q := newFakeQueue()
		q.push("x", "image")
		s := watch(t, newTestHub(q), "x", ViewerOptions{})
		begun := s.want(t, "image").at
		time.Sleep(50 * time.Millisecond)
		q.subscribers.Missed("x") // the subscription stands
		s.wantAt(t, "image", begun.Add(pollPeriod))
	})
}

// An image whose loading outlasts a poll period is sent once all the same.
func TestSlowEngine(t *testing.T) {
	withFakeTime(t, func(t *testing.T) {
		q := newFakeQueue()
		q.delay = pollPeriod + pollPeriod/4
		s := watch(t, newTestHub(q), "x", ViewerOptions{})
		begun := s.want(t, noData).at
		q.push("x", "image")
		s.wantAt(t, "image", begun.Add(q.delay))
		s.wantAt(t, "image", begun.Add(q.delay+pollPeriod+q.delay))
	})
}

// A viewer that comes later gets the newest image at once, and then what the others get.
func TestSecondViewer(t *testing.T) {
	withFakeTime(t, func(t *testing.T) {
		q := newFakeQueue()
		h := newTestHub(q)
		q.push("x", "image")
		first := watch(t, h, "x", ViewerOptions{})
		begun := first.want(t, "image").at
		time.Sleep(pollPeriod / 2)
		second := watch(t, h, "x", ViewerOptions{})
		second.wantAt(t, "image", time.Now())
		for _, s := range []*screen{first, second} {
			s.wantAt(t, "image", begun.Add(pollPeriod))
		}
	})
}

// A viewer that paints a part at the head of the next one gets that head with the part, in the same write, and each
// image once.
func TestHeadAhead(t *testing.T) {
	withFakeTime(t, func(t *testing.T) {
		const headAhead = "\r\n--boundarydonotcross\r\nContent-Type: image/webp\r\n\r\n"
		q := newFakeQueue()
		s := watch(t, newTestHub(q), "x", ViewerOptions{HeadAhead: true})
		var begun time.Time
		want := func(text string, at time.Duration) {
			t.Helper()
			buffer := make([]byte, 1<<10) // one Read gets at most one Write
			n := testkit.Must(s.conn.Read(buffer))(t)
			if got := string(buffer[:n]); got != text || time.Since(begun) != at {
				t.Errorf("after %s: got %q, want %q after %s", time.Since(begun), got, text, at)
			}
		}
		begun = time.Now()
		want("Content-Type: image/jpeg\r\nContent-Length: 7\r\nX-Timestamp: 946684800.000000\r\n\r\n"+
			noData+headAhead, 0)
		for i := range 3 {
			time.Sleep(pollPeriod / 2)
			q.push("x", fmt.Sprint("image ", i))
			want(fmt.Sprint("image ", i)+headAhead, time.Duration(i+1)*pollPeriod/2)
		}
		want("image 2"+headAhead, 5*pollPeriod/2) // nothing else has come for a period
		q.ttl = 0
		q.push("x", "expired at once")
		want(noData+headAhead, 7*pollPeriod/2)
	})
}

// Interval bounds what one viewer gets, and no other one; the newest image comes when the interval is over.
func TestInterval(t *testing.T) {
	withFakeTime(t, func(t *testing.T) {
		const interval, images, every = 100 * time.Millisecond, 10, 35 * time.Millisecond
		q := newFakeQueue()
		h := newTestHub(q)
		bounded, free := watch(t, h, "x", ViewerOptions{Interval: interval}), watch(t, h, "x", ViewerOptions{})
		begun := bounded.want(t, noData).at
		free.want(t, noData)
		shots := make(chan shot, images)
		go func() {
			for {
				s, err := bounded.next()
				if err != nil {
					return
				}
				shots <- s
			}
		}()
		for i := range images { // at 35 ms, 70 ms ... 350 ms
			time.Sleep(every)
			q.push("x", fmt.Sprint("image ", i+1))
			free.wantAt(t, fmt.Sprint("image ", i+1), time.Now())
		}
		for i, want := range []string{"image 2", "image 5", "image 8", "image 10"} {
			if s := <-shots; s.image != want || s.at.Sub(begun) != time.Duration(i+1)*interval {
				t.Errorf("got %s after %s, want %s after %s", s.image, s.at.Sub(begun), want, time.Duration(i+1)*interval)
			}
		}
	})
}

func TestNextDue(t *testing.T) {
	t.Parallel()
	const interval = 100 * time.Millisecond
	due := time.Now()
	for late, next := range map[time.Duration]time.Duration{ // both after due
		0:                      interval,
		interval / 2:           interval, // the one after makes up for it
		interval * 2:           interval,
		interval*2 + 1:         interval*3 + 1,
		time.Hour:              time.Hour + interval,
		-10 * time.Millisecond: interval,
	} {
		if got := nextDue(due, due.Add(late), interval); got != due.Add(next) {
			t.Errorf("sent %s late: the next one is due after %s, want %s", late, got.Sub(due), next)
		}
	}
	if now := time.Now(); nextDue(time.Time{}, now, interval) != now.Add(interval) {
		t.Error("the second frame is not due an interval after the first one")
	}
}

// A slow viewer skips images and holds no other one back. Each new image is reported with how many were skipped.
func TestSlowViewerSkips(t *testing.T) {
	withFakeTime(t, func(t *testing.T) {
		q := newFakeQueue()
		h := newTestHub(q)
		var skips []int64
		shown := func(skipped int64) { skips = append(skips, skipped) }
		slow, fast := watch(t, h, "x", ViewerOptions{Shown: shown}), watch(t, h, "x", ViewerOptions{})
		slow.want(t, noData)
		fast.want(t, noData)
		for i := 1; i <= 10; i++ {
			q.push("x", fmt.Sprint("image ", i))
			fast.wantAt(t, fmt.Sprint("image ", i), time.Now())
		}
		slow.want(t, "image 1")
		slow.want(t, "image 10")
		slow.want(t, "image 10") // repeated
		q.push("x", "image 11")
		slow.want(t, "image 11")
		synctest.Wait()
		if !slices.Equal(skips, []int64{0, 8, 0}) {
			t.Errorf("got %v skipped images, want 0, 8, 0", skips)
		}
	})
}

// What lies between two images is not known behind No Data, and where the sequence has started again.
func TestSkipped(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ last, now, want int64 }{{0, 1, 0}, {0, 9, 0}, {1, 2, 0}, {1, 5, 3}, {9, 1, 0}} {
		if got := skipped(row.last, row.now); got != row.want {
			t.Errorf("%d after %d: got %d skipped, want %d", row.now, row.last, got, row.want)
		}
	}
}

// When the newest image has expired a stream shows No Data, also one that begins just then.
func TestNoDataAfterExpiry(t *testing.T) {
	withFakeTime(t, func(t *testing.T) {
		q := newFakeQueue()
		q.ttl = 1500 * time.Millisecond
		h := newTestHub(q)
		first := watch(t, h, "x", ViewerOptions{})
		first.want(t, noData)
		q.push("x", "image")
		begun := first.want(t, "image").at
		first.wantAt(t, "image", begun.Add(pollPeriod))
		time.Sleep(time.Until(begun.Add(q.ttl)))
		second := watch(t, h, "x", ViewerOptions{})
		for i := range 3 {
			for _, s := range []*screen{first, second} {
				s.wantAt(t, noData, begun.Add(time.Duration(2+i)*pollPeriod))
			}
		}
		q.push("x", "another")
		for _, s := range []*screen{first, second} {
			s.wantAt(t, "another", time.Now())
		}
	})
}

// A frame that its viewer does not read is cut off when the image expires. No Data has no such end: how long a viewer
// may stand still is for the connection to say.
func TestFrameIsCutAtExpiry(t *testing.T) {
	withFakeTime(t, func(t *testing.T) {
		q := newFakeQueue()
		q.ttl = 90 * time.Second
		h := newTestHub(q)
		s, patient := watch(t, h, "x", ViewerOptions{}), watch(t, h, "y", ViewerOptions{})
		s.want(t, noData)
		pushed := q.push("x", "image").Arrived
		err := <-s.ended
		if !errorsAre(err, httpserver.ErrAborted, os.ErrDeadlineExceeded) || time.Since(pushed) != q.ttl {
			t.Errorf("after %s: Show returned %v, want a timeout after %s", time.Since(pushed), err, q.ttl)
		}
		patient.want(t, noData) // of long ago
		patient.want(t, noData)
	})
}

// A stream ends when its viewer hangs up.
func TestViewerHangsUp(t *testing.T) {
	withFakeTime(t, func(t *testing.T) {
		h := newTestHub(newFakeQueue())
		waiting := watch(t, h, "x", ViewerOptions{})
		waiting.want(t, noData)
		waiting.leave()
		if err := <-waiting.ended; !errorsAre(err, httpserver.ErrAborted, context.Canceled) {
			t.Errorf("while it waits: Show returned %v", err)
		}
		writing := watch(t, h, "x", ViewerOptions{})
		writing.conn.Close()
		if err := <-writing.ended; !errorsAre(err, httpserver.ErrAborted) {
			t.Errorf("while it writes: Show returned %v", err)
		}
	})
}

// When the server drains, a stream ends behind a whole frame: at once if it waits, and behind the frame that is being
// written, although newer ones have come.
func TestDrainingEndsBehindWholeFrame(t *testing.T) {
	withFakeTime(t, func(t *testing.T) {
		q := newFakeQueue()
		h := newTestHub(q)
		waiting, writing := watch(t, h, "x", ViewerOptions{}), watch(t, h, "x", ViewerOptions{})
		begun := waiting.want(t, noData).at
		synctest.Wait()
		close(waiting.draining)
		waiting.wantEnd(t, nil)
		if took := time.Since(begun); took > 0 {
			t.Errorf("a stream that waits ended after %s", took)
		}
		writing.want(t, noData)
		q.push("x", "image 1")
		if _, err := writing.in.Peek(10); err != nil {
			t.Fatal(err)
		}
		q.push("x", "image 2")
		close(writing.draining)
		writing.want(t, "image 1")
		writing.wantEnd(t, nil)
	})
}

// The kernel holds little of a stream, encrypted or not.
func TestLimitBuffer(t *testing.T) {
	t.Parallel()
	ln := testkit.Must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer ln.Close()
	r := httptest.NewRequest(http.MethodGet, "/stream/x", nil)
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"plain": func(conn net.Conn) net.Conn { return conn },
		"TLS":   func(conn net.Conn) net.Conn { return tls.Server(conn, &tls.Config{}) },
	} {
		conn := testkit.Must(net.Dial("tcp", ln.Addr().String()))(t).(*net.TCPConn)
		defer conn.Close()
		LimitBuffer(r.WithContext(httpserver.ConnContext(t.Context(), wrap(conn))))
		size := 0
		err := testkit.Must(conn.SyscallConn())(t).Control(func(fd uintptr) {
			size = testkit.Must(syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF))(t)
		})
		if err != nil || size > 2*viewerBuffer { // Linux doubles it for its own needs
			t.Errorf("%s: got a buffer of %d bytes, error %v, want %d", name, size, err, viewerBuffer)
		}
	}
	LimitBuffer(r) // of no connection: nothing to do
}
