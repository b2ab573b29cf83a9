package main

import (
	"context"
	"strings"

	"github.com/redis/go-redis/v9"
)

// wakes hears through Redis what any server pushes to the sessions that are
// watched here: over one connection, however many watch, and none when nobody
// does. A message names an image, it never carries one.
type wakes struct {
	*watchers
	rdb    redis.UniversalClient
	kick   chan struct{}
	cancel context.CancelFunc
	done   chan struct{}
}

func newWakes(rdb redis.UniversalClient) *wakes {
	ctx, cancel := context.WithCancel(context.Background())
	w := &wakes{watchers: newWatchers(), rdb: rdb, kick: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{})}
	go w.run(ctx)
	return w
}

func (w *wakes) close() {
	w.cancel()
	<-w.done
}

// watch does not wait for Redis: when the subscription stands, the watcher is told
// that something may have come before.
func (w *wakes) watch(session string, tell func(frame)) (stop func()) {
	first, remove := w.add(session, tell)
	if first {
		w.wake()
	} else {
		tell(frame{session: session})
	}
	return func() {
		if remove() {
			w.wake()
		}
	}
}

func (w *wakes) wake() {
	select {
	case w.kick <- struct{}{}:
	default: // it will look anyway
	}
}

// run keeps the subscriptions what is watched. Where Redis is away, go-redis
// subscribes again to everything when it is back.
func (w *wakes) run(ctx context.Context) {
	defer close(w.done)
	var subscription *redis.PubSub
	subscribed := map[string]bool{}
	for {
		select {
		case <-w.kick:
		case <-ctx.Done():
			if subscription != nil {
				subscription.Close()
			}
			return
		}
		watched := w.sessions()
		var start, end []string
		for session := range watched {
			if !subscribed[session] {
				start = append(start, keysOf(session).wake(session))
			}
		}
		for session := range subscribed {
			if !watched[session] {
				end = append(end, keysOf(session).wake(session))
			}
		}
		subscribed = watched
		if subscription == nil {
			subscription = w.rdb.Subscribe(ctx)
			go w.listen(subscription.ChannelWithSubscriptions())
		}
		if len(start) > 0 {
			subscription.Subscribe(ctx, start...)
		}
		if len(end) > 0 {
			subscription.Unsubscribe(ctx, end...)
		}
	}
}

// listen passes on what Redis says until the subscription is closed.
func (w *wakes) listen(messages <-chan any) {
	for message := range messages {
		switch m := message.(type) {
		case *redis.Message:
			w.tell(parseWake(watchedSession(m.Channel), m.Payload))
		case *redis.Subscription: // again after a lost connection, too
			w.tell(frame{session: watchedSession(m.Channel)})
		}
	}
}

// watchedSession returns the session of a wake channel.
func watchedSession(channel string) string {
	_, session, _ := strings.Cut(channel, "}:wake:")
	return session
}
