package redisqueue

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/queuetest"
	"github.com/image-streamer/image-streamer/internal/redistest"
)

// almost is a delay that is just short enough for an attempt.
const almost = attemptTimeout * 9 / 10

// However thin the line to Redis is, a push or pop may take for as long as its image moves. After that it has the time
// of an attempt for the reply. The clock of a synctest bubble moves only while everything in it waits, so the test does
// not depend on how busy the machine is.
func TestThinLine(t *testing.T) {
	t.Parallel()
	const size, rate = 10 << 20, 10 << 20 / 3
	const slow = 3 * time.Second // longer than callTimeout
	for _, row := range []struct {
		name string
		call func(t *testing.T, h *harness, size int) error
		fake *fakeRedis
		err  error
		took time.Duration // at least, and at most a tenth of a second longer
	}{
		{"push", pushThin, &fakeRedis{bytesPerSecond: rate}, nil, slow},
		{"push for long", pushThin, &fakeRedis{bytesPerSecond: rate / 12}, nil, 12 * slow},
		{"push, a late reply", pushThin, &fakeRedis{bytesPerSecond: rate, delay: almost}, nil, slow + almost},
		{
			"push, no reply", pushThin, &fakeRedis{bytesPerSecond: rate, delay: time.Hour},
			queue.ErrUnavailable, slow + attemptTimeout,
		},
		{
			"push, with one deadline for all", pushThin, &fakeRedis{bytesPerSecond: rate, plain: true},
			queue.ErrUnavailable, 2 * attemptTimeout,
		},
		{"pop", popThin, &fakeRedis{bytesPerSecond: rate}, nil, slow},
		{"pop for long", popThin, &fakeRedis{bytesPerSecond: rate / 12}, nil, 12 * slow},
		{"pop, a late reply", popThin, &fakeRedis{bytesPerSecond: rate, delay: almost}, nil, slow + almost},
		{
			"pop, with one deadline for all", popThin, &fakeRedis{bytesPerSecond: rate, plain: true},
			queue.ErrUnavailable, 2 * attemptTimeout,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := row.fake
				f.image = make([]byte, size)
				h := openFake(t, f)
				begun := time.Now()
				err := row.call(t, h, size)
				took := time.Since(begun)
				if !errors.Is(err, row.err) || took < row.took || took > row.took+time.Second/10 {
					t.Errorf("got error %v after %s, want error %v after %s", err, took, row.err, row.took)
				}
			})
		})
	}
}

func pushThin(t *testing.T, h *harness, size int) error {
	_, err := h.Push(t.Context(), "session", make([]byte, size))
	return err
}

func popThin(t *testing.T, h *harness, size int) error {
	d, err := h.Pop(t.Context(), "session")
	if err == nil && len(d.Data) != size {
		t.Errorf("got %d bytes, want %d", len(d.Data), size)
	}
	d.Ack()
	return err
}

// lateDeadlines puts off the deadlines of a client's connections, to thirty times their distance, so that a test does
// not depend on how busy the machine is.
type lateDeadlines struct{}

func (lateDeadlines) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := next(ctx, network, addr)
		if progress, ok := conn.(progressSocket); ok {
			progress.progressConn.Conn = lateDeadlineConn{progress.progressConn.Conn}
		} else if err == nil {
			conn.Close()
			return nil, fmt.Errorf("dialed a %T, whose deadlines do not move with its progress", conn)
		}
		return conn, err
	}
}

func (lateDeadlines) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (lateDeadlines) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

type lateDeadlineConn struct{ net.Conn }

func (c lateDeadlineConn) SetReadDeadline(at time.Time) error {
	return c.Conn.SetReadDeadline(later(at))
}

func (c lateDeadlineConn) SetWriteDeadline(at time.Time) error {
	return c.Conn.SetWriteDeadline(later(at))
}

func later(at time.Time) time.Time {
	if at.IsZero() {
		return at // no deadline
	}
	return time.Now().Add(30 * time.Until(at))
}

// The same on a real Redis: an image that is large for the line passes whole, although it takes longer than a call may
// take when nothing moves.
func TestThinLineToRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Use(t)
	wide := openOn(t, server)
	if err := loadScripts(t.Context(), wide.q.rdb); err != nil { // otherwise a first attempt would be wasted
		t.Fatal(err)
	}
	image := string(queuetest.Labelled("large", 10<<20))
	thin := func(t *testing.T, bytesPerSecond int) *harness {
		rdb := newClient(at(redistest.ThinLine(t, server.Addr, bytesPerSecond)))
		rdb.AddHook(lateDeadlines{})
		return openWith(t, rdb, Options{})
	}
	want := func(t *testing.T, got queue.Image, begun time.Time, least time.Duration) {
		t.Helper()
		if took := time.Since(begun); string(got.Data) != image || took < least {
			t.Errorf("got %d bytes after %s, want the %d of the image, after %s", len(got.Data), took, len(image), least)
		}
	}
	t.Run("push", func(t *testing.T) {
		t.Parallel()
		session, h := newSession(), thin(t, 3_000_000)
		begun := time.Now()
		h.PushImage(t, session, image)
		want(t, wide.Take(t, session), begun, callTimeout)
	})
	t.Run("pop", func(t *testing.T) {
		t.Parallel()
		session, h := newSession(), thin(t, 3_000_000)
		wide.PushImage(t, session, image)
		begun := time.Now()
		want(t, h.Take(t, session), begun, callTimeout)
	})
}
