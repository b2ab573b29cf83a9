package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/image-streamer/image-streamer/internal/config"
	"github.com/image-streamer/image-streamer/internal/memqueue"
	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/redisqueue"
)

// openQueue returns the queue that the settings ask for.
func openQueue(cfg config.Config, reg prometheus.Registerer, log *slog.Logger) queue.Queue {
	limits := queueLimits(cfg.Limits)
	if cfg.Redis == nil {
		return memqueue.New(memqueue.Options{
			TTL: cfg.Expire, MemoryLimit: cfg.Limits.MemoryBytes, Limits: limits, Now: time.Now, Registerer: reg,
		})
	}
	return redisqueue.Open(redisqueue.Options{
		Redis: cfg.Redis, TTL: cfg.Expire, Limits: limits, Log: log, Registerer: reg,
	})
}

func queueLimits(l config.Limits) queue.Limits {
	return queue.Limits{Images: l.Images, Bytes: l.SessionBytes, Sessions: l.Sessions}
}

// counted is a queue that counts what goes in and out.
type counted struct {
	queue.Queue
	metrics *metrics
}

// Push counts the image, and the older ones that a push finds expired or drops.
func (q *counted) Push(ctx context.Context, id string, image []byte) (queue.Receipt, error) {
	size := len(image) // the image belongs to the queue from the call on
	stored, err := q.Queue.Push(ctx, id, image)
	if err != nil {
		q.metrics.refused.WithLabelValues(refusalReason(err)).Inc()
		return stored, err
	}
	q.metrics.pushes.Inc()
	q.metrics.received.Add(float64(size))
	if stored.Expired > 0 {
		q.metrics.expired.Add(float64(stored.Expired))
	}
	if stored.Dropped > 0 {
		q.metrics.dropped.Add(float64(stored.Dropped))
	}
	return stored, nil
}

func refusalReason(err error) string {
	switch {
	case errors.Is(err, queue.ErrFull):
		return "full"
	case errors.Is(err, queue.ErrTooManySessions):
		return "sessions"
	case errors.Is(err, queue.ErrUnavailable):
		return "unavailable"
	}
	return "other"
}

// Pop counts the pop by whether it found an image.
func (q *counted) Pop(ctx context.Context, id string) (queue.Delivery, error) {
	d, err := q.Queue.Pop(ctx, id)
	switch err {
	case nil:
		q.metrics.pops.Inc()
	case queue.ErrEmpty:
		q.metrics.emptyPops.Inc()
	}
	return d, err
}
