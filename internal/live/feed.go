package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/image-streamer/image-streamer/internal/httpserver"
	"github.com/image-streamer/image-streamer/internal/queue"
)

// Feed holds the newest image of a session, ready to be sent to viewers.
type Feed struct {
	session string
	reader  budgetedReader
	encoder Encoder
	log     *slog.Logger
	turn    *queue.Turn   // of the poll; puts a value into idle
	wake    chan struct{} // holds a value: look for a newer image
	idle    chan struct{} // holds a value: no frame was published for a period

	serial int // of the last frame; 0 before the first one

	mu      sync.Mutex
	hint    queue.Ref // the newest image announced and not loaded; zero if there is none
	latest  *Frame    // nil before the first one, and while it gives way to the next one
	changed chan struct{}
	failed  error // of the last attempt to look for an image
}

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

// Latest returns what the feed shows, or nil if that is nothing, and a channel that is closed with the next frame.
func (f *Feed) Latest() (*Frame, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.latest, f.changed
}

// Ready waits until the feed has a frame. If ctx ends first it returns queue.ErrUnavailable, or the error of the budget
// if there was no room for the image.
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
			return f.cause()
		}
	}
}

// cause returns why there is no frame.
func (f *Feed) cause() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, isFull := errors.AsType[*httpserver.Error](f.failed)
	switch {
	case isFull, errors.Is(f.failed, queue.ErrUnavailable):
		return f.failed
	case f.failed != nil:
		return fmt.Errorf("%w: %w", queue.ErrUnavailable, f.failed)
	}
	return queue.ErrUnavailable
}

// run loads what was announced, and refreshes the feed once in a poll period, until ctx ends.
func (f *Feed) run(ctx context.Context) {
	defer f.giveUp()
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
		f.mu.Lock()
		f.failed = err
		f.mu.Unlock()
		if err != nil {
			f.log.Debug("feed", "error", err)
		}
	}
}

// giveUp releases what is shown.
func (f *Feed) giveUp() {
	if shown, _ := f.Latest(); shown != nil {
		shown.Release()
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
	f.publish(f.reader.encode(f.encoder, image))
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
			f.publish(shown.picture)
		}
		return nil
	}
	var image queue.Image
	if err == nil {
		image, err = queue.Get(ctx, f.reader, f.session, queue.Newest)
		shown, _ = f.Latest() // it may have given way
	}
	switch {
	case err == nil:
		f.publish(f.reader.encode(f.encoder, image))
	case errors.Is(err, queue.ErrEmpty):
		if repeat || shown == nil || shown.Image != nil {
			f.publish(picture{Part: f.encoder.part(nil)})
		}
		return nil
	default:
		f.bridge(shown)
	}
	return err
}

// bridge goes on with what is shown while the engine does not answer or the budget has no room: the image until it
// expires, then No Data. A feed that has shown nothing yet stays empty, so that Ready can fail.
func (f *Feed) bridge(shown *Frame) {
	switch {
	case f.serial == 0:
	case shown == nil || shown.Image == nil || shown.Expired():
		f.publish(picture{Part: f.encoder.part(nil)})
	default:
		f.publish(shown.picture)
	}
}

// publish makes a picture the latest frame, releases the one before, and puts off the repetition of the frame by a
// period. Only the goroutine of the feed may call it.
func (f *Feed) publish(p picture) {
	f.turn.Reset()
	select {
	case <-f.idle: // the period ended while the image was loaded
	default:
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.latest != nil && f.latest.room != p.room {
		f.latest.Release()
	}
	f.serial++
	f.latest = &Frame{f.serial, p}
	close(f.changed)
	f.changed = make(chan struct{})
}

// reserve reserves bytes for a new image. The frame that is shown gives way if there is no room beside it: it would be
// in the way until it expires. It stays while a viewer still gets it.
func (f *Feed) reserve(size int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reader.budget.TryReplace(size, f.latest.held(), func() bool {
		gone := f.latest.room.giveWay()
		if gone {
			f.latest = nil
		}
		return gone
	})
}

// signal puts a value into a channel that has room for one, unless there is one already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
