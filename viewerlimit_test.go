package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// stay opens a request that stays, as long as its connection is open.
func (s *site) stay(t testing.TB, path string) net.Conn {
	t.Helper()
	conn := s.dial(t)
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
	return conn
}

// awaitSeats waits until so many seats are taken.
func (s *server) awaitSeats(t testing.TB, viewers, waiting int) {
	t.Helper()
	eventually(t, func() bool {
		gotViewers, gotWaiting := s.seats.taken()
		return gotViewers == viewers && gotWaiting == waiting
	})
}

// The ways to stay: to view, and to wait.
var (
	waysToView = []string{"/stream/%s", "/stream/%s?fps=1"}
	waysToWait = []string{
		"/image/%s?wait=30", "/image/%s?after=0&wait=30", "/snapshot/%s?wait=30",
		"/snapshot/%s?max_age=1&wait=30", "/stream/%s?action=snapshot&wait=30",
	}
)

// Nobody gets a seat when all are taken, whoever has them; who needs none is served.
// Who hangs up leaves his to the next.
func TestMaxViewers(t *testing.T) {
	t.Parallel()
	onEverySeat(t, func(t *testing.T, s *site, server *seated, path string, viewers int) {
		full := newSession()
		s.push(t, full, "image")
		s.stay(t, "/stream/"+full)
		waits := s.stay(t, "/image/"+newSession()+"?wait=30")
		server.awaitSeats(t, 1, 1)

		got := s.get(t, path).wantStatus(t, 503)
		if got.Header.Get("Retry-After") != "1" || !strings.Contains(got.body, "allowed are 2 streams and waiting reads at once") {
			t.Errorf("got Retry-After %q, %s", got.Header.Get("Retry-After"), got.body)
		}
		if viewers == 0 {
			s.do(t, "HEAD", path, nil).wantStatus(t, 200)
		}
		for _, free := range []string{
			"/image/none", "/image/none?after=3", "/snapshot/none", "/stream/none?action=snapshot", "/snapshot/none?max_age=1",
			"/image/" + full + "?after=0&wait=30", "/snapshot/" + full + "?max_age=30&wait=30", "/image/" + full + "?wait=30",
		} {
			s.get(t, free).wantStatus(t, 200)
		}

		waits.Close()
		server.awaitSeats(t, 1, 0)
		next := s.stay(t, path)
		server.awaitSeats(t, 1+viewers, 1-viewers)
		s.get(t, path).wantStatus(t, 503)
		next.Close()
		server.awaitSeats(t, 1, 0)
	}, "MAX_VIEWERS=2")
}

// seated is a server that can be told to stop.
type seated struct {
	*server
	stop context.CancelFunc
}

// onEverySeat runs a test for each way to stay; viewers is 1 for a way to view.
func onEverySeat(t *testing.T, test func(t *testing.T, s *site, server *seated, path string, viewers int), vars ...string) {
	for i, way := range append(slices.Clone(waysToView), waysToWait...) {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			viewers := 0
			if i < len(waysToView) {
				viewers = 1
			}
			stopping, stop := context.WithCancel(t.Context())
			s, server := changedSite(t, memoryFixture(t, time.Minute), func(s *server) { s.stopping = stopping }, vars...)
			test(t, s, &seated{server, stop}, fmt.Sprintf(way, "session"), viewers)
		})
	}
}

// A seat is free again however the stay ends.
func TestSeatsAreGivenBack(t *testing.T) {
	t.Parallel()
	onEverySeat(t, func(t *testing.T, s *site, server *seated, path string, viewers int) {
		if viewers == 0 {
			s.get(t, strings.Replace(path, "wait=30", "wait=0.05", 1)).wantStatus(t, 200)
			server.awaitSeats(t, 0, 0)
			s.stay(t, path)
			server.awaitSeats(t, 0, 1)
			s.push(t, "session", "image")
			server.awaitSeats(t, 0, 0)
			s.elapse(time.Minute)
		}
		s.stay(t, path)
		server.awaitSeats(t, viewers, 1-viewers)
		server.stop()
		server.awaitSeats(t, 0, 0)
	})
}

// No limit is none.
func TestViewersWithoutLimit(t *testing.T) {
	t.Parallel()
	s, server := changedSite(t, memoryFixture(t, time.Minute), func(*server) {}, "MAX_VIEWERS=0")
	for range 30 {
		s.stay(t, "/stream/x")
	}
	server.awaitSeats(t, 30, 0)
}
