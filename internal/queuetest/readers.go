package queuetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// reader gets images of one session and compares them.
type reader struct {
	*Harness
	session string
}

// want checks which image a query finds, with its bytes.
func (r reader) want(t *testing.T, what string, which queue.Query, sequence int64, behind int) {
	t.Helper()
	got, err := queue.Get(t.Context(), r, r.session, which)
	if err != nil || got.Session != r.session || got.Sequence != sequence || got.Behind != behind ||
		string(got.Data) != fmt.Sprint("image ", sequence) || got.Size != len(got.Data) ||
		time.Until(got.Expires) > r.TTL || time.Until(got.Expires) < 0 {
		t.Errorf("%s: got %+v, error %v, want image %d with %d behind", what, got, err, sequence, behind)
	}
	if err == nil {
		r.Release(got)
	}
}

// wantNone checks that a query finds nothing.
func (r reader) wantNone(t *testing.T, what string, which queue.Query) {
	t.Helper()
	if got, err := queue.Get(t.Context(), r, r.session, which); err != queue.ErrEmpty {
		t.Errorf("%s: got image %d, error %v, want none", what, got.Sequence, err)
	}
}

func after(n int64) queue.Query { return queue.Query{After: n, Taken: true} }

// findTakesNothing checks which image each query finds, and that the images stay where they are.
func findTakesNothing(t *testing.T, newHarness factory) {
	h, id := newHarness(t, Options{}), session.New()
	r, queued := reader{h, id}, queue.Query{Newest: true}
	r.wantNone(t, "the newest of nothing", queue.Newest)
	r.wantNone(t, "the oldest of nothing", queue.Query{})
	for i := range 4 {
		h.PushImage(t, id, fmt.Sprint("image ", i+1))
	}
	for range 2 {
		r.want(t, "the oldest", queue.Query{}, 1, 3)
		r.want(t, "the newest", queued, 4, 0)
		r.want(t, "after 0", after(0), 1, 3)
		r.want(t, "after 2", after(2), 3, 1)
		r.wantNone(t, "after the newest", after(4))
		r.want(t, "ahead of the session", after(99), 1, 3)
		r.want(t, "the newest after 3", queue.Query{Newest: true, After: 3}, 4, 0)
		r.wantNone(t, "the newest after itself", queue.Query{Newest: true, After: 4})
		r.want(t, "the newest, ahead of the session", queue.Query{Newest: true, After: 99}, 4, 0)
	}
	h.Take(t, id)
	r.want(t, "after 0 when 1 is taken", after(0), 2, 2)
	h.Take(t, id)
	h.Take(t, id)
	last := h.PopImage(t, id)
	r.wantNone(t, "the oldest when all are taken", queue.Query{})
	r.wantNone(t, "the newest when it is taken", queued)
	r.want(t, "the newest although it is taken", queue.Newest, 4, 0)
	r.want(t, "after 1, the newest taken", after(1), 4, 0)
	r.wantNone(t, "after the newest, taken", after(4))
	r.wantNone(t, "the newest after itself, taken", queue.Query{Newest: true, Taken: true, After: 4})
	last.Requeue()
	testkit.Eventually(t, func() bool { return h.Len(t, id) == 1 })
	r.want(t, "the newest, back again", queued, 4, 0)
	h.Take(t, id)
	r.want(t, "the newest, delivered", queue.Newest, 4, 0)
	h.Elapse(h.TTL / 4)
	r.wantNone(t, "the newest, too old", queue.Query{Newest: true, Taken: true, MaxAge: h.TTL / 8})
	r.want(t, "the newest, young enough", queue.Query{Newest: true, Taken: true, MaxAge: h.TTL * 7 / 8}, 4, 0)
	h.PushImage(t, id, "image 5")
	r.want(t, "the newest of two", queue.Newest, 5, 0)
	h.Take(t, id)
	h.Elapse(h.TTL)
	r.wantNone(t, "the newest, expired", queue.Newest)
	r.wantNone(t, "after 3, expired", after(3))
}

