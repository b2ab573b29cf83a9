package redisqueue

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// failingConn fails the first write of a subscription on any connection.
type failingConn struct {
	net.Conn
	failed *atomic.Bool
}

func (c failingConn) Write(p []byte) (int, error) {
	if bytes.Contains(bytes.ToLower(p), []byte("subscribe")) && c.failed.CompareAndSwap(false, true) {
		c.Close()
		return 0, errors.New("connection lost")
	}
	return c.Conn.Write(p)
}

// A subscription that could not be sent is sent again.
func TestLostSubscriptionIsRepeated(t *testing.T) {
	t.Parallel()
	options := &redis.Options{Addr: redistest.Use(t).Addr, MaxRetries: -1, DisableIdentity: true}
	dial, failed := redis.NewDialer(options), new(atomic.Bool)
	failed.Store(true) // not yet: permissions are checked by a subscription, too
	options.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		return failingConn{conn, failed}, err
	}
	h := openWith(t, redis.NewClient(options), Options{})
	if _, err := h.q.checkPermissions(t.Context()); err != nil {
		t.Fatal(err)
	}
	failed.Store(false)

	session, heard := newSession(), make(notifications, 100)
	defer h.Subscribe(session, heard)()
	testkit.Eventually(t, failed.Load)
	testkit.Eventually(t, func() bool {
		h.PushImage(t, session, "image")
		select {
		case ref := <-heard:
			return ref != nil // not Missed
		default:
			return false
		}
	})
}

// The client of a Cluster sends a pipeline twice at most, so that a call ends in time.
func TestClusterClientRedirectsOnce(t *testing.T) {
	t.Parallel()
	rdb := newClient(&redis.UniversalOptions{Addrs: []string{"127.0.0.1:1"}, IsClusterMode: true}).(*redis.ClusterClient)
	defer rdb.Close()
	if got := rdb.Options().MaxRedirects; got != 1 {
		t.Errorf("got %d redirects, want 1", got)
	}
}
