// Package queue is the contract between the server and the engines that keep images, together with what can be
// built on that contract for any engine: Get, Shared, Waiters, Subscribers, PerSession, Poll.
//
// Every engine gives the same promises. Images leave a session in the order in which they came, each to one consumer,
// none at or past its expiry. A push that returns nil has stored its image once and whole; a push that fails has
// stored nothing that a later pop could return, except where the outcome is unknown (see ErrUnavailable).
//
// An image has four forms: a Ref says where it is, an Image adds the bytes, a Delivery is an Image that was taken
// out of its queue, and a Receipt says where a pushed image went.
package queue

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Queue is what an engine implements. Users declare the parts of it that they need.
type Queue interface {
	Pusher
	Popper
	BoundedPopper
	Acknowledger
	Reader
	Lister

	// Ready returns an error that wraps ErrUnavailable unless the engine stores images, as far as it has room for them.
	Ready(ctx context.Context) error
	// Describe names the engine for the log, without secrets.
	Describe() string
	// Close ends the engine. Every delivery has to be ended before.
	Close()
}

// Pusher stores images.
type Pusher interface {
	// Buffer returns a buffer of length size for an image that will be pushed.
	Buffer(size int) []byte
	// Push appends an image to a session. The bytes belong to the engine from the call on, whether or not it succeeds.
	Push(ctx context.Context, session string, image []byte) (Receipt, error)
}

// Popper takes images.
type Popper interface {
	// Pop takes the oldest live image of a session, or returns ErrEmpty. The caller has to end the delivery.
	Pop(ctx context.Context, session string) (Delivery, error)
}

// BoundedPopper takes images for which there is room.
type BoundedPopper interface {
	// PopAtMost is Pop for an image of at most size bytes. If the oldest image is larger it stays where it is, its bytes
	// are not read, and the error is a *TooLargeError.
	PopAtMost(ctx context.Context, session string, size int) (Delivery, error)
}

// Reader finds images and leaves them where they are.
type Reader interface {
	// Find returns the image that a query asks for, without its bytes, or ErrEmpty.
	Find(ctx context.Context, session string, which Query) (Ref, error)
	// Load returns the image of a Ref, or ErrEmpty if its bytes have moved or are gone since. Without an error the caller
	// has to Release the image.
	Load(ctx context.Context, ref Ref) (Image, error)
	// Release gives back an image that was loaded, once. Until then the engine counts its bytes, whatever becomes of it in
	// its queue. The bytes must not be read after that.
	Release(image Image)
	// Subscribe informs a subscriber of the images of a session, pushed through any server, until cancel is called.
	// Calls can get lost: the subscriber has to poll as well.
	Subscribe(session string, s Subscriber) (cancel func())
}

// Subscriber is informed of the images of one session. Its methods must not block, and one of them may be called once
// more after the subscription was canceled.
type Subscriber interface {
	// Pushed reports an image that was pushed.
	Pushed(ref Ref)
	// Missed reports that the session may have images for which Pushed was not called.
	Missed()
}

// Lister lists sessions.
type Lister interface {
	// Sessions lists the sessions that have live images, in any order.
	Sessions(ctx context.Context) ([]Session, error)
}

var (
	// ErrEmpty says that there is no such image. It is never wrapped.
	ErrEmpty = errors.New("the queue is empty")
	// ErrFull says that the engine's memory is full. The image was not stored.
	ErrFull = errors.New("the queue's memory is full")
	// ErrTooManySessions says that the image would open one session too many. It was not stored.
	ErrTooManySessions = errors.New("too many sessions")
	// ErrUnavailable says that the engine did not answer, or takes no images for now. A push that failed with it may
	// have stored its image: the engine withdraws it as soon as it can, unless a consumer was faster.
	ErrUnavailable = errors.New("the queue does not answer")
)

// TooLargeError says that an image is larger than what PopAtMost may take. It is never wrapped.
type TooLargeError struct{ Size int }

func (e *TooLargeError) Error() string { return fmt.Sprintf("the oldest image has %d bytes", e.Size) }

// SequenceRetention is how long the sequence of a session rises after its newest image has expired. A session that is
// silent for longer starts again at 1. An engine without room to remember a session so long lets it go on at a higher
// sequence, never at a lower one.
const SequenceRetention = 10 * time.Minute

// Limits bound what a queue holds. 0 means no limit.
type Limits struct {
	Images   int   // of a session
	Bytes    int64 // of a session
	Sessions int
}

// Ref says where an image is.
type Ref struct {
	Session  string
	Sequence int64     // 1, 2, 3 ... within the session; see SequenceRetention
	Arrived  time.Time // by the clock of the engine
	Behind   int       // live images of the session that are newer
	Size     int       // in bytes
	Handle   any       // belongs to the engine that made the Ref
}

// NewerThan reports whether an image came after another one of the same session. The time of arrival decides where
// the sequence has started again. After the engine's clock stepped back, two images can each be newer than the other.
func (r Ref) NewerThan(other Ref) bool {
	return r.Sequence > other.Sequence || r.Arrived.After(other.Arrived)
}

// Image is an image with its bytes, which nobody may change.
type Image struct {
	Ref
	Data    []byte
	Expires time.Time // by the clock of this process
}

// Expired reports whether the image has expired.
func (i Image) Expired() bool { return !time.Now().Before(i.Expires) }

// Receipt says where a pushed image went.
type Receipt struct {
	Sequence int64 // 1, 2, 3 ... within the session
	Queued   int   // live images of the session, this one included
	Dropped  int   // older images that gave way to a limit
	Expired  int   // images that were found to have expired since the last push
}

// Query says which live image of a session to find. The zero Query finds the image that Pop would take.
type Query struct {
	// Newest asks for the newest image that fits instead of the oldest.
	Newest bool
	// Taken makes the newest image of the session fit also after it was taken.
	Taken bool
	// After makes only images with a higher sequence fit. A number ahead of the session counts as 0, because the
	// sequence has started again.
	After int64
	// MaxAge makes only younger images fit. 0 means no bound.
	MaxAge time.Duration
}

// Newest finds the newest image of a session, taken or not.
var Newest = Query{Newest: true, Taken: true}

// Get finds an image and loads it; the caller has to Release it. If the image moves in between, because it is taken,
// Get searches again, ten times at most.
func Get(ctx context.Context, r Reader, session string, which Query) (Image, error) {
	for range 10 {
		ref, err := r.Find(ctx, session, which)
		if err != nil {
			return Image{}, err
		}
		image, err := r.Load(ctx, ref)
		if err != ErrEmpty {
			return image, err
		}
	}
	return Image{}, ErrEmpty
}

// Session describes a session that has live images.
type Session struct {
	ID      string  `json:"id"`
	Len     int     `json:"len"`     // live images
	Bytes   int64   `json:"bytes"`   // of the live images
	Age     float64 `json:"age"`     // seconds since the newest image arrived, see Seconds
	Sent    int64   `json:"sent"`    // images stored since the session began
	Taken   int64   `json:"taken"`   // images that consumers took
	Expired int64   `json:"expired"` // images that nobody took in time
	Dropped int64   `json:"dropped"` // images that gave way to a limit
}

// Seconds returns a time in seconds, to the millisecond: with three decimals at most when it is written.
func Seconds(d time.Duration) float64 {
	return float64(d.Round(time.Millisecond).Milliseconds()) / 1000
}
