package redisqueue

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
)

const namespace = "imagestreamer"

// callBuckets are bounds in seconds. The last one is callTimeout.
var callBuckets = []float64{.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}

// metrics counts what only this engine knows of its calls.
type metrics struct {
	repeats, unknown             prometheus.Counter
	push, pop, look, read, stats callMetrics // by the value of the label call; look: Find, read: Load
	ready                        callMetrics
}

// callMetrics has the series of one kind of call.
type callMetrics struct {
	duration prometheus.Observer
	failures prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer, rdb redis.UniversalClient) *metrics {
	auto := promauto.With(registerer)
	registerPool(auto, rdb)
	duration := auto.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: "redis_call_duration_seconds",
		Help: "Calls to Redis with all their repeats.", Buckets: callBuckets,
	}, []string{"call"})
	failures := auto.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "redis_call_failures_total",
		Help: "Calls that Redis did not answer in time.",
	}, []string{"call"})
	call := func(name string) callMetrics {
		return callMetrics{duration.WithLabelValues(name), failures.WithLabelValues(name)}
	}
	return &metrics{
		repeats: auto.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "redis_repeats_total",
			Help: "Attempts of calls to Redis after the first.",
		}),
		unknown: auto.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "redis_unknown_outcomes_total",
			Help: "Pushes and pops that Redis may have run without an answer; they are undone later.",
		}),
		push: call("push"), pop: call("pop"), look: call("look"), read: call("read"), stats: call("stats"),
		ready: call("ready"),
	}
}

// registerPool registers the metrics of the connection pool.
func registerPool(auto promauto.Factory, rdb redis.UniversalClient) {
	gauge := func(name, help string, value func(*redis.PoolStats) uint32) {
		auto.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help},
			func() float64 { return float64(value(rdb.PoolStats())) })
	}
	total := func(name, help string, value func(*redis.PoolStats) uint32) {
		auto.NewCounterFunc(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help},
			func() float64 { return float64(value(rdb.PoolStats())) })
	}
	gauge("redis_pool_connections", "Connections to Redis.",
		func(s *redis.PoolStats) uint32 { return s.TotalConns })
	gauge("redis_pool_idle_connections", "Connections to Redis that no call uses.",
		func(s *redis.PoolStats) uint32 { return s.IdleConns })
	total("redis_pool_stale_connections_total", "Connections to Redis that were given up.",
		func(s *redis.PoolStats) uint32 { return s.StaleConns })
	total("redis_pool_hits_total", "Pipelines that found an idle connection.",
		func(s *redis.PoolStats) uint32 { return s.Hits })
	total("redis_pool_misses_total", "Pipelines that had to open a connection.",
		func(s *redis.PoolStats) uint32 { return s.Misses })
	total("redis_pool_timeouts_total", "Pipelines that were given no connection in time.",
		func(s *redis.PoolStats) uint32 { return s.Timeouts })
}

// observe records a call that has ended.
func (c callMetrics) observe(start time.Time, err error) {
	c.duration.Observe(time.Since(start).Seconds())
	if errors.Is(err, queue.ErrUnavailable) {
		c.failures.Inc()
	}
}
