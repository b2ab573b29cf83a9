package redisqueue

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
)

// pubsub receives the notifications of the sessions that have subscribers in this process. However many there are, it
// uses one connection, and none before there is a subscriber. A notification names an image, it never carries one.
type pubsub struct {
	rdb         redis.UniversalClient
	subscribers *queue.Subscribers
	changed     chan struct{} // holds a value when sessions have got or lost subscribers
	cancel      context.CancelFunc
	done        chan struct{}

	mu         sync.Mutex
	subscribed map[string]bool // sessions subscribed to in Redis; true: Redis has confirmed it
}

func newPubsub(rdb redis.UniversalClient) *pubsub {
	changed := make(chan struct{}, 1)
	signal := func(string) { wake(changed) }
	ctx, cancel := context.WithCancel(context.Background())
	p := &pubsub{
		rdb: rdb, subscribers: queue.NewSubscribers(signal, signal), changed: changed,
		cancel: cancel, done: make(chan struct{}), subscribed: map[string]bool{},
	}
	go p.run(ctx)
	return p
}

func (p *pubsub) close() {
	p.cancel()
	<-p.done
}

// subscribe does not wait for Redis. The subscriber learns that it may have missed images when the subscription
// stands, or at once if the subscription of an earlier subscriber stands already.
func (p *pubsub) subscribe(session string, s queue.Subscriber) (cancel func()) {
	cancel = p.subscribers.Add(session, s)
	p.mu.Lock()
	stands := p.subscribed[session]
	p.mu.Unlock()
	if stands {
		s.Missed()
	}
	return cancel
}

// run keeps the subscriptions in Redis equal to the sessions that have subscribers. After a lost connection go-redis
// makes another one, and subscribes to everything again.
func (p *pubsub) run(ctx context.Context) {
	defer close(p.done)
	var subscription *redis.PubSub
	for {
		select {
		case <-p.changed:
		case <-ctx.Done():
			if subscription != nil {
				subscription.Close()
			}
			return
		}
		if subscription == nil {
			subscription = p.rdb.Subscribe(ctx)
			go p.listen(subscription.ChannelWithSubscriptions())
		}
		start, end := p.diff()
		if len(start) > 0 && subscription.Subscribe(ctx, start...) != nil {
			p.retryLater(start)
		}
		if len(end) > 0 {
			subscription.Unsubscribe(ctx, end...)
		}
	}
}

// retryLater forgets subscriptions that could not be sent, and makes run try again. go-redis connects again by itself,
// but subscribes only to what it had sent before.
func (p *pubsub) retryLater(channels []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, channel := range channels {
		delete(p.subscribed, notifiedSession(channel))
	}
	time.AfterFunc(retryDelay, func() { wake(p.changed) })
}

// diff brings subscribed up to date, and returns the channels to subscribe to and those to unsubscribe from.
func (p *pubsub) diff() (start, end []string) {
	wanted := map[string]bool{}
	for _, session := range p.subscribers.Sessions() {
		wanted[session] = true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for session := range wanted {
		if _, ok := p.subscribed[session]; !ok {
			p.subscribed[session] = false
			start = append(start, keysOf(session).notify(session))
		}
	}
	for session := range p.subscribed {
		if !wanted[session] {
			delete(p.subscribed, session)
			end = append(end, keysOf(session).notify(session))
		}
	}
	return start, end
}

// listen passes on what Redis sends, until the subscription is closed.
func (p *pubsub) listen(messages <-chan any) {
	for message := range messages {
		switch m := message.(type) {
		case *redis.Message:
			p.notify(notifiedSession(m.Channel), m.Payload)
		case *redis.Subscription: // also again after a lost connection
			if m.Kind == "subscribe" {
				p.confirm(notifiedSession(m.Channel))
			}
		}
	}
}

// confirm notes that a subscription stands, and informs the session's subscribers.
func (p *pubsub) confirm(session string) {
	p.mu.Lock()
	if _, ok := p.subscribed[session]; ok {
		p.subscribed[session] = true
	}
	p.mu.Unlock()
	p.subscribers.Missed(session)
}

// notify passes a notification on to the subscribers of its session.
func (p *pubsub) notify(session, text string) {
	n, err := parseNotification(text)
	if err != nil { // an image came back
		p.subscribers.Missed(session)
		return
	}
	p.subscribers.Pushed(queue.Ref{
		Session: session, Sequence: n.sequence, Arrived: n.arrived, Size: n.size, Handle: keysOf(session).image(n.id),
	})
}
