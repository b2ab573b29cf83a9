package redisqueue

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
)

// cleaner frees the bytes of delivered images. Each call takes along what is to be freed in its bucket, and a worker
// frees the rest soon after.
//
// The newest image of a session stays in Redis after its delivery, because Find may still ask for it. Its bytes are
// freed when this process has pushed or delivered a newer image. If other processes do both, the bytes expire.
type cleaner struct {
	rdb    redis.UniversalClient
	ttl    time.Duration
	log    *slog.Logger
	worker *worker

	mu        sync.Mutex
	delivered map[keys][]string   // keys that are to be unlinked, by bucket
	retained  map[string]retained // newest images that were delivered, by session
	swept     time.Time           // when retained was last swept
	failed    []job               // to send again
}

// retained is an image that stays after its delivery.
type retained struct {
	sequence int64
	key      string
	expires  time.Time // when Redis has dropped the bytes, whether or not they were freed
}

func newCleaner(rdb redis.UniversalClient, ttl time.Duration, log *slog.Logger) *cleaner {
	c := &cleaner{
		rdb: rdb, ttl: ttl, log: log,
		delivered: map[keys][]string{}, retained: map[string]retained{}, swept: time.Now(),
	}
	c.worker = startWorker(c.flush)
	return c
}

// free frees the bytes of a delivered image, or retains them if it is the newest image of its session.
func (c *cleaner) free(image queue.Ref, key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if image.Behind == 0 {
		key = c.retain(image, key)
	}
	c.unlink(image.Session, key)
}

// retain retains an image, unless a newer one is retained already, and returns the key that is to be unlinked instead,
// or "". A retained image that has expired gives way to any other, because the sequence may have started again. The
// caller holds mu.
func (c *cleaner) retain(image queue.Ref, key string) (freed string) {
	now := time.Now()
	c.sweep(now)
	old := c.retained[image.Session]
	if now.Before(old.expires) && image.Sequence <= old.sequence {
		return key
	}
	c.retained[image.Session] = retained{image.Sequence, key, now.Add(c.ttl)}
	return old.key
}

// sweep removes the entries of images that have expired, at most once in a TTL. So retained holds no session whose
// last delivery is more than two TTLs ago, as long as there are deliveries. The caller holds mu.
func (c *cleaner) sweep(now time.Time) {
	if now.Sub(c.swept) < c.ttl {
		return
	}
	c.swept = now
	for session, image := range c.retained {
		if now.After(image.expires) {
			delete(c.retained, session)
		}
	}
}

// freeRetained frees the image that a session retains if an image with a higher sequence was pushed.
func (c *cleaner) freeRetained(session string, sequence int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.retained[session]; ok && old.sequence < sequence {
		delete(c.retained, session)
		c.unlink(session, old.key)
	}
}

// unlink notes that a key of a session's bucket is to be unlinked. A key "" is ignored. The caller holds mu.
func (c *cleaner) unlink(session, key string) {
	if key != "" {
		k := keysOf(session)
		c.delivered[k] = append(c.delivered[k], key)
		c.worker.signal()
	}
}

// take returns the keys of a bucket that are to be unlinked. The caller unlinks them, or puts them back.
func (c *cleaner) take(k keys) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	delivered := c.delivered[k]
	delete(c.delivered, k)
	return delivered
}

// putBack undoes a take.
func (c *cleaner) putBack(k keys, delivered []string) {
	if len(delivered) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.delivered[k] = append(c.delivered[k], delivered...)
	c.worker.signal()
}

// flush unlinks everything that is to be unlinked. It returns how many commands have to be sent again.
func (c *cleaner) flush(ctx context.Context) (left int) {
	failed, cause := sendJobs(ctx, c.rdb, c.jobs())
	if len(failed) > 0 {
		c.log.Debug("settle again", "count", len(failed), "error", cause)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.failed = append(failed, c.failed...)
	}
	return len(failed)
}

// jobs returns what flush has to do.
func (c *cleaner) jobs() []job {
	c.mu.Lock()
	defer c.mu.Unlock()
	jobs := c.failed
	c.failed = nil
	for _, delivered := range c.delivered {
		jobs = append(jobs, job{
			send:  func(ctx context.Context, p redis.Pipeliner) redis.Cmder { return p.Unlink(ctx, delivered...) },
			until: time.Now().Add(c.ttl),
			done:  func() {},
		})
	}
	clear(c.delivered)
	return jobs
}
