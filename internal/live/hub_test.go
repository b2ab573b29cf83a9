package live

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/image-streamer/image-streamer/internal/httpserver"
	"github.com/image-streamer/image-streamer/internal/queue"
)

// An image is loaded once for all its viewers, and never without a viewer.
func TestOneReadForAllViewers(t *testing.T) {
	withFakeTime(t, func(t *testing.T) {
		const viewers, images = 20, 50
		q := newFakeQueue()
		h := newTestHub(q)
		var screens []*screen
		for range viewers {
			screens = append(screens, watch(t, h, "x", ViewerOptions{}))
		}
		for _, s := range screens {
			s.want(t, noData)
		}
		for i := range images {
			q.push("x", fmt.Sprint("image ", i))
			for _, s := range screens {
				s.want(t, fmt.Sprint("image ", i))
			}
		}
		if n := q.loaded(); n != images {
			t.Errorf("%d viewers, %d images: %d were loaded", viewers, images, n)
		}
		for _, s := range screens {
			s.leave()
		}
		synctest.Wait()
		if sessions := q.subscribers.Sessions(); len(sessions) > 0 {
			t.Errorf("nobody watches: still subscribed to %v", sessions)
		}
		q.push("x", "image")
		time.Sleep(2 * pollPeriod)
		if n := q.loaded() - images; n > 0 {
			t.Errorf("nobody watches: %d images were loaded", n)
		}
	})
}

// All users of a session share a feed, and the sessions do not share any.
func TestFeedPerSession(t *testing.T) {
	withFakeTime(t, func(t *testing.T) {
		q := newFakeQueue()
		h := newTestHub(q)
		x, leaveX := h.Join("x")
		again, leaveAgain := h.Join("x")
		y, leaveY := h.Join("y")
		defer leaveY()
		if x != again || x == y {
			t.Errorf("got feeds %p, %p for x and %p for y", x, again, y)
		}
		leaveX()
		leaveX() // does nothing
		q.push("x", "image")
		if frame, _ := x.Latest(); frame == nil || string(frame.Image.Data) != "image" {
			t.Errorf("the feed that one user has left shows %+v", frame)
		}
		if frame, _ := y.Latest(); frame != nil {
			t.Errorf("the feed of the other session shows %+v", frame)
		}
		leaveAgain()
		synctest.Wait()
		q.push("x", "another")
		if frame, _ := x.Latest(); string(frame.Image.Data) != "image" {
			t.Errorf("the feed that all users have left shows %q", frame.Image.Data)
		}
		if time.Sleep(2 * pollPeriod); len(x.idle) > 0 {
			t.Error("the feed that all users have left is still polled")
		}
	})
}

// A notification that gets lost is a delay of at most one poll period.
func TestWakeUpsLost(t *testing.T) {
	withFakeTime(t, func(t *testing.T) {
		q := newFakeQueue()
		q.deaf = true
		s := watch(t, newTestHub(q), "x", ViewerOptions{})
		begun := s.want(t, noData).at
		time.Sleep(pollPeriod / 2)
		q.push("x", "image")
		s.wantAt(t, "image", begun.Add(pollPeriod))
	})
}

// An engine that may have missed an image is asked for it at once. If there is none, nothing is sent again.
func TestMissed(t *testing.T) {
	withFakeTime(t, func(t *testing.T) {
		q := newFakeQueue()
		s := watch(t, newTestHub(q), "x", ViewerOptions{})
		begun := s.want(t, noData).at
		q.subscribers.Missed("x")
		s.wantAt(t, noData, begun.Add(pollPeriod))
		time.Sleep(pollPeriod / 2)
		q.store("x", "image")
		q.subscribers.Missed("x")
		s.wantAt(t, "image", time.Now())
	})
}

