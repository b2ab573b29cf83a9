package main

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// callBuckets are bounds in seconds: the last one is callTimeout.
var callBuckets = []float64{.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}

// redisCounts counts what only the engine on Redis knows of its calls.
type redisCounts struct{ repeats, unknown prometheus.Counter }

func newRedisCounts() redisCounts {
	return redisCounts{
		repeats: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "redis_repeats_total",
			Help: "Tries of calls to Redis behind the first.",
		}),
		unknown: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "redis_unknown_outcomes_total",
			Help: "Calls to Redis that failed and may have run all the same; pushes and pops are undone later.",
		}),
	}
}

// meter adds the counts and the pool, and times the calls.
func (q *redisQueue) meter(m *metrics) engine {
	m.registry.MustRegister(q.counts.repeats, q.counts.unknown)
	m.gauge("redis_pool_connections", "Connections to Redis.", nil,
		func() float64 { return float64(q.rdb.PoolStats().TotalConns) })
	m.gauge("redis_pool_idle_connections", "Connections to Redis that no call uses.", nil,
		func() float64 { return float64(q.rdb.PoolStats().IdleConns) })
	m.total("redis_pool_stale_connections_total", "Connections to Redis that were given up.",
		func() float64 { return float64(q.rdb.PoolStats().StaleConns) })
	m.total("redis_pool_hits_total", "Pipelines that found an idle connection.",
		func() float64 { return float64(q.rdb.PoolStats().Hits) })
	m.total("redis_pool_misses_total", "Pipelines that had to open one.",
		func() float64 { return float64(q.rdb.PoolStats().Misses) })
	m.total("redis_pool_timeouts_total", "Pipelines that were given no connection in time.",
		func() float64 { return float64(q.rdb.PoolStats().Timeouts) })
	return newTimed(q, m)
}

// timed is an engine on Redis whose calls are timed, with all their repeats.
type timed struct {
	engine
	push, pop, look, read, stats callMeter
}

// callMeter has the series of one kind of call.
type callMeter struct {
	duration prometheus.Observer
	failures prometheus.Counter
}

func newTimed(queue engine, m *metrics) *timed {
	duration := m.histogram("redis_call_duration_seconds", "Calls to Redis with all their repeats.", callBuckets, "call")
	failures := m.counters("redis_call_failures_total", "Calls that Redis did not answer in time.", "call")
	meter := func(call string) callMeter {
		return callMeter{duration.WithLabelValues(call), failures.WithLabelValues(call)}
	}
	return &timed{queue, meter("push"), meter("pop"), meter("look"), meter("read"), meter("stats")}
}

func (c callMeter) done(start time.Time, err error) {
	c.duration.Observe(time.Since(start).Seconds())
	if err != nil && errors.Is(err, errUnavailable) {
		c.failures.Inc()
	}
}

func (e *timed) Push(ctx context.Context, session string, image []byte) (receipt, error) {
	start := time.Now()
	stored, err := e.engine.Push(ctx, session, image)
	e.push.done(start, err)
	return stored, err
}

func (e *timed) Pop(ctx context.Context, session string) (frame, error) {
	start := time.Now()
	f, err := e.engine.Pop(ctx, session)
	e.pop.done(start, err)
	return f, err
}

func (e *timed) Look(ctx context.Context, session string, which pick) (frame, error) {
	start := time.Now()
	f, err := e.engine.Look(ctx, session, which)
	e.look.done(start, err)
	return f, err
}

func (e *timed) Read(ctx context.Context, f frame) (frame, error) {
	start := time.Now()
	f, err := e.engine.Read(ctx, f)
	e.read.done(start, err)
	return f, err
}

func (e *timed) Stats(ctx context.Context) ([]sessionStats, error) {
	start := time.Now()
	sessions, err := e.engine.Stats(ctx)
	e.stats.done(start, err)
	return sessions, err
}

func (e *timed) Detail(ctx context.Context, some []sessionStats) error {
	start := time.Now()
	err := e.engine.Detail(ctx, some)
	e.stats.done(start, err)
	return err
}
