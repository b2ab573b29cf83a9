package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/session"
)

// The requests that last: those that view, and those that wait.
var (
	viewPaths = []string{"/stream/%s", "/stream/%s?fps=1"}
	waitPaths = []string{
		"/image/%s?wait=60", "/image/%s?after=0&wait=60", "/snapshot/%s?wait=60",
		"/snapshot/%s?max_age=1&wait=60", "/stream/%s?action=snapshot&wait=60",
	}
)

// lastingRequest is a request that lasts, and a server for it.
type lastingRequest struct {
	*testServer
	drain   context.CancelFunc // makes the server drain
	path    string             // of the session "session"
	viewers int                // that the request counts as: 1 if it views
	waiting int                // readers that it counts as: 1 if it waits
}

// onLastingRequests runs a test for each kind of request that lasts, on a server with settings given as NAME=value.
func onLastingRequests(t *testing.T, test func(t *testing.T, s lastingRequest), vars ...string) {
	for i, path := range slices.Concat(viewPaths, waitPaths) {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			viewers := 0
			if i < len(viewPaths) {
				viewers = 1
			}
			draining, drain := context.WithCancel(t.Context())
			cfg := testConfig(t, vars...)
			s := newTestServer(t, cfg, memoryHarness(t, cfg), withDraining(draining))
			test(t, lastingRequest{s, drain, fmt.Sprintf(path, "session"), viewers, 1 - viewers})
		})
	}
}

// Streams and waiting reads share one limit. A request that does not last is served all the same, and a request that
// ends makes room for the next one.
func TestMaxViewers(t *testing.T) {
	t.Parallel()
	onLastingRequests(t, func(t *testing.T, s lastingRequest) {
		full := session.New()
		s.PushImage(t, full, "image")
		s.Hold(t, "/stream/"+full)
		waits := s.Hold(t, "/image/"+session.New()+"?wait=60")
		s.awaitViewers(t, 1, 1)

		got := s.Get(t, s.path).WantStatus(t, 503)
		const want = "allowed are 2 streams and waiting reads at once"
		if retry := got.Header.Get("Retry-After"); retry != "1" || !strings.Contains(got.Text, want) {
			t.Errorf("got Retry-After %q, %s", retry, got.Text)
		}
		if s.waiting == 1 {
			s.Do(t, "HEAD", s.path, nil).WantStatus(t, 200)
		}
		for _, free := range []string{
			"/image/none", "/image/none?after=3", "/snapshot/none", "/stream/none?action=snapshot",
			"/snapshot/none?max_age=1", "/image/" + full + "?after=0&wait=60",
			"/snapshot/" + full + "?max_age=30&wait=60", "/image/" + full + "?wait=60",
		} {
			s.Get(t, free).WantStatus(t, 200)
		}

		waits.Close()
		s.awaitViewers(t, 1, 0)
		next := s.Hold(t, s.path)
		s.awaitViewers(t, 1+s.viewers, s.waiting)
		s.Get(t, s.path).WantStatus(t, 503)
		next.Close()
		s.awaitViewers(t, 1, 0)
	}, "MAX_VIEWERS=2")
}

// A request makes room however it ends.
func TestViewerLimitIsReleased(t *testing.T) {
	t.Parallel()
	onLastingRequests(t, func(t *testing.T, s lastingRequest) {
		if s.waiting == 1 {
			s.Get(t, strings.Replace(s.path, "wait=60", "wait=0.05", 1)).WantStatus(t, 200)
			s.awaitViewers(t, 0, 0)
			s.Hold(t, s.path)
			s.awaitViewers(t, 0, 1)
			s.PushImage(t, "session", "image")
			s.awaitViewers(t, 0, 0)
			s.Elapse(time.Minute)
		}
		s.Hold(t, s.path)
		s.awaitViewers(t, s.viewers, s.waiting)
		s.drain()
		s.awaitViewers(t, 0, 0)
	})
}

// MAX_VIEWERS=0 is no limit.
func TestViewersWithoutLimit(t *testing.T) {
	t.Parallel()
	s := newMemoryServer(t, "MAX_VIEWERS=0")
	for range 30 {
		s.Hold(t, "/stream/x")
	}
	s.awaitViewers(t, 30, 0)
}
