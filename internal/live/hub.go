// Package live shows the newest image of a session to any number of viewers.
//
// A Hub keeps one Feed for each session that is watched through this process. A feed learns of images by subscription,
// makes up for lost notifications by polling, and loads each image once, however many viewers there are. A feed keeps
// no image but the newest: a slow viewer skips images and holds nobody else back.
//
// To stream, Join the feed of a session, wait until it is Ready, then Show it. To wait for an image, follow Latest.
package live

import (
	"context"
	"log/slog"

	"github.com/image-streamer/image-streamer/internal/httpserver"
	"github.com/image-streamer/image-streamer/internal/queue"
)

// Options are what a Hub needs. All of them are required.
type Options struct {
	Reader  queue.Reader
	Budget  *httpserver.SendBudget // frames count against it for as long as the feed or a viewer uses them
	Poll    *queue.Poll            // a feed that published nothing for a period refreshes and repeats its frame
	Encoder Encoder
	Log     *slog.Logger
}

// Hub keeps one Feed for each session that has users.
type Hub struct {
	reader  queue.Reader
	budget  *httpserver.SendBudget
	poll    *queue.Poll
	encoder Encoder
	log     *slog.Logger
	feeds   *queue.PerSession[*Feed]
}

// NewHub returns a Hub without feeds.
func NewHub(o Options) *Hub {
	h := &Hub{reader: o.Reader, budget: o.Budget, poll: o.Poll, encoder: o.Encoder.prepared(), log: o.Log}
	h.feeds = queue.NewPerSession(h.start)
	return h
}

// Join returns the feed of a session. leave has to be called. The feed of the first user has no frame yet: it gets
// one with the next image, with the next poll, or through Ready.
func (h *Hub) Join(session string) (f *Feed, leave func()) { return h.feeds.Join(session) }

// Len returns how many users the feed of a session has.
func (h *Hub) Len(session string) int { return h.feeds.Users(session) }

func (h *Hub) start(session string) (f *Feed, stop func()) {
	idle := make(chan struct{}, 1)
	f = &Feed{
		session: session,
		encoder: h.encoder,
		log:     h.log,
		turn:    h.poll.Every(func() { signal(idle) }),
		wake:    make(chan struct{}, 1),
		idle:    idle,
		changed: make(chan struct{}),
	}
	f.reader = budgetedReader{h.reader, h.budget, f.reserve}
	ctx, cancel := context.WithCancel(context.Background())
	unsubscribe := h.reader.Subscribe(session, f)
	go f.run(ctx)
	return f, func() { unsubscribe(); f.turn.Stop(); cancel() }
}
