package live

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/image-streamer/image-streamer/internal/queue"
)

// Feed holds the newest image of a session, ready to be sent to viewers.
type Feed struct {
	session string
	reader  queue.Reader
	encoder Encoder
	log     *slog.Logger
	turn    *queue.Turn   // of the poll; puts a value into idle
	wake    chan struct{} // holds a value: look for a newer image
	idle    chan struct{} // holds a value: no frame was published for a period

	mu      sync.Mutex
	hint    queue.Ref // the newest image announced and not loaded; zero if there is none
	latest  *Frame    // nil before the first one
	changed chan struct{}
}

// Frame is what a feed shows at one moment: an image or No Data.
type Frame struct {
	Serial int          // rises with each frame, also with one that repeats the image
	Image  *queue.Image // nil for No Data
	Part   Part         // the image, or the No Data image, as a part of an MJPEG stream
}

// sequence returns the sequence of the image, or 0 for No Data.
func (f *Frame) sequence() int64 {
	if f.Image == nil {
		return 0
	}
	return f.Image.Sequence
}

// shows reports whether the frame shows the image of a Ref. A frame that is nil shows none.
func (f *Frame) shows(ref queue.Ref) bool {
	return f != nil && f.Image != nil && f.Image.Sequence == ref.Sequence && f.Image.Arrived.Equal(ref.Arrived)
}

// Expired reports whether the frame shows an image that has expired. No Data does not expire.
func (f *Frame) Expired() bool { return f.Image != nil && !time.Now().Before(f.Image.Expires) }

// Pushed implements queue.Subscriber.
func (f *Feed) Pushed(ref queue.Ref) {
	f.mu.Lock()
	if ref.NewerThan(f.hint) {
		f.hint = ref
	}
	f.mu.Unlock()
	signal(f.wake)
}

// Missed implements queue.Subscriber.
func (f *Feed) Missed() { signal(f.wake) }

// Latest returns what the feed shows, or nil before the first frame, and a channel that is closed when that changes.
func (f *Feed) Latest() (*Frame, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.latest, f.changed
}

// Ready waits until the feed has a frame. It returns queue.ErrUnavailable if ctx ends first.
func (f *Feed) Ready(ctx context.Context) error {
	for {
		frame, changed := f.Latest()
		if frame != nil {
			return nil
		}
		signal(f.wake)
		select {
		case <-changed:
		case <-ctx.Done():
			return queue.ErrUnavailable
		}
	}
}

// run loads what was announced, and refreshes the feed once in a poll period, until ctx ends.
func (f *Feed) run(ctx context.Context) {
	for {
		var err error
		select {
		case <-f.wake:
			err = f.load(ctx)
		case <-f.idle:
			err = f.refresh(ctx, true)
		case <-ctx.Done():
			return
		}
		if err != nil {
			f.log.Debug("feed", "error", err)
		}
	}
}

// load publishes the image that was announced. If it has moved since, or none was announced, load refreshes the feed.
func (f *Feed) load(ctx context.Context) error {
	hint, shown := f.takeHint()
	if hint.Sequence == 0 {
		return f.refresh(ctx, false)
	}
	if shown != nil && shown.Image != nil && !hint.NewerThan(shown.Image.Ref) {
		return nil
	}
	image, err := f.reader.Load(ctx, hint)
	if errors.Is(err, queue.ErrEmpty) {
		return f.refresh(ctx, false)
	}
	if err != nil {
		return err
	}
	f.set(&image)
	return nil
}

// takeHint removes the hint and returns it, together with what is shown.
func (f *Feed) takeHint() (hint queue.Ref, shown *Frame) {
	f.mu.Lock()
	defer f.mu.Unlock()
	hint, f.hint = f.hint, queue.Ref{}
	return hint, f.latest
}

// refresh publishes the newest image of the session, or No Data if it has none. What is shown already is published
// again only if repeat is set.
func (f *Feed) refresh(ctx context.Context, repeat bool) error {
	shown, _ := f.Latest()
	ref, err := f.reader.Find(ctx, f.session, queue.Newest)
	if err == nil && shown.shows(ref) {
		if repeat {
			f.publish(shown.Image, shown.Part)
		}
		return nil
	}
	var image queue.Image
	if err == nil {
		image, err = queue.Get(ctx, f.reader, f.session, queue.Newest)
	}
	switch {
	case err == nil:
		f.set(&image)
	case errors.Is(err, queue.ErrEmpty):
		if repeat || shown == nil || shown.Image != nil {
			f.set(nil)
		}
		return nil
	default:
		f.bridge(shown)
	}
	return err
}

// bridge goes on with what is shown while the engine does not answer: the image until it expires, then No Data. A
// feed that has shown nothing yet stays empty, so that Ready can fail.
func (f *Feed) bridge(shown *Frame) {
	switch {
	case shown == nil:
	case shown.Image == nil || shown.Expired():
		f.set(nil)
	default:
		f.publish(shown.Image, shown.Part)
	}
}

// set publishes a new frame with an image, or with No Data for nil.
func (f *Feed) set(image *queue.Image) { f.publish(image, f.encoder.part(image)) }

// publish makes an image the latest frame, and puts off the repetition of the frame by a period. Only the goroutine
// of the feed may call it.
func (f *Feed) publish(image *queue.Image, part Part) {
	f.turn.Reset()
	select {
	case <-f.idle: // the period ended while the image was loaded
	default:
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	serial := 1
	if f.latest != nil {
		serial = f.latest.Serial + 1
	}
	f.latest = &Frame{Serial: serial, Image: image, Part: part}
	close(f.changed)
	f.changed = make(chan struct{})
}

// signal puts a value into a channel that has room for one, unless there is one already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
