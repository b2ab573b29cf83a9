package redisqueue

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// batchDelay is how long jobs collect before they are sent.
	batchDelay = 10 * time.Millisecond
	// retryDelay is the pause before jobs are sent again to a Redis that did not answer.
	retryDelay = 500 * time.Millisecond
)

// job is a command that no request waits for. It may run more than once.
type job struct {
	send  func(context.Context, redis.Pipeliner) redis.Cmder
	until time.Time // after that a failure is final
	done  func()    // called once, when the job has run or has failed for good
}

// sendJobs sends jobs in one pipeline. It returns those that have to be sent again, and the error of one of them. A
// script that is missing comes before other errors.
func sendJobs(ctx context.Context, rdb redis.UniversalClient, jobs []job) (failed []job, cause error) {
	if len(jobs) == 0 {
		return nil, nil
	}
	pipeline := rdb.Pipeline()
	sent := make([]redis.Cmder, len(jobs))
	for i, j := range jobs {
		sent[i] = j.send(ctx, pipeline)
	}
	pipeline.Exec(ctx) // each command has its own error
	for i, j := range jobs {
		if err := sent[i].Err(); err != nil && time.Now().Before(j.until) {
			failed = append(failed, j)
			if cause == nil || redis.HasErrorPrefix(err, "NOSCRIPT") {
				cause = err
			}
			continue
		}
		j.done()
	}
	return failed, cause
}

// worker is a goroutine that sends jobs in batches.
type worker struct {
	wake   chan struct{}
	cancel context.CancelFunc
	done   chan struct{}
}

// startWorker starts a worker. The worker calls flush soon after each signal, and again while flush leaves something.
func startWorker(flush func(context.Context) (left int)) *worker {
	ctx, cancel := context.WithCancel(context.Background())
	w := &worker{wake: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{})}
	go w.run(ctx, flush)
	return w
}

func (w *worker) run(ctx context.Context, flush func(context.Context) int) {
	defer close(w.done)
	for {
		select {
		case <-w.wake:
		case <-ctx.Done():
			return
		}
		delay := batchDelay
		for pause(ctx, delay) == nil && flush(ctx) > 0 {
			delay = retryDelay
		}
	}
}

// signal reports that there are jobs.
func (w *worker) signal() { wake(w.wake) }

// wake puts a signal into a channel that has room for one.
func wake(signal chan<- struct{}) {
	select {
	case signal <- struct{}{}:
	default: // a signal is waiting already
	}
}

// stop ends the worker. What it has not sent stays where it is.
func (w *worker) stop() {
	w.cancel()
	<-w.done
}
