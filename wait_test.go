package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// startWaiting starts consumers that wait for a session, one after the other.
func (s *testServer) startWaiting(t testing.TB, id string, consumers int) (answers []*relaytest.Pending) {
	t.Helper()
	for i := range consumers {
		answers = append(answers, s.GetLater(t, "/image/"+id+"?wait=60"))
		testkit.Eventually(t, func() bool { return s.server.waiters.Len(id) == i+1 })
	}
	return answers
}

func TestWaitAnswersAtOnce(t *testing.T) {
	t.Parallel()
	onNotified(t, func(t *testing.T, s *testServer) {
		id := session.New()
		for i := range 20 {
			answer := s.startWaiting(t, id, 1)[0]
			image := fmt.Sprint("image ", i+1)
			s.PushImage(t, id, image)
			got, _ := answer.Answer(t)
			if got.Text != image || got.Header.Get("X-Sequence") != strconv.Itoa(i+1) ||
				got.Header.Get("X-Queue-Length") != "0" {
				t.Errorf("got %q, headers %v, want %q", got.Text, got.Header, image)
			}
			testkit.Eventually(t, func() bool { return s.server.waiters.Len(id) == 0 })
		}
		if n := s.Len(t, id); n > 0 {
			t.Errorf("%d images are left", n)
		}
	})
}

// A consumer waits at one server for what is pushed to another, and a viewer sees it there too.
func TestWaitAcrossServers(t *testing.T) {
	t.Parallel()
	cfg, r := testConfig(t), redistest.Use(t)
	in, out := newTestServer(t, cfg, harnessOn(t, cfg, r)), newTestServer(t, cfg, harnessOn(t, cfg, r), withoutPoll)
	id := session.New()
	v := out.Watch(t, "/stream/"+id)
	for i := range 20 {
		answer := out.GetLater(t, "/image/"+id+"?wait=60")
		testkit.Eventually(t, func() bool { return out.Scrape(t).Value(t, "waiting_readers") == 1 })
		image := fmt.Sprint("image ", i)
		in.Do(t, "POST", "/image/"+id, strings.NewReader(image)).WantStatus(t, 200)
		got, _ := answer.Answer(t)
		v.Want(t, image)
		if got.Text != image {
			t.Errorf("got %q, want image %d", got.Text, i)
		}
		testkit.Eventually(t, func() bool { return out.Scrape(t).Value(t, "waiting_readers") == 0 })
	}
}

// A reader that waits in vain gets No Data when its time is over, and without a wait at once.
func TestWaitEnds(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		full, empty := session.New(), session.New()
		s.PushImage(t, full, "present")
		const wait = 400 * time.Millisecond
		rows := []struct {
			path, id string
			least    time.Duration
		}{
			{"/image/%s?wait=0", empty, 0},
			{"/image/%s?after=7", empty, 0},
			{"/snapshot/%s", empty, 0},
			{"/snapshot/%s?wait=0&max_age=1", empty, 0},
			{"/image/%s?wait=0.4", empty, wait},
			{"/image/%s?wait=0.4&after=0", empty, wait},
			{"/image/%s?wait=0.4&after=1", full, wait},
			{"/snapshot/%s?wait=0.4", empty, wait},
			{"/snapshot/%s?wait=0.4", full, wait},
			{"/snapshot/%s?wait=0.4&max_age=9", empty, wait},
		}
		begun, latency := time.Now(), newLatencies(t)
		latency.begin()
		var answers []*relaytest.Pending
		for _, row := range rows {
			answers = append(answers, s.GetLater(t, fmt.Sprintf(row.path, row.id)))
		}
		for i, row := range rows {
			got, at := answers[i].Answer(t)
			if took, most := at.Sub(begun), row.least+1500*time.Millisecond; took < row.least || latency.elapsed() > most {
				t.Errorf("%s: answered after %s, want about %s", row.path, took, row.least)
			}
			if got.StatusCode != 200 || !got.IsNoData() {
				t.Errorf("%s: got status %d, %.99q, want No Data", row.path, got.StatusCode, got.Text)
			}
		}
	})
}

// Consumers that wait for one session get an image each, in the order in which they came.
func TestWaitKeepsOrder(t *testing.T) {
	t.Parallel()
	onNotified(t, func(t *testing.T, s *testServer) {
		id := session.New()
		for i, answer := range s.startWaiting(t, id, 8) {
			s.PushImage(t, id, fmt.Sprint("one by one: ", i))
			if got, _ := answer.Answer(t); got.Text != fmt.Sprint("one by one: ", i) {
				t.Errorf("consumer %d: got %q", i, got.Text)
			}
		}
		for range 12 {
			answers, seen := s.startWaiting(t, id, 8), map[string]int{}
			for i := range answers {
				s.PushImage(t, id, fmt.Sprint("all at once: ", i))
			}
			for _, answer := range answers {
				got, _ := answer.Answer(t)
				seen[got.Text]++
			}
			if left := s.Len(t, id); len(seen) != len(answers) || left > 0 {
				t.Errorf("got %v, and %d left, want %d images once each", seen, left, len(answers))
			}
			testkit.Eventually(t, func() bool { return s.server.waiters.Len(id) == 0 })
		}
	})
}