// Of the images announced while a feed is busy the newest is loaded, whatever the order of the announcements. If an
// image has moved before it was loaded, the newest one is looked up.
func TestNewestAnnounced(t *testing.T) {
	withFakeTime(t, func(t *testing.T) {
		q := newFakeQueue()
		s := watch(t, newTestHub(q), "x", ViewerOptions{})
		begun := s.want(t, noData).at
		q.delay = pollPeriod / 10
		q.push("x", "image 1") // the feed is busy with it
		second, third := q.store("x", "image 2"), q.store("x", "image 3")
		q.subscribers.Pushed(third.Ref)
		q.subscribers.Pushed(second.Ref)
		s.wantAt(t, "image 1", begun.Add(q.delay))
		s.wantAt(t, "image 3", begun.Add(2*q.delay))
		q.move(q.push("x", "image 4"))
		q.store("x", "image 5")
		s.wantAt(t, "image 5", begun.Add(6*q.delay)) // loaded in vain, found, found and loaded
		q.subscribers.Pushed(second.Ref)             // late
		s.wantAt(t, "image 5", begun.Add(7*q.delay+pollPeriod))
	})
}

// A session whose sequence starts again at 1 is shown at once.
func TestSequenceStartsAgain(t *testing.T) {
	withFakeTime(t, func(t *testing.T) {
		q := newFakeQueue()
		s := watch(t, newTestHub(q), "x", ViewerOptions{})
		s.want(t, noData)
		for _, image := range []string{"image 1", "image 2", "image 3"} {
			q.push("x", image)
			s.want(t, image)
		}
		for _, inform := range []func(queue.Image){
			func(image queue.Image) { q.subscribers.Pushed(image.Ref) },
			func(queue.Image) { q.subscribers.Missed("x") }, // after an image with the same sequence
		} {
			time.Sleep(time.Millisecond)
			q.forget("x")
			inform(q.store("x", "again"))
			s.wantAt(t, "again", time.Now())
		}
	})
}

// While the engine does not answer, a new viewer is refused in time. A stream goes on: it repeats its image until that
// expires, then shows No Data, and new images when the engine is back.
func TestQueueUnavailable(t *testing.T) {
	withFakeTime(t, func(t *testing.T) {
		q := newFakeQueue()
		q.ttl = 3*pollPeriod + pollPeriod/2
		h := newTestHub(q)
		s := watch(t, h, "x", ViewerOptions{})
		s.want(t, noData)
		q.push("x", "image")
		begun := s.want(t, "image").at
		q.fail(fmt.Errorf("no connection: %w", queue.ErrUnavailable))

		f, leave := h.Join("y")
		defer leave()
		ctx, cancel := context.WithTimeout(t.Context(), 2*pollPeriod)
		defer cancel()
		if err := f.Ready(ctx); !errors.Is(err, queue.ErrUnavailable) || !time.Now().Equal(begun.Add(2*pollPeriod)) {
			t.Errorf("after %s: got error %v", time.Since(begun), err)
		}
		s.want(t, "image") // of the first second, and held up by the reader until now
		s.wantAt(t, "image", begun.Add(2*pollPeriod))
		s.wantAt(t, "image", begun.Add(3*pollPeriod))
		for i := range 3 {
			s.wantAt(t, noData, begun.Add(time.Duration(4+i)*pollPeriod))
		}
		q.fail(nil)
		q.push("x", "another")
		s.wantAt(t, "another", time.Now())
	})
}

