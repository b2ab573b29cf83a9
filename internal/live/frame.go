package live

import (
	"context"
	"sync/atomic"

	"github.com/image-streamer/image-streamer/internal/httpserver"
	"github.com/image-streamer/image-streamer/internal/queue"
)

// Frame is what a feed shows at one moment: an image or No Data. Its bytes may be given up as soon as the feed shows
// another one, unless the frame is retained.
type Frame struct {
	Serial int // rises with each frame, also with one that repeats the image
	picture
}

// picture is what frames show that repeat one another.
type picture struct {
	Image *queue.Image // nil for No Data; its bytes are those in Part
	Part  Part         // the image, or the No Data image, as a part of an MJPEG stream
	room  *room        // nil for No Data
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
func (f *Frame) Expired() bool { return f.Image != nil && f.Image.Expired() }

// held returns how many bytes of the budget the frame holds. A frame that is nil holds none.
func (f *Frame) held() int {
	if f == nil || f.room == nil {
		return 0
	}
	return f.room.size
}

// Retain keeps the bytes of the frame until Release is called. It returns false if they were given up: the feed shows
// the frame no longer, or has no users.
func (f *Frame) Retain() bool { return f.room == nil || f.room.retain() }

// Release ends a Retain that returned true.
func (f *Frame) Release() {
	if f.room != nil {
		f.room.release()
	}
}

// room is what a part holds of the budget, once for all who use the part.
type room struct {
	budget *httpserver.SendBudget
	size   int
	users  atomic.Int32 // the feed that shows the part, and those who retained a frame of it
}

func (r *room) retain() bool {
	for users := r.users.Load(); users > 0; users = r.users.Load() {
		if r.users.CompareAndSwap(users, users+1) {
			return true
		}
	}
	return false
}

func (r *room) release() {
	if r.users.Add(-1) == 0 {
		r.budget.Release(r.size)
	}
}

// giveWay ends the only use of a part, that of its feed, and returns false if there are more. It does not release what
// the part holds of the budget.
func (r *room) giveWay() bool { return r.users.CompareAndSwap(1, 0) }

// budgetedReader loads only images for which the budget has room: for the image and for the part that is made of it.
type budgetedReader struct {
	queue.Reader
	budget  *httpserver.SendBudget
	reserve func(size int) error // of the budget
}

// framing is more than what a part has besides its image.
const framing = 256

func roomToEncode(imageSize int) int { return 2*imageSize + framing }

// Load reserves the room. encode gives back what it does not need.
func (r budgetedReader) Load(ctx context.Context, ref queue.Ref) (queue.Image, error) {
	reserved := roomToEncode(ref.Size)
	if err := r.reserve(reserved); err != nil {
		return queue.Image{}, err
	}
	image, err := r.Reader.Load(ctx, ref)
	if err != nil {
		r.budget.Return(reserved, 0)
	}
	return image, err
}

// encode makes a picture of an image that was loaded, and releases the image. The picture has one user.
func (r budgetedReader) encode(encoder Encoder, image queue.Image) picture {
	defer r.Release(image)
	part := encoder.part(&image)
	image.Data, image.Handle = part.bytes[part.image:][:len(image.Data)], nil // those of the engine are given back
	r.budget.Shrink(roomToEncode(image.Size), len(part.bytes))
	held := &room{budget: r.budget, size: len(part.bytes)}
	held.users.Store(1)
	return picture{&image, part, held}
}
