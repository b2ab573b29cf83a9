package memqueue

import (
	"container/list"
	"context"
	"time"

	"github.com/image-streamer/image-streamer/internal/queue"
)

// sessionQueue is the queue of one session. Its images are a subsequence of those of the Queue, so the oldest image of
// all is always the head of its session.
type sessionQueue struct {
	id          string
	begin       int64         // the sequence before that of its first image
	sequence    int64         // of the newest image
	pushed      time.Time     // when the newest image arrived
	open        bool          // the newest image arrived within a TTL
	place       *list.Element // in the open sessions of the Queue, or in the idle ones
	queue       list.List     // of *item, oldest first
	inFlight    int           // deliveries that have not ended
	newestTaken *list.Element // in newestTaken of the Queue; nil: the newest image is queued or gone

	bytes   int64 // of the queued images
	taken   int64 // images that were delivered or are on their way
	dropped int64 // images that gave way to a limit
}

// countPush counts an image that will be pushed to a session: the sequence of the session is that of the image. The
// session is made if there is none.
func (q *Queue) countPush(id string, now time.Time) *sessionQueue {
	s := q.sessions[id]
	if s == nil {
		q.forgetSilent()
		begin := q.forgotten.highestAt(now)
		s = &sessionQueue{id: id, begin: begin, sequence: begin}
		q.sessions[id] = s
	} else {
		q.listOf(s).Remove(s.place)
	}
	q.dropNewestTaken(s)
	s.sequence++
	s.pushed, s.open = now, true
	s.place = q.open.PushBack(s)
	return s
}

// listOf returns the list that a session is in.
func (q *Queue) listOf(s *sessionQueue) *list.List {
	if s.open {
		return q.open
	}
	return q.idle
}

// trim drops the oldest images of a session that exceeds a limit, never the newest one, and returns how many.
func (q *Queue) trim(s *sessionQueue) (dropped int) {
	for s.queue.Len() > 1 && (q.limits.Images > 0 && s.queue.Len() > q.limits.Images ||
		q.limits.Bytes > 0 && s.bytes > q.limits.Bytes) {
		q.removeHead(s)
		dropped++
	}
	s.dropped += int64(dropped)
	return dropped
}

// Sessions lists the sessions that have live images.
func (q *Queue) Sessions(context.Context) ([]queue.Session, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.sweep()
	var sessions []queue.Session
	for e := q.open.Front(); e != nil; e = e.Next() {
		if s := e.Value.(*sessionQueue); s.queue.Len() > 0 {
			sessions = append(sessions, s.describe(now))
		}
	}
	return sessions, nil
}

func (s *sessionQueue) describe(now time.Time) queue.Session {
	return queue.Session{
		ID:      s.id,
		Len:     s.queue.Len(),
		Bytes:   s.bytes,
		Age:     queue.Seconds(now.Sub(s.pushed)),
		Sent:    s.sequence - s.begin,
		Taken:   s.taken,
		Expired: s.sequence - s.begin - s.taken - s.dropped - int64(s.queue.Len()),
		Dropped: s.dropped,
	}
}

// sweep drops the queued images that have expired, and returns the time by which it decided. Sessions that had no image
// within a TTL become idle; those whose sequence need not be remembered longer are removed.
func (q *Queue) sweep() time.Time {
	now := q.now()
	for e := q.images.Front(); e != nil && q.over(e.Value.(*item), now); e = q.images.Front() {
		q.removeHead(e.Value.(*item).session)
		q.expired++
	}
	for s := front(q.open); s != nil && now.Sub(s.pushed) >= q.ttl; s = front(q.open) {
		q.open.Remove(s.place)
		s.open = false
		s.place = q.idle.PushBack(s)
	}
	for s := front(q.idle); s != nil && now.Sub(s.pushed) >= q.ttl+queue.SequenceRetention; s = front(q.idle) {
		q.remove(s)
	}
	return now
}

// front returns the session that is first in a list, or nil.
func front(l *list.List) *sessionQueue {
	if e := l.Front(); e != nil {
		return e.Value.(*sessionQueue)
	}
	return nil
}

// forgotten has what is left of the sessions that were removed before their retention was over. A session that is not
// remembered may be one of them. So it begins above all of their sequences, until the retention of all is over: readers
// that keep a place miss no image.
type forgotten struct {
	highest int64     // of the sequences
	until   time.Time // the retention of the last one
}

func (f *forgotten) add(sequence int64, until time.Time) {
	f.highest = max(f.highest, sequence)
	if until.After(f.until) {
		f.until = until
	}
}

// highestAt returns the sequence above which a session begins, or 0.
func (f *forgotten) highestAt(now time.Time) int64 {
	if !now.Before(f.until) {
		f.highest = 0
	}
	return f.highest
}

// forgetSilent removes sessions without images where they would take more than a quarter of the memory limit, those
// that were silent longest first.
func (q *Queue) forgetSilent() {
	for _, l := range []*list.List{q.idle, q.open} {
		for e := l.Front(); e != nil && int64(len(q.sessions))*minCharge > max(q.memoryLimit/4, q.held); {
			s := e.Value.(*sessionQueue)
			e = e.Next()
			if s.queue.Len() == 0 && s.inFlight == 0 {
				q.forgotten.add(s.sequence, s.pushed.Add(q.ttl+queue.SequenceRetention))
				q.remove(s)
			}
		}
	}
}

// remove removes a session that has no queued images.
func (q *Queue) remove(s *sessionQueue) {
	q.listOf(s).Remove(s.place)
	q.dropNewestTaken(s)
	delete(q.sessions, s.id)
}

// sweepEvery frees expired images once in an interval, so that they go also when nobody calls.
func (q *Queue) sweepEvery(interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			q.mu.Lock()
			q.sweepNewestTaken(q.sweep())
			q.mu.Unlock()
		case <-q.stop:
			return
		}
	}
}
