package redisqueue

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// stepped is a queue on a Redis whose clock a test sets back.
type stepped struct {
	*harness
	session string
	// stepBack sets the clock back under the images of the session, those in flight included.
	stepBack func(d time.Duration, inFlight ...*queue.Delivery)
}

// onSteps runs a test with both ways to set a clock back: with the clock of a server of its own, and on a shared server
// by moving the keys of a session ahead.
func onSteps(t *testing.T, test func(t *testing.T, s stepped)) {
	t.Run("clock", func(t *testing.T) {
		t.Parallel()
		server, clock := redistest.Clocked(t)
		test(t, stepped{openOn(t, server), newSession(), func(d time.Duration, _ ...*queue.Delivery) {
			clock.Move(t, -d)
		}})
	})
	t.Run("keys", func(t *testing.T) {
		t.Parallel()
		server, session := redistest.Use(t), newSession()
		rdb := server.Client(t)
		test(t, stepped{openOn(t, server), session, func(d time.Duration, inFlight ...*queue.Delivery) {
			moveAhead(t, rdb, session, d)
			for _, delivery := range inFlight {
				moveTakenAhead(t, rdb, delivery.Image, d)
			}
		}})
	})
}

// pushNumbers pushes the images "1" to "<n>". The text of each is its sequence.
func (s stepped) pushNumbers(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		s.PushImage(t, s.session, fmt.Sprint(i+1))
	}
}

// wantNumbers takes the images "<from>" to "<to>", after which the queue is empty.
func (s stepped) wantNumbers(t *testing.T, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		if got := s.Take(t, s.session); got.Sequence != int64(i) || string(got.Data) != fmt.Sprint(i) {
			t.Errorf("pop: got %q, sequence %d, want %d", got.Data, got.Sequence, i)
		}
	}
	s.WantEmpty(t, s.session)
}

// requeueOneByOne requeues deliveries in the order of places.
func (s stepped) requeueOneByOne(t *testing.T, deliveries []*queue.Delivery, places []int) {
	t.Helper()
	queued := func() int { // also those that are ahead, which are not listed
		return int(testkit.Must(s.q.rdb.ZCard(t.Context(), keysOf(s.session).queue(s.session)).Result())(t))
	}
	for n, length := 0, queued(); n < len(places); n++ {
		deliveries[places[n]].Requeue()
		testkit.Eventually(t, func() bool { return queued() == length+n+1 })
	}
}

// aheadOnce is a queue on a Redis whose clock was an hour ahead while images came to two sessions: "waiting" has one,
// "taken" has none but for readers. The clock is right again.
func aheadOnce(t *testing.T, limits queue.Limits) (h *harness, clock *redistest.Clock) {
	t.Helper()
	server, clock := redistest.Clocked(t)
	h = openHarness(t, Options{Redis: at(server.Addr), Limits: limits})
	clock.Move(t, time.Hour)
	for _, session := range []string{"waiting", "taken"} {
		h.PushImage(t, session, "image of "+session)
	}
	h.Take(t, "taken")
	clock.Move(t, -time.Hour)
	return h, clock
}

// wantNoImages checks that Redis holds no image at the end of their lives.
func (h *harness) wantNoImages(t *testing.T) {
	t.Helper()
	var keys []string
	for _, pattern := range []string{"is:*:image:*", "is:*:delivered:*", "is:*:queue:*"} {
		for _, key := range testkit.Must(h.q.rdb.Keys(t.Context(), pattern).Result())(t) {
			if h.q.rdb.PTTL(t.Context(), key).Val() > 0 { // not on its way out
				keys = append(keys, key)
			}
		}
	}
	if len(keys) > 0 {
		t.Errorf("past their lives there are %q", keys)
	}
}

// Whoever asks first for a session whose images came while the clock was ahead, they live as long as images do.
func TestClockWasAhead(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(t *testing.T, h *harness, session string){
		"push": func(t *testing.T, h *harness, session string) { h.PushImage(t, session, "another") },
		"pop and requeue": func(t *testing.T, h *harness, session string) {
			d, err := h.Pop(t.Context(), session)
			if (err == nil) != (session == "waiting") {
				t.Errorf("pop of %s: got error %v", session, err)
			}
			if err == nil {
				d.Requeue()
				testkit.Eventually(t, func() bool { return h.Len(t, session) == 1 })
			} else {
				h.q.repairAhead(t.Context()) // an empty queue has nothing to repair for a pop
			}
		},
		"find": func(t *testing.T, h *harness, session string) {
			got := testkit.Must(queue.Get(t.Context(), h, session, queue.Newest))(t)
			if rest := time.Until(got.Expires); string(got.Data) != "image of "+session || rest > h.TTL {
				t.Errorf("got %q, which lives %s longer", got.Data, rest)
			}
		},
		"nobody": func(t *testing.T, h *harness, _ string) { h.q.repairAhead(t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, clock := aheadOnce(t, queue.Limits{})
			for _, session := range []string{"waiting", "taken"} {
				ask(t, h, session)
			}
			if n := h.Len(t, "waiting"); n == 0 {
				t.Error("the repaired session is not listed")
			}
			clock.Move(t, h.TTL+time.Second)
			for _, session := range []string{"waiting", "taken"} {
				if got, err := queue.Get(t.Context(), h, session, queue.Newest); err != queue.ErrEmpty {
					t.Errorf("past its life: found %q, error %v", got.Data, err)
				}
				h.WantEmpty(t, session)
			}
			h.wantNoImages(t)
		})
	}
}

