package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"
)

// engine keeps the queues. Both engines give the same promises: images leave a
// session in the order they came, each to one consumer, none at or past its
// expiry; a push that returns nil is stored once and whole.
type engine interface {
	// Buffer returns room for an image that is to be pushed.
	Buffer(size int) []byte
	// Push appends an image to a session. The image belongs to the engine from
	// then on: the caller must not touch it again.
	Push(ctx context.Context, session string, image []byte) (receipt, error)
	// Pop takes the oldest image, or returns errEmpty. The caller must Settle it.
	Pop(ctx context.Context, session string) (frame, error)
	// Settle ends a pop: a delivered image is freed, any other one goes back to
	// its place in the queue for as long as it lives.
	Settle(f frame, delivered bool)
	// Look describes an image without taking it, or returns errEmpty.
	Look(ctx context.Context, session string, which pick) (frame, error)
	// Read returns an image that Look or Watch described with its bytes, or
	// errEmpty when it is no longer there.
	Read(ctx context.Context, f frame) (frame, error)
	// Watch calls tell for every image that is pushed from now on, on whichever
	// server, until stop is called. A frame without a sequence says that something
	// may have come. Calls can get lost: a slow poll has to make up for that. tell
	// must not block.
	Watch(session string, tell func(frame)) (stop func())
	// Stats lists the sessions that hold live images, in any order, with their
	// numbers of images alone.
	Stats(ctx context.Context) ([]sessionStats, error)
	// Detail completes the stats of some sessions, all but Len.
	Detail(ctx context.Context, some []sessionStats) error
	// Ping tells whether the engine answers.
	Ping(ctx context.Context) error
	// Describe names the engine for the log, without secrets.
	Describe() string
	Close()
}

var (
	errEmpty       = errors.New("the queue is empty")
	errFull        = errors.New("the queue's memory is full")
	errUnavailable = errors.New("the queue does not answer")

	errManySessions = errors.New("too many sessions")
	errStopping     = errors.New("the server stops")
)

// limits bound what a queue holds; 0: no limit.
type limits struct {
	images   int   // of a session
	bytes    int64 // of a session
	sessions int
}

// sequenceMemory is how long a session's sequence is remembered after its
// newest image has expired. A session silent for longer starts again at 1.
const sequenceMemory = 10 * time.Minute

// receipt says where a pushed image went.
type receipt struct {
	sequence int64 // 1, 2, 3 ... within the session
	queued   int   // live images in the queue, this one included

	dropped int  // images that gave way to a limit
	expired int  // images found expired since the last push
	opened  bool // whether the session is new
}

// frame is an image on its way to a consumer or a viewer.
type frame struct {
	session  string
	sequence int64
	arrival  time.Time
	expiry   time.Time // by the clock of this process; set by Read
	left     int       // live images behind it
	size     int       // in bytes
	data     []byte
	key      string // Redis: where the bytes are, when they are not here
	ticket   ticket // Redis: the pop that took it
	flight   int64  // embedded: the pop that took it
	holds    int    // embedded: how many hold its bytes
}

// newerThan compares two images of one session. A sequence that begins again does
// so with a later image.
func (f frame) newerThan(g frame) bool {
	return f.sequence > g.sequence || f.arrival.After(g.arrival)
}

// pick says which image to look for.
type pick struct {
	newest bool          // the newest; else the oldest with a higher sequence than after
	after  int64         // one ahead of the session's counts as 0: the sequence began again
	popped bool          // the newest image counts also when it was popped
	within time.Duration // younger images only; 0: every live one
}

// read looks for an image and reads it. One that moves in between, since it is
// popped, is looked for again.
func read(ctx context.Context, e engine, session string, which pick) (frame, error) {
	for range 10 {
		f, err := e.Look(ctx, session, which)
		if err != nil {
			return frame{}, err
		}
		left := f.left
		if f, err = e.Read(ctx, f); err != errEmpty {
			f.left = left
			return f, err
		}
	}
	return frame{}, errEmpty
}

// sessionStats is one session in the answer of /stats.
type sessionStats struct {
	ID      string  `json:"id"`
	Len     int     `json:"len"`     // live images
	Bytes   int64   `json:"bytes"`   // of them
	Age     float64 `json:"age"`     // seconds since the newest arrived
	Sent    int64   `json:"sent"`    // images stored since the session began
	Taken   int64   `json:"taken"`   // popped
	Expired int64   `json:"expired"` // untaken
	Dropped int64   `json:"dropped"` // by a limit
}

// newEngine returns the engine that the settings ask for.
func newEngine(cfg config, log *slog.Logger) engine {
	bounds := limits{cfg.maxImages, cfg.maxSessionBytes, cfg.maxSessions}
	if cfg.redis == nil {
		q := newMemoryQueue(cfg.expire, cfg.memoryLimit, time.Now)
		q.limits = bounds
		return q
	}
	var rdb redis.UniversalClient = newRedisClient(cfg.redis)
	if cfg.redisMode == "cluster" {
		rdb = newClusterClient(cfg.redis)
	}
	q := newRedisQueueOn(rdb, cfg.expire, log)
	q.limits = bounds
	return q
}