// findByAge checks that too old images are passed over.
func findByAge(t *testing.T, newHarness factory) {
	h, id := newHarness(t, Options{}), session.New()
	r, young := reader{h, id}, h.TTL*3/8
	h.PushImage(t, id, "image 1")
	h.Elapse(h.TTL / 2)
	r.wantNone(t, "the oldest, too old", queue.Query{MaxAge: young})
	r.wantNone(t, "the newest, too old", queue.Query{Newest: true, MaxAge: young})
	h.PushImage(t, id, "image 2")
	r.want(t, "the oldest that is young enough", queue.Query{MaxAge: young}, 2, 0)
	r.want(t, "the oldest of any age", queue.Query{MaxAge: 2 * h.TTL}, 1, 1)
	r.want(t, "after 0, young enough", queue.Query{MaxAge: young, Taken: true}, 2, 0)
}

// loadsNothing checks that an image which has expired since it was found is not loaded, and neither is no image.
func loadsNothing(t *testing.T, newHarness factory) {
	h, id := newHarness(t, Options{}), session.New()
	h.PushImage(t, id, "image")
	found := testkit.Must(h.Find(t.Context(), id, queue.Newest))(t)
	h.Elapse(h.TTL)
	for what, ref := range map[string]queue.Ref{"expired": found, "none": {Session: id}} {
		if got, err := h.Load(t.Context(), ref); err != queue.ErrEmpty {
			t.Errorf("%s: got %q, error %v, want ErrEmpty", what, got.Data, err)
		}
	}
}

// loadHolds checks that an image which was loaded is whole until it is released, whatever becomes of it in its queue.
func loadHolds(t *testing.T, newHarness factory) {
	h, id := newHarness(t, Options{}), session.New()
	h.PushImage(t, id, "image 1")
	image := testkit.Must(queue.Get(t.Context(), h, id, queue.Newest))(t)
	again := testkit.Must(h.Load(t.Context(), image.Ref))(t)
	h.Release(again)
	h.Take(t, id)
	h.PushImage(t, id, "image 2")
	h.Elapse(h.TTL)
	h.PushImage(t, id, "image 3")
	if string(image.Data) != "image 1" {
		t.Errorf("got %q, want image 1", image.Data)
	}
	h.Release(image)
}

// notifications records the calls of a Subscriber: a Ref for Pushed, nil for Missed.
type notifications chan *queue.Ref

func (n notifications) Pushed(ref queue.Ref) { n <- &ref }
func (n notifications) Missed()              { n <- nil }

// pushed awaits a Ref. Missed may be called at any time, and twice when notifications begin.
func (n notifications) pushed() *queue.Ref {
	ref := <-n
	for ref == nil {
		ref = <-n
	}
	return ref
}

// subscribe checks that a subscriber is informed of each image, and of one that comes back.
func subscribe(t *testing.T, newHarness factory) {
	h, id := newHarness(t, Options{TTL: time.Minute}), session.New()
	got, others := make(notifications, 100), make(notifications, 100)
	cancel := h.Subscribe(id, got)
	defer h.Subscribe(session.New(), others)()
	if h.Remote {
		if first := <-got; first != nil {
			t.Errorf("when notifications begin: got %+v, want Missed", first)
		}
	}
	for i := range 3 {
		image := fmt.Sprint("image ", i+1)
		h.PushImage(t, id, image)
		ref := got.pushed()
		loaded := testkit.Must(h.Load(t.Context(), *ref))(t)
		if loaded.Session != id || loaded.Sequence != int64(i+1) || string(loaded.Data) != image ||
			time.Until(loaded.Expires) > time.Minute {
			t.Errorf("push %d: got %+v", i+1, loaded)
		}
		h.Release(loaded)
	}
	h.PopImage(t, id).Requeue()
	if ref := <-got; ref != nil {
		t.Errorf("an image came back: got %+v, want Missed", ref)
	}
	cancel()
	defer h.Subscribe(id, make(notifications, 100))() // again, by another
	h.PushImage(t, id, "not reported")
	time.Sleep(background)
	if len(got) > 0 {
		t.Errorf("got %+v after the end", <-got)
	}
	for len(others) > 0 {
		if ref := <-others; ref != nil {
			t.Errorf("got %+v, which nobody pushed", ref)
		}
	}
}
