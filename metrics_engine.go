package main

import (
	"context"
	"errors"
)

// metered is an engine with metrics of its own. meter adds them and returns the
// engine to use.
type metered interface{ meter(m *metrics) engine }

// around returns an engine whose calls are counted.
func (m *metrics) around(queue engine) engine {
	if own, ok := queue.(metered); ok {
		queue = own.meter(m)
	}
	return &counted{queue, m}
}

// counted is an engine that counts what goes in and out.
type counted struct {
	engine
	metrics *metrics
}

func (e *counted) Push(ctx context.Context, session string, image []byte) (receipt, error) {
	size := len(image) // the image is the engine's from here on
	stored, err := e.engine.Push(ctx, session, image)
	if err != nil {
		e.metrics.refusedImages.WithLabelValues(refusalReason(err)).Inc()
		return stored, err
	}
	e.metrics.pushes.Inc()
	e.metrics.received.Add(float64(size))
	if stored.expired > 0 {
		e.metrics.expired.Add(float64(stored.expired))
	}
	if stored.dropped > 0 {
		e.metrics.dropped.Add(float64(stored.dropped))
	}
	return stored, nil
}

func refusalReason(err error) string {
	switch {
	case errors.Is(err, errFull):
		return "full"
	case errors.Is(err, errManySessions):
		return "sessions"
	case errors.Is(err, errUnavailable):
		return "unavailable"
	}
	return "other"
}

func (e *counted) Pop(ctx context.Context, session string) (frame, error) {
	f, err := e.engine.Pop(ctx, session)
	switch err {
	case nil:
		e.metrics.pops.Inc()
	case errEmpty:
		e.metrics.emptyPops.Inc()
	}
	return f, err
}

func (e *counted) Settle(f frame, delivered bool) {
	if !delivered {
		e.metrics.returned.Inc()
	}
	e.engine.Settle(f, delivered)
}

// meter adds how full the embedded engine is.
func (q *memoryQueue) meter(m *metrics) engine {
	m.gauge("memory_held_bytes", "Embedded queue: images held, as MEMORY_LIMIT counts them.", nil, func() float64 {
		q.mu.Lock()
		defer q.mu.Unlock()
		return float64(q.held)
	})
	m.gauge("memory_limit_bytes", "Embedded queue: MEMORY_LIMIT.", nil, func() float64 { return float64(q.limit) })
	return q
}
