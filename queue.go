package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/config"
	"github.com/image-streamer/image-streamer/internal/httpserver"
	"github.com/image-streamer/image-streamer/internal/memqueue"
	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/redisqueue"
)

// openQueue returns the queue that the settings ask for.
func openQueue(cfg config.Config, reg prometheus.Registerer, log *slog.Logger) (queue.Queue, error) {
	limits := queueLimits(cfg.Limits)
	if cfg.Redis == nil {
		return memqueue.New(memqueue.Options{
			TTL: cfg.Expire, MemoryLimit: cfg.Limits.MemoryBytes, Limits: limits, Now: time.Now, Registerer: reg,
		}), nil
	}
	options, err := withTLSFiles(cfg.Redis, cfg.RedisTLS, log)
	if err != nil {
		return nil, err
	}
	return redisqueue.Open(redisqueue.Options{
		Redis: options, TTL: cfg.Expire, Limits: limits, MaxImage: cfg.Limits.ImageBytes,
		Log: log, Registerer: reg,
	}), nil
}

// withTLSFiles returns the options with the client's certificate, which may be renewed while the server runs, and the
// certificates by which Redis is verified.
func withTLSFiles(
	redisOptions *redis.UniversalOptions, files config.RedisTLS, log *slog.Logger,
) (*redis.UniversalOptions, error) {
	if files == (config.RedisTLS{}) {
		return redisOptions, nil
	}
	o := *redisOptions
	o.TLSConfig = o.TLSConfig.Clone()
	if files.Cert != "" {
		certificate, err := httpserver.LoadCertificate(files.Cert, files.Key, log)
		if err != nil {
			return nil, &usageError{fmt.Sprintf("REDIS_HOST: cert=%s, key=%s: allowed are PEM files of a certificate "+
				"chain and of its private key: %v", files.Cert, files.Key, err)}
		}
		o.TLSConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return certificate.Get(nil)
		}
	}
	if files.CA != "" {
		pem, err := os.ReadFile(files.CA)
		o.TLSConfig.RootCAs = x509.NewCertPool()
		if err != nil || !o.TLSConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, &usageError{fmt.Sprintf("REDIS_HOST: ca=%s: allowed is a PEM file of certificates: %v", files.CA,
				cmp.Or(err, errNoCertificate))}
		}
	}
	return &o, nil
}

var errNoCertificate = errors.New("there is none in it")

// queuedBytes returns how many bytes of images this process may hold in its queue.
func queuedBytes(cfg config.Config) int64 {
	if cfg.Redis != nil {
		return 0
	}
	return cfg.Limits.MemoryBytes
}

func queueLimits(l config.Limits) queue.Limits {
	return queue.Limits{Images: l.Images, Bytes: l.SessionBytes, Sessions: l.Sessions}
}

// budgeted is a queue whose images count against DOWNLOAD_LIMIT, from before their bytes are read until they are
// acknowledged, requeued or released.
type budgeted struct {
	queue.Queue
	budget *httpserver.SendBudget
}

// usualImage is what a pop reserves before it knows the size of the image. A larger image costs a second round trip.
const usualImage = 512 << 10

// Pop takes an image for which there is room. Otherwise the image stays in its queue.
func (q *budgeted) Pop(ctx context.Context, id string) (queue.Delivery, error) {
	room := q.budget.ReserveUpTo(usualImage)
	for {
		d, err := q.PopAtMost(ctx, id, room)
		if err == nil {
			q.budget.Return(room, len(d.Data))
			return queue.NewDelivery(d.Image, q), nil
		}
		q.budget.Return(room, 0)
		large, ok := err.(*queue.TooLargeError)
		if !ok {
			return queue.Delivery{}, err
		}
		room = large.Size
		if err := q.budget.Reserve(ctx, room); err != nil {
			return queue.Delivery{}, err
		}
	}
}

// Ack frees an image and its room.
func (q *budgeted) Ack(image queue.Image) {
	q.Queue.Ack(image)
	q.budget.Release(len(image.Data))
}

// Requeue puts an image back and frees its room.
func (q *budgeted) Requeue(image queue.Image) {
	q.Queue.Requeue(image)
	q.budget.Release(len(image.Data))
}

// Load loads an image for which there is room.
func (q *budgeted) Load(ctx context.Context, ref queue.Ref) (queue.Image, error) {
	if err := q.budget.Reserve(ctx, ref.Size); err != nil {
		return queue.Image{}, err
	}
	image, err := q.Queue.Load(ctx, ref)
	q.budget.Return(ref.Size, len(image.Data))
	return image, err
}

// Release frees the room of an image that was loaded.
func (q *budgeted) Release(image queue.Image) {
	q.Queue.Release(image)
	q.budget.Release(len(image.Data))
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
