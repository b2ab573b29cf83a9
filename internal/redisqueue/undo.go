package redisqueue

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
)

// minUndoFor is how long an undoer keeps trying to undo a call, at least. A call that was sent into a broken network
// can arrive minutes later.
const minUndoFor = 5 * time.Minute

// maxBehind bounds the calls of a bucket that wait to be undone. Each of them keeps a client, and each client has a
// record in the session that it called.
const maxBehind = 100

// undoer undoes calls of unknown outcome, and pops whose image did not reach its consumer. It sends a script for each,
// again and again until it ran or undoFor has passed. A Redis that takes no writes for a while refuses the script, too.
type undoer struct {
	rdb     redis.UniversalClient
	load    *queue.Shared[struct{}] // of the scripts
	calls   *callIDs
	undoFor time.Duration
	log     *slog.Logger
	worker  *worker

	mu     sync.Mutex
	jobs   []job
	behind map[keys]int // calls that are not undone yet, by bucket
}

func newUndoer(
	rdb redis.UniversalClient, load *queue.Shared[struct{}], calls *callIDs, ttl time.Duration, log *slog.Logger,
) *undoer {
	u := &undoer{
		rdb: rdb, load: load, calls: calls, undoFor: max(ttl, minUndoFor), log: log, behind: map[keys]int{},
	}
	u.worker = startWorker(u.flush)
	return u
}

// add has a call undone soon, by the script that send adds to a pipeline. Until the call is undone, its client makes no
// other call.
func (u *undoer) add(id callID, send func(context.Context, redis.Pipeliner) redis.Cmder) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.behind[id.client.home]++
	u.jobs = append(u.jobs, job{send: send, until: time.Now().Add(u.undoFor), done: func() { u.end(id) }})
	u.worker.signal()
}

// end lends out the client of a call that was undone.
func (u *undoer) end(id callID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.behind[id.client.home]--
	u.calls.end(id)
}

// isBehind reports whether so many calls of a bucket wait to be undone that no other call should be made before. Redis
// does not answer then, and each call would leave one more.
func (u *undoer) isBehind(bucket keys) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.behind[bucket] >= maxBehind
}

// flush undoes everything that is to be undone. It returns how many calls are still not undone.
func (u *undoer) flush(ctx context.Context) (left int) {
	u.mu.Lock()
	jobs := u.jobs
	u.jobs = nil
	u.mu.Unlock()
	failed, cause := sendJobs(ctx, u.rdb, jobs)
	if len(failed) == 0 {
		return 0
	}
	if redis.HasErrorPrefix(cause, "NOSCRIPT") {
		_, err := u.load.Get(ctx)
		cause = errors.Join(cause, err)
	}
	u.log.Debug("settle again", "count", len(failed), "error", cause)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.jobs = append(failed, u.jobs...)
	return len(failed)
}