// A frame counts against the budget once, however many viewers it has, and until the last of them has got it. Then the
// bytes of the engine have been given back, too.
func TestFramesAreCounted(t *testing.T) {
	withFakeTime(t, func(t *testing.T) {
		q := newFakeQueue()
		h := newTightHub(q, 1<<20)
		var screens []*screen
		for range 10 {
			screens = append(screens, watch(t, h, "x", ViewerOptions{}))
		}
		slow := screens[0]
		for _, s := range screens {
			s.want(t, noData)
		}
		q.push("x", "image 1")
		f, _ := h.feeds.Find("x")
		first, _ := f.Latest()
		reserved := func(what string, parts int64) {
			t.Helper()
			if got := h.budget.Reserved(); got != parts*int64(len(first.Part.bytes)) {
				t.Errorf("%s: got %d bytes reserved, want those of %d parts of %d", what, got, parts, len(first.Part.bytes))
			}
		}
		for _, s := range screens[1:] {
			s.want(t, "image 1")
		}
		reserved("one frame", 1)
		if &first.Image.Data[0] != &first.Part.bytes[first.Part.image] {
			t.Error("the image has bytes besides those of its part")
		}
		q.push("x", "image 2")
		for _, s := range screens[1:] {
			s.want(t, "image 2")
		}
		reserved("one viewer still gets the frame before", 2)
		slow.want(t, "image 1")
		synctest.Wait()
		reserved("all viewers get the same frame", 1)
		for _, s := range screens {
			s.leave()
			s.conn.Close()
		}
		synctest.Wait()
		reserved("no viewers", 0)
		if q.released != q.loads {
			t.Errorf("%d images were loaded, %d released", q.loads, q.released)
		}
		if first.Retain() {
			t.Error("a frame was retained after it was given up")
		}
	})
}

// A feed that finds no room for an image goes on with what it shows, and tries again at the next poll. A viewer that
// comes meanwhile is told.
func TestNoRoomForFrame(t *testing.T) {
	withFakeTime(t, func(t *testing.T) {
		q := newFakeQueue()
		h := newTightHub(q, 10_000)
		s := watch(t, h, "x", ViewerOptions{})
		s.want(t, noData)
		q.push("x", "image 1")
		s.want(t, "image 1")
		begun := time.Now()
		h.budget.ReserveUpTo(10_000) // others hold all the rest
		q.push("x", "image 2")
		q.push("y", "image")
		s.wantAt(t, "image 1", begun.Add(pollPeriod)) // repeated
		f, leave := h.Join("y")
		defer leave()
		ctx, cancel := context.WithTimeout(t.Context(), 3*pollPeriod/2)
		defer cancel()
		full, ok := errors.AsType[*httpserver.Error](f.Ready(ctx))
		if !ok || full.Status != 503 {
			t.Errorf("a feed without room: got error %v, want 503", full)
		}
		h.budget.Release(9_000)
		s.want(t, "image 1") // of the second second, and held up by the reader until now
		s.wantAt(t, "image 2", begun.Add(3*pollPeriod))
	})
}

// A frame that all viewers have got gives way to the next image if there is no room for both. While a viewer still gets
// it, the next image waits for the poll. If the image then cannot be loaded, there is nothing to go on with.
func TestFrameGivesWay(t *testing.T) {
	withFakeTime(t, func(t *testing.T) {
		q := newFakeQueue()
		h := newTightHub(q, 1200)
		image := func(n int) string { return strings.Repeat(strconv.Itoa(n), 400) }
		s := watch(t, h, "x", ViewerOptions{})
		s.want(t, noData)
		for n := range 3 {
			synctest.Wait() // the viewer is ready for the next one
			q.push("x", image(n))
			s.wantAt(t, image(n), time.Now())
		}

		synctest.Wait()
		q.push("x", image(3))
		q.push("x", image(4)) // while the viewer gets the one before
		pushed := time.Now()
		s.wantAt(t, image(3), pushed)
		s.wantAt(t, image(4), pushed.Add(pollPeriod))

		synctest.Wait()
		q.fail(queue.ErrUnavailable)
		q.push("x", image(5))
		s.wantAt(t, noData, pushed.Add(2*pollPeriod))
		q.fail(nil)
		q.push("x", image(6))
		s.wantAt(t, image(6), time.Now())
		s.leave()
		s.conn.Close()
		synctest.Wait()
		if got := h.budget.Reserved(); got != 0 || q.released != q.loads {
			t.Errorf("without viewers: got %d bytes reserved, %d of %d images released", got, q.released, q.loads)
		}
	})
}
