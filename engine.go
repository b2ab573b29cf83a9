package main

import (
	"context"
	"errors"
	"log/slog"
	"time"
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
	// Peek describes the image that Pop would take, without its bytes, or
	// returns errEmpty.
	Peek(ctx context.Context, session string) (frame, error)
	// Stats lists the sessions that hold live images, in any order.
	Stats(ctx context.Context) ([]sessionStats, error)
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
)

// sequenceMemory is how long a session's sequence is remembered after its
// newest image has expired. A session silent for longer starts again at 1.
const sequenceMemory = 10 * time.Minute

// receipt says where a pushed image went.
type receipt struct {
	sequence int64 // 1, 2, 3 ... within the session
	queued   int   // live images in the queue, this one included
}

// frame is an image on its way to a consumer.
type frame struct {
	session  string
	sequence int64
	arrival  time.Time
	left     int // live images behind it
	size     int // in bytes
	data     []byte
	ticket   ticket // Redis: the pop that took it
}

// sessionStats is one session in the answer of /stats.
type sessionStats struct {
	ID  string `json:"id"`
	Len int    `json:"len"`
}

// newEngine returns the engine that the settings ask for.
func newEngine(cfg config, log *slog.Logger) engine {
	if cfg.redis == nil {
		return newMemoryQueue(cfg.expire, cfg.memoryLimit, time.Now)
	}
	return newRedisQueue(cfg.redis, cfg.expire, log)
}