// Sessions that were opened while the clock was ahead neither count nor are listed before they are repaired.
func TestClockWasAheadForTheIndex(t *testing.T) {
	t.Parallel()
	h, clock := aheadOnce(t, queue.Limits{Sessions: 2})
	if all := testkit.Must(h.Sessions(t.Context()))(t); len(all) > 0 {
		t.Errorf("got %v, want none listed", all)
	}
	time.Sleep(countMaxAge) // what this process knows of the sessions it opened itself is over
	h.PushImage(t, "new", "image")
	h.q.repairAhead(t.Context())
	if found := h.q.findAhead(t.Context()); len(found) > 0 {
		t.Errorf("%q are ahead after their repair", found)
	}
	if n := h.Len(t, "waiting"); n != 1 {
		t.Errorf("the repaired session is listed with %d images, want 1", n)
	}
	clock.Move(t, 2*h.TTL)
	if all := testkit.Must(h.Sessions(t.Context()))(t); len(all) > 0 {
		t.Errorf("past their lives: got %v, want none listed", all)
	}
}

// A step of the clock is logged once, and not for each session that meets it.
func TestStepIsLoggedOnce(t *testing.T) {
	t.Parallel()
	logged, log := newLog()
	h := openHarness(t, Options{Redis: at(redistest.Use(t).Addr), Log: log})
	for range 5 {
		session := newSession()
		h.PushImage(t, session, "image")
		moveAhead(t, h.q.rdb, session, time.Hour)
		h.Take(t, session)
	}
	if n := strings.Count(logged.String(), "the clock of redis stepped back"); n != 1 {
		t.Errorf("logged %d times, want once: %s", n, logged)
	}
}

// Images come back to their places although the clock stepped back while they were away, in whichever order they come.
func TestClockStepsBackInFlight(t *testing.T) {
	t.Parallel()
	for name, places := range map[string][]int{"in order": {0, 1}, "in reverse": {1, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onSteps(t, func(t *testing.T, s stepped) {
				s.pushNumbers(t, 3)
				taken := []*queue.Delivery{s.PopImage(t, s.session), s.PopImage(t, s.session)}
				s.stepBack(time.Hour, taken...)
				s.PushImage(t, s.session, "4") // shifts the queue
				s.requeueOneByOne(t, taken, places)
				s.wantNumbers(t, 1, 4)
			})
		})
	}
}

// A full Redis gives out its images also after the clock stepped back.
func TestClockStepsBackUnderAFullRedis(t *testing.T) {
	t.Parallel()
	server, clock := redistest.Clocked(t)
	s := stepped{openOn(t, server), newSession(), nil}
	s.pushNumbers(t, 3)
	clock.Move(t, -time.Hour)
	testkit.Must(s.q.rdb.ConfigSet(t.Context(), "maxmemory", "1").Result())(t)
	if _, err := s.Find(t.Context(), s.session, queue.Newest); err != nil {
		t.Errorf("find: got error %v", err)
	}
	s.wantNumbers(t, 1, 3)
}

// An image is requeued after the clock stepped, before a push notices the step.
func TestRequeueBeforeTheStepIsNoticed(t *testing.T) {
	t.Parallel()
	onSteps(t, func(t *testing.T, s stepped) {
		s.pushNumbers(t, 3)
		taken := []*queue.Delivery{s.PopImage(t, s.session)}
		s.stepBack(time.Hour, taken...)
		s.requeueOneByOne(t, taken, []int{0})
		s.PushImage(t, s.session, "4")
		s.wantNumbers(t, 1, 4)
	})
}

// Two images that are requeued after a step keep their order, also where their order as text is another one: 10, 9.
func TestRequeueAfterAStepKeepsOrder(t *testing.T) {
	t.Parallel()
	for name, places := range map[string][]int{"in order": {0, 1}, "in reverse": {1, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onSteps(t, func(t *testing.T, s stepped) {
				s.pushNumbers(t, 12)
				for range 8 {
					s.Take(t, s.session)
				}
				taken := []*queue.Delivery{s.PopImage(t, s.session), s.PopImage(t, s.session)}
				s.stepBack(time.Hour, taken...)
				s.PushImage(t, s.session, "13")
				s.requeueOneByOne(t, taken, places)
				s.wantNumbers(t, 9, 13)
			})
		})
	}
}

// After a step back the bytes live no longer than their images. Redis itself leaves the end of a key's life where it
// was, which is then too far ahead.
func TestClockStepShortensTheLifeOfBytes(t *testing.T) {
	t.Parallel()
	onSteps(t, func(t *testing.T, s stepped) {
		const n = 3
		s.pushNumbers(t, n)
		s.stepBack(time.Hour)
		s.PushImage(t, s.session, fmt.Sprint(n+1)) // shifts the queue
		k := keysOf(s.session)
		members := testkit.Must(s.q.rdb.ZRange(t.Context(), k.queue(s.session), 0, -1).Result())(t)
		if len(members) != n+1 {
			t.Fatalf("got members %q, want %d", members, n+1)
		}
		for _, text := range members {
			key := k.image(testkit.Must(parseMember(text))(t).id)
			if rest := testkit.Must(s.q.rdb.PTTL(t.Context(), key).Result())(t); rest <= 0 || rest > s.TTL {
				t.Errorf("the bytes of image %s live %s longer, want at most %s", text, rest, s.TTL)
			}
		}
		for i := range int64(n + 1) {
			which, before := queue.Query{After: i}, time.Now()
			got := testkit.Must(queue.Get(t.Context(), s, s.session, which))(t)
			if latest := time.Now().Add(s.TTL); got.Expires.Before(before) || got.Expires.After(latest) {
				t.Errorf("image %d expires at %s, want at %s at the latest", got.Sequence, got.Expires, latest)
			}
		}
		s.wantNumbers(t, 1, n+1)
	})
}
