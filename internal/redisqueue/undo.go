package redisqueue

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// minUndoFor is how long an undoer keeps trying to undo a call, at least. A call that was sent into a broken network
// can arrive minutes later.
const minUndoFor = 5 * time.Minute

// undoer undoes calls of unknown outcome, and pops whose image did not reach its consumer. It sends a script for each,
// again and again until Redis answers or undoFor has passed.
type undoer struct {
	rdb     redis.UniversalClient
	calls   *callIDs
	undoFor time.Duration
	log     *slog.Logger
	worker  *worker

	mu   sync.Mutex
	jobs []job
}

func newUndoer(rdb redis.UniversalClient, calls *callIDs, ttl time.Duration, log *slog.Logger) *undoer {
	u := &undoer{rdb: rdb, calls: calls, undoFor: max(ttl, minUndoFor), log: log}
	u.worker = startWorker(u.flush)
	return u
}

// add has a call undone soon, by the script that send adds to a pipeline. Until the call is undone, its client makes no
// other call.
func (u *undoer) add(id callID, send func(context.Context, redis.Pipeliner) redis.Cmder) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.jobs = append(u.jobs, job{send: send, until: time.Now().Add(u.undoFor), done: func() { u.calls.end(id) }})
	u.worker.signal()
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
		cause = errors.Join(cause, loadScripts(ctx, u.rdb))
	}
	u.log.Debug("settle again", "count", len(failed), "error", cause)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.jobs = append(failed, u.jobs...)
	return len(failed)
}
