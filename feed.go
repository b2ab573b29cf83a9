package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// repeatAfter is how long a viewer looks at one picture before it is sent again,
// and how soon a lost wake-up is made good.
const repeatAfter = time.Second

// feeds holds one feed for each session that is watched through this process.
type feeds struct {
	queue engine
	parts partMaker
	log   *slog.Logger

	mu  sync.Mutex
	all map[string]*feed
}

// feed shows the newest image of a session to all its viewers. It reads an image
// once, however many there are, and keeps no other: a viewer that is slow finds
// the newest one when it is ready, and nobody waits for it.
type feed struct {
	*feeds
	session string
	viewers int // guarded by feeds.mu
	end     context.CancelFunc
	wake    chan struct{}

	mu      sync.Mutex
	hint    frame // the newest image announced and not yet loaded
	shown   *picture
	changed chan struct{} // closed when shown is another one
}

// picture is what a feed shows: an image, or No Data.
type picture struct {
	serial int    // rises also when a picture is shown again
	frame  frame  // without a sequence for No Data
	part   []byte // of an MJPEG stream
}

func newFeeds(queue engine, parts partMaker, log *slog.Logger) *feeds {
	return &feeds{queue: queue, parts: parts, log: log, all: map[string]*feed{}}
}

// join returns the feed of a session; leave must be called. A feed that is new
// shows nothing before an image comes, unless it is asked to.
func (fs *feeds) join(session string) (f *feed, leave func()) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f = fs.all[session]
	if f == nil {
		f = &feed{feeds: fs, session: session, wake: make(chan struct{}, 1), changed: make(chan struct{})}
		fs.all[session] = f
		ctx, cancel := context.WithCancel(context.Background())
		stop := fs.queue.Watch(session, f.tell)
		f.end = func() { stop(); cancel() }
		go f.run(ctx)
	}
	f.viewers++
	return f, sync.OnceFunc(func() {
		fs.mu.Lock()
		defer fs.mu.Unlock()
		if f.viewers--; f.viewers == 0 {
			delete(fs.all, session)
			f.end()
		}
	})
}

// tell notes that an image has come.
func (f *feed) tell(hint frame) {
	f.mu.Lock()
	if hint.newerThan(f.hint) {
		f.hint = hint
	}
	f.mu.Unlock()
	f.ask()
}

// ask makes the feed look for what it has to show.
func (f *feed) ask() {
	select {
	case f.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// latest returns what is shown, or nil, and a channel that is closed when that
// changes.
func (f *feed) latest() (*picture, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.shown, f.changed
}

func (f *feed) run(ctx context.Context) {
	idle := time.NewTimer(repeatAfter)
	defer idle.Stop()
	for {
		var err error
		select {
		case <-f.wake:
			err = f.load(ctx)
		case <-idle.C:
			err = f.refresh(ctx, true)
		case <-ctx.Done():
			return
		}
		if err != nil {
			f.log.Debug("feed", "error", err)
		}
		idle.Reset(repeatAfter)
	}
}

// load shows the image that was announced. One that was popped since is looked for.
func (f *feed) load(ctx context.Context) error {
	f.mu.Lock()
	hint := f.hint
	f.hint = frame{}
	shown := f.shown
	f.mu.Unlock()
	if hint.sequence == 0 {
		return f.refresh(ctx, false)
	}
	if shown != nil && !hint.newerThan(shown.frame) {
		return nil
	}
	image, err := f.queue.Read(ctx, hint)
	if errors.Is(err, errEmpty) {
		return f.refresh(ctx, false)
	}
	if err != nil {
		return err
	}
	f.show(image)
	return nil
}

// refresh shows the newest image there is, or No Data once there is none. It shows
// again what is shown only if it is to.
func (f *feed) refresh(ctx context.Context, again bool) error {
	newest := pick{newest: true, popped: true}
	shown, _ := f.latest()
	image, err := f.queue.Look(ctx, f.session, newest)
	if err == nil && shown != nil && image.sequence == shown.frame.sequence && image.arrival.Equal(shown.frame.arrival) {
		if again {
			f.again(shown)
		}
		return nil
	}
	if err == nil {
		image, err = read(ctx, f.queue, f.session, newest)
	}
	switch {
	case err == nil:
		f.show(image)
	case errors.Is(err, errEmpty):
		if again || shown == nil || shown.frame.sequence > 0 {
			f.show(frame{session: f.session})
		}
		return nil
	case shown == nil: // a viewer that has seen nothing is refused
	case time.Now().Before(shown.frame.expiry):
		f.again(shown)
	default:
		f.show(frame{session: f.session})
	}
	return err
}

// show puts an image before all viewers.
func (f *feed) show(image frame) { f.again(&picture{frame: image, part: f.parts.part(image)}) }

// again puts a picture before all viewers as something to send.
func (f *feed) again(p *picture) {
	f.mu.Lock()
	defer f.mu.Unlock()
	serial := 1
	if f.shown != nil {
		serial = f.shown.serial + 1
	}
	f.shown = &picture{serial: serial, frame: p.frame, part: p.part}
	close(f.changed)
	f.changed = make(chan struct{})
}