// Consumers that poll without a wait do not overtake those who wait: as many images as wait serve all of them.
func TestWaitIsNotOvertakenByPolls(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		const waiting, polling, rounds = 5, 3, 5
		id := session.New()
		var overtook atomic.Int64
		for range rounds {
			answers := s.startWaiting(t, id, waiting)
			stop := make(chan struct{})
			var polls sync.WaitGroup
			for range polling {
				polls.Go(func() {
					for polled := false; !polled || !isClosed(stop); polled = true {
						if image, _ := s.tryGet("/image/" + id); image != "" {
							overtook.Add(1)
						}
					}
				})
			}
			for i := range waiting {
				s.PushImage(t, id, fmt.Sprint(i))
				if got, _ := answers[i].Answer(t); got.Text != fmt.Sprint(i) {
					t.Errorf("consumer %d: got %.99q, want its image", i, got.Text)
				}
			}
			close(stop)
			polls.Wait()
		}
		if n := overtook.Load(); n > 0 {
			t.Errorf("%d of %d images went to consumers that did not wait", n, rounds*waiting)
		}
	})
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// A consumer that hangs up while it waits costs no image.
func TestWaitingConsumerHangsUp(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		id := session.New()
		for i := range 40 {
			conn := s.Hold(t, "/image/"+id+"?wait=60")
			testkit.Eventually(t, func() bool { return s.server.waiters.Len(id) == 1 })
			conn.Close()
			testkit.Eventually(t, func() bool { return s.server.waiters.Len(id) == 0 })
			image := fmt.Sprint("image ", i)
			s.Do(t, "POST", "/image/"+id, strings.NewReader(image)).WantStatus(t, 200)
			if got := s.Get(t, "/image/"+id); got.Text != image {
				t.Errorf("round %d: got %.99q, want %q", i, got.Text, image)
			}
		}
	})
}

// A consumer that hangs up right before an image comes costs no image either, although net/http has not noticed yet.
func TestWaitingConsumerHangsUpBeforePush(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		for i := range 200 {
			id := session.New()
			conn := s.Hold(t, "/image/"+id+"?wait=60")
			testkit.Eventually(t, func() bool { return s.server.waiters.Len(id) == 1 })
			conn.Close()
			image := fmt.Sprint("image ", i)
			s.Do(t, "POST", "/image/"+id, strings.NewReader(image)).WantStatus(t, 200)
			if got := s.Get(t, "/image/"+id+"?wait=10"); got.Text != image {
				t.Fatalf("image %d of 200 was lost", i)
			}
		}
	})
}

// An image that comes back goes to the first consumer that waits, at once.
func TestWaitForRequeuedImage(t *testing.T) {
	t.Parallel()
	onNotified(t, func(t *testing.T, s *testServer) {
		emptyPops := func() float64 { return s.Scrape(t).Value(t, "empty_pops_total") }
		for range 5 {
			id := session.New()
			s.PushImage(t, id, "image")
			delivery, before := s.PopImage(t, id), emptyPops()
			answer := s.startWaiting(t, id, 1)[0]
			testkit.Eventually(t, func() bool { return emptyPops() >= before+2 }) // at first, and as it began to wait
			delivery.Requeue()
			got, _ := answer.Answer(t)
			if got.Text != "image" || got.Header.Get("X-Sequence") != "1" {
				t.Errorf("got %q, X-Sequence %s", got.Text, got.Header.Get("X-Sequence"))
			}
		}
	})
}

// Readers that wait and viewers share what connections there are to Redis, and each consumer gets an image of its own.
func TestManyWaitOnFewConnections(t *testing.T) {
	t.Parallel()
	const sessions, waiting, viewers = 20, 50, 10 // of each session
	r := redistest.Own(t)
	rdb := r.Client(t)
	cfg := testConfig(t, "MAX_VIEWERS=2000")
	s := newTestServer(t, cfg, harnessOn(t, cfg, r))
	var answers []*relaytest.Pending
	var ids []string
	for range sessions {
		id := session.New()
		ids = append(ids, id)
		for range waiting {
			answers = append(answers, s.GetLater(t, "/image/"+id+"?wait=60"))
		}
		for range viewers {
			s.Watch(t, "/stream/"+id)
		}
	}
	for _, id := range ids {
		testkit.Eventually(t, func() bool {
			return s.server.waiters.Len(id) == waiting && s.server.hub.Len(id) == viewers
		})
	}
	for range 5 {
		time.Sleep(100 * time.Millisecond)
		var connections int
		info := testkit.Must(rdb.Info(t.Context(), "clients").Result())(t)
		_, rest, _ := strings.Cut(info, "connected_clients:")
		if fmt.Sscan(rest, &connections); connections == 0 || connections >= 80 {
			t.Fatalf("%d consumers and %d viewers hold %d connections to Redis",
				sessions*waiting, sessions*viewers, connections)
		}
	}
	for i := range waiting {
		for _, id := range ids {
			s.PushImage(t, id, fmt.Sprint(id, i))
		}
	}
	seen := map[string]bool{}
	for _, answer := range answers {
		got, _ := answer.Answer(t)
		seen[got.Text] = true
	}
	if len(seen) != sessions*waiting {
		t.Errorf("%d consumers got %d different images", sessions*waiting, len(seen))
	}
}

