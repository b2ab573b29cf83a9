package main

import (
	"net/http"
	"sync"
)

// seats are for those who stay: viewers of streams, and reads that wait for an
// image. There are so many of them, whoever takes one.
type seats struct {
	limit int // 0: none

	mu               sync.Mutex
	viewers, waiting int
}

// view takes a seat for a stream; leave must be called.
func (s *seats) view() (leave func(), err error) { return s.take(&s.viewers) }

// wait takes a seat for a read that waits; leave must be called.
func (s *seats) wait() (leave func(), err error) { return s.take(&s.waiting) }

func (s *seats) take(taken *int) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.limit > 0 && s.viewers+s.waiting >= s.limit {
		return nil, refuse(http.StatusServiceUnavailable, "too many viewers: allowed are %d streams and waiting reads at once; try again, or without wait", s.limit)
	}
	*taken++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		*taken--
	}, nil
}

// taken returns how many there are of each kind.
func (s *seats) taken() (viewers, waiting int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.viewers, s.waiting
}

// meter adds how many there are.
func (s *seats) meter(m *metrics) {
	m.gauge("viewers", "Streams being watched.", nil, func() float64 {
		viewers, _ := s.taken()
		return float64(viewers)
	})
	m.gauge("waiting_readers", "Requests that wait for an image.", nil, func() float64 {
		_, waiting := s.taken()
		return float64(waiting)
	})
}
