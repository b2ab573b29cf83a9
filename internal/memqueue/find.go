package memqueue

import (
	"context"
	"time"

	"github.com/image-streamer/image-streamer/internal/queue"
)

// Find returns the image that a query asks for.
func (q *Queue) Find(_ context.Context, session string, which queue.Query) (queue.Ref, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.sweep()
	s := q.sessions[session]
	if s == nil {
		return queue.Ref{}, queue.ErrEmpty
	}
	after, maxAge := which.After, q.ttl
	if after > s.sequence {
		after = 0
	}
	if which.MaxAge > 0 {
		maxAge = min(maxAge, which.MaxAge)
	}
	it, behind := s.find(which, func(it *item) bool { return it.sequence > after && now.Sub(it.arrived) < maxAge })
	if it == nil {
		return queue.Ref{}, queue.ErrEmpty
	}
	return it.ref(behind), nil
}

// find returns the oldest or the newest image that fits, or nil, and how many queued images are behind it. Where one
// image fits, all newer ones do.
func (s *sessionQueue) find(which queue.Query, fits func(*item) bool) (found *item, behind int) {
	if !which.Newest {
		found, behind = s.oldest(fits)
	} else if e := s.queue.Back(); e != nil && fits(e.Value.(*item)) {
		found = e.Value.(*item)
	}
	if which.Taken && s.newestTaken != nil && (which.Newest || found == nil) {
		if newest := s.newestTaken.Value.(*item); fits(newest) {
			return newest, 0
		}
	}
	return found, behind
}

// oldest returns the oldest queued image that fits, or nil, and how many are behind it. It looks at the head first, and
// then from the end, because readers follow one of the two.
func (s *sessionQueue) oldest(fits func(*item) bool) (found *item, behind int) {
	head := s.queue.Front()
	if head == nil {
		return nil, 0
	}
	if it := head.Value.(*item); fits(it) {
		return it, s.queue.Len() - 1
	}
	behind = -1
	for e := s.queue.Back(); fits(e.Value.(*item)); e = e.Prev() {
		found = e.Value.(*item)
		behind++
	}
	return found, max(behind, 0)
}

// ref returns where an image is.
func (it *item) ref(behind int) queue.Ref {
	return queue.Ref{
		Session: it.session.id, Sequence: it.sequence, Arrived: it.arrived,
		Behind: behind, Size: len(it.data), Handle: it,
	}
}

// Load returns the image of a Ref, also when it was taken since, or ErrEmpty if it has expired.
func (q *Queue) Load(_ context.Context, ref queue.Ref) (queue.Image, error) {
	asked, now := time.Now(), q.now()
	it, ok := ref.Handle.(*item)
	if !ok || q.over(it, now) {
		return queue.Image{}, queue.ErrEmpty
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.retain(it)
	return q.image(ref, asked, now), nil
}

// Release ends the reference of an image that was loaded.
func (q *Queue) Release(image queue.Image) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.release(image.Handle.(*item))
}

// image adds the bytes to a Ref, and when they expire by the clock of the process. That clock was read before now was,
// so that the time is never too late.
func (q *Queue) image(ref queue.Ref, asked, now time.Time) queue.Image {
	return queue.Image{
		Ref:     ref,
		Data:    ref.Handle.(*item).data,
		Expires: asked.Add(q.ttl - now.Sub(ref.Arrived)),
	}
}

// Subscribe informs a subscriber of the images of a session. No call gets lost.
func (q *Queue) Subscribe(session string, s queue.Subscriber) (cancel func()) {
	return q.subscribers.Add(session, s)
}

// keepNewestTaken keeps the newest image of its session for readers after it was taken.
func (q *Queue) keepNewestTaken(it *item) {
	it.session.newestTaken = q.newestTaken.PushBack(it)
	q.retain(it)
}

// sweepNewestTaken drops the taken images that have expired. They are in no order of arrival.
func (q *Queue) sweepNewestTaken(now time.Time) {
	for e := q.newestTaken.Front(); e != nil; {
		it := e.Value.(*item)
		e = e.Next()
		if q.over(it, now) {
			q.dropNewestTaken(it.session)
		}
	}
}

// dropNewestTaken drops the taken image that a session keeps for readers, if any.
func (q *Queue) dropNewestTaken(s *sessionQueue) {
	if s.newestTaken != nil {
		q.release(q.newestTaken.Remove(s.newestTaken).(*item))
		s.newestTaken = nil
	}
}