// deafQueue loses every notification.
type deafQueue struct{ queue.Queue }

func (deafQueue) Subscribe(string, queue.Subscriber) (cancel func()) { return func() {} }

// A notification that gets lost is a delay of about a poll period.
func TestNotificationsLost(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	for name, newHarness := range engines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t, cfg)
			newTestServer(t, cfg, h, withQueue(deafQueue{h.Queue})).wantDelayed(t, session.New(), func() {})
		})
	}
	t.Run("connection cut", func(t *testing.T) {
		t.Parallel()
		r := redistest.Own(t)
		rdb := r.Client(t)
		s := &testServer{harnessOn(t, cfg, r), &startServer(t, "", "REDIS_HOST="+r.Addr).Client, nil}
		for range 2 {
			id := session.New()
			s.wantDelayed(t, id, func() {
				channel := "*:notify:" + id
				testkit.Eventually(t, func() bool { return len(rdb.PubSubChannels(t.Context(), channel).Val()) > 0 })
				if n := testkit.Must(rdb.Do(t.Context(), "CLIENT", "KILL", "TYPE", "pubsub").Int())(t); n == 0 {
					t.Error("there was no subscription to cut")
				}
			})
		}
	})
}

// wantDelayed calls cut while a viewer and readers of each kind wait, and checks that an image reaches all of them.
func (s *testServer) wantDelayed(t *testing.T, id string, cut func()) {
	t.Helper()
	v := s.Watch(t, "/stream/"+id)
	var answers []*relaytest.Pending
	for _, path := range []string{"/image/%s?after=0&wait=60", "/snapshot/%s?wait=60&max_age=60", "/image/%s?wait=60"} {
		answers = append(answers, s.GetLater(t, fmt.Sprintf(path, id)))
	}
	s.awaitViewers(t, 1, len(answers))
	cut()
	s.PushImage(t, id, "image")
	v.Want(t, "image")
	for _, answer := range answers {
		if got, _ := answer.Answer(t); got.Text != "image" {
			t.Errorf("got %.99q", got.Text)
		}
	}
	v.Conn.Close()
	s.awaitViewers(t, 0, 0)
}

// After SIGTERM a reader that waits gets No Data, a stream ends behind a whole frame, and the program ends soon, with
// status 0.
func TestStopEndsWaiting(t *testing.T) {
	t.Parallel()
	onPrograms(t, func(t *testing.T, p *program) {
		id, image := session.New(), strings.Repeat("\x00image\xff", 20<<10)
		var answers []*relaytest.Pending
		for _, path := range []string{
			"/image/%s?wait=60", "/image/%s?wait=60", "/image/%s?wait=60&after=0", "/snapshot/%s?wait=60",
		} {
			answers = append(answers, p.GetLater(t, fmt.Sprintf(path, session.New())))
		}
		var viewers []*relaytest.Viewer
		for range 3 {
			viewers = append(viewers, p.Watch(t, "/stream/"+id))
		}
		stopPushing := relaytest.Repeat(3*time.Millisecond, func() {
			if resp, err := testkit.Client.Post(p.URL("/image/"+id), "", strings.NewReader(image)); err == nil {
				resp.Body.Close()
			}
		})
		defer stopPushing()
		for _, v := range viewers {
			for range 3 {
				testkit.Must(v.Next())(t)
			}
		}
		testkit.Eventually(t, func() bool { return p.Scrape(t).Value(t, "waiting_readers") == float64(len(answers)) })
		stopwatch := testkit.StartStopwatch(t)
		p.stop()
		for _, answer := range answers {
			if got, _ := answer.Answer(t); got.StatusCode != 200 || !got.IsNoData() {
				t.Errorf("a reader that waited: got status %d, %.99q, want No Data", got.StatusCode, got.Text)
			}
		}
		for _, v := range viewers {
			var err error
			for err == nil {
				_, err = v.Next()
			}
			if err != io.EOF {
				t.Errorf("a stream ended with %v, want a clean end", err)
			}
		}
		p.wantExit(t, 0, time.Minute)
		if took := stopwatch.Elapsed(); took > 2*time.Second {
			t.Errorf("ended after %s, want at most 2 s", took)
		}
	})
}
