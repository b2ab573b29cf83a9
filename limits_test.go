package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// setLimits bounds a fixture's engine.
func (f *fixture) setLimits(l limits) {
	switch q := f.engine.(type) {
	case *memoryQueue:
		q.limits = l
	case *redisQueue:
		q.limits = l
	}
}

// Beyond a limit the oldest images give way: the gap in the sequence shows it, and
// it is counted.
func TestLimitSlides(t *testing.T) {
	t.Parallel()
	image := func(size int) string { return strings.Repeat("x", size) }
	for _, row := range []struct {
		name   string
		limits limits
		sizes  []int
		kept   []int64 // sequences
	}{
		{"images", limits{images: 3}, []int{9, 9, 9, 9, 9}, []int64{3, 4, 5}},
		{"one image", limits{images: 1}, []int{9, 9, 9}, []int64{3}},
		{"bytes", limits{bytes: 100}, []int{40, 40, 40, 20}, []int64{2, 3, 4}},
		{"bytes exactly", limits{bytes: 100}, []int{50, 50}, []int64{1, 2}},
		{"one large image for many", limits{bytes: 100}, []int{10, 10, 10, 10, 95}, []int64{5}},
		{"an image larger than the limit", limits{bytes: 100}, []int{10, 500}, []int64{2}},
		{"after an image larger than the limit", limits{bytes: 100}, []int{500, 10}, []int64{2}},
		{"images and bytes", limits{images: 2, bytes: 100}, []int{30, 30, 30, 90}, []int64{4}},
		{"none", limits{}, []int{9, 9, 9, 9}, []int64{1, 2, 3, 4}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			onEngines(t, time.Minute, func(t *testing.T, f *fixture) {
				f.setLimits(row.limits)
				session, dropped := newSession(), 0
				for i, size := range row.sizes {
					r := f.push(t, session, image(size))
					dropped += r.dropped
					if r.sequence != int64(i+1) || r.queued != i+1-dropped || r.expired != 0 {
						t.Errorf("push %d: got %+v, %d dropped so far", i+1, r, dropped)
					}
				}
				if want := len(row.sizes) - len(row.kept); dropped != want {
					t.Errorf("got %d dropped, want %d", dropped, want)
				}
				for i, sequence := range row.kept {
					if got := f.take(t, session); got.sequence != sequence || got.size != row.sizes[sequence-1] || got.left != len(row.kept)-i-1 {
						t.Errorf("pop %d: got %d of %d bytes, %d left, want %d", i+1, got.sequence, got.size, got.left, sequence)
					}
				}
				f.wantEmpty(t, session)
			})
		})
	}
}

// What was taken or has expired makes room, and an image that comes back counts.
func TestLimitCountsWhatIsThere(t *testing.T) {
	t.Parallel()
	const ttl = time.Second
	onEngines(t, ttl, func(t *testing.T, f *fixture) {
		f.setLimits(limits{images: 3, bytes: 30})
		session := newSession()
		for range 3 {
			f.push(t, session, "ten bytes.")
		}
		f.take(t, session)
		if r := f.push(t, session, "ten bytes."); r.dropped != 0 || r.queued != 3 {
			t.Errorf("after a pop: got %+v, want 3 queued and none dropped", r)
		}
		f.Settle(must(f.Pop(t.Context(), session))(t), false)
		eventually(t, func() bool { return f.length(t, session) == 3 })
		if r := f.push(t, session, "ten bytes."); r.dropped != 1 || r.queued != 3 {
			t.Errorf("after an image came back: got %+v, want 3 queued and one dropped", r)
		}
		f.elapse(ttl)
		if r := f.push(t, session, "ten bytes."); r.dropped != 0 || r.queued != 1 || r.expired != 3 {
			t.Errorf("after expiry: got %+v, want one queued, none dropped, 3 expired", r)
		}
	})
}

// A session more than the limit is refused, those that are open go on, and one that
// is over makes room.
func TestLimitSessions(t *testing.T) {
	t.Parallel()
	const ttl = time.Second
	for name, newFixture := range map[string]func(*testing.T) *fixture{
		"memory": func(t *testing.T) *fixture { return memoryFixture(t, ttl) },
		"redis":  func(t *testing.T) *fixture { return redisFixture(t, ownRedis(t).client(t), ttl) }, // nobody else's sessions
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.setLimits(limits{sessions: 20})
			for i := range 20 {
				f.push(t, "session-"+strconv.Itoa(i), "image")
			}
			if _, err := f.Push(t.Context(), "one-more", []byte("image")); !errors.Is(err, errManySessions) {
				t.Errorf("session 21: got error %v, want errManySessions", err)
			}
			if n := f.length(t, "one-more"); n != 0 {
				t.Errorf("session 21 has %d images", n)
			}
			for i := range 20 {
				if r := f.push(t, "session-"+strconv.Itoa(i), "image"); r.queued != 2 || r.opened {
					t.Errorf("session %d: got %+v, want its second image", i, r)
				}
			}
			f.elapse(ttl * 3 / 2)
			if r := f.push(t, "one-more", "image"); r.sequence != 1 || !r.opened {
				t.Errorf("when the others are over: got %+v", r)
			}
		})
	}
}

// Over HTTP: 429, when to come again, and what goes on.
func TestTooManySessions(t *testing.T) {
	t.Parallel()
	p := startServer(t, "", "MAX_SESSIONS=2")
	for _, session := range []string{"a", "b"} {
		p.do(t, "POST", "/image/"+session, sized("image")).wantStatus(t, 200)
	}
	for _, path := range []string{"/image/c", "/imageForm/c"} {
		got := p.do(t, "POST", path, sized(oneFileForm), "Content-Type: multipart/form-data; boundary=b").wantStatus(t, http.StatusTooManyRequests)
		if got.Header.Get("Retry-After") == "" {
			t.Errorf("%s: got no Retry-After", path)
		}
	}
	p.do(t, "POST", "/stream/c", sized(sizedPart("image")), "Content-Type: multipart/mixed; boundary=b").
		wantCounts(t, ingested{Session: "c", Refused: 1})
	p.do(t, "POST", "/image/b", sized("image")).wantStatus(t, 200)
	if n := p.count(t, "c"); n != 0 {
		t.Errorf("the refused session has %d images", n)
	}
}

// The numbers of a session add up, whatever became of its images.
func TestStatsDetails(t *testing.T) {
	t.Parallel()
	const ttl = 1200 * time.Millisecond
	onEngines(t, ttl, func(t *testing.T, f *fixture) {
		f.setLimits(limits{images: 5})
		session := newSession()
		want := func(what string, want sessionStats) {
			t.Helper()
			some := []sessionStats{{ID: session, Len: want.Len}}
			if err := f.Detail(t.Context(), some); err != nil {
				t.Fatal(err)
			}
			got := some[0]
			if got.Age < 0 || got.Age > 2 {
				t.Errorf("%s: got age %v", what, got.Age)
			}
			got.Age, want.ID = 0, session
			if got != want {
				t.Errorf("%s: got %+v, want %+v", what, got, want)
			}
		}
		want("nothing", sessionStats{})
		for range 7 {
			f.push(t, session, "ten bytes.")
		}
		want("7 sent, 2 gave way", sessionStats{Len: 5, Bytes: 50, Sent: 7, Dropped: 2})
		f.take(t, session)
		image := must(f.Pop(t.Context(), session))(t)
		want("2 taken", sessionStats{Len: 3, Bytes: 30, Sent: 7, Taken: 2, Dropped: 2})
		f.Settle(image, false)
		eventually(t, func() bool { return f.length(t, session) == 4 })
		want("one came back", sessionStats{Len: 4, Bytes: 40, Sent: 7, Taken: 1, Dropped: 2})
		f.elapse(ttl * 3 / 4)
		f.push(t, session, "five.")
		f.elapse(ttl / 2)
		want("4 expired", sessionStats{Len: 1, Bytes: 5, Sent: 8, Taken: 1, Dropped: 2, Expired: 4})
		if r := f.push(t, session, "five."); r.expired != 4 {
			t.Errorf("the next push tells of %d expired, want 4", r.expired)
		}
		want("a new one", sessionStats{Len: 2, Bytes: 10, Sent: 9, Taken: 1, Dropped: 2, Expired: 4})
	})
}

// A page of the list, and the totals of all of it.
func TestStatsPages(t *testing.T) {
	t.Parallel()
	const sessions = 1100
	s := newSite(t, testConfig(t), memoryFixture(t, time.Minute))
	for i := range sessions {
		s.push(t, fmt.Sprintf("s%04d", i), "image")
	}
	for _, row := range []struct {
		query        string
		first, count int
	}{
		{"", 0, 1000},
		{"?limit=1000", 0, 1000},
		{"?offset=1000", 1000, 100},
		{"?offset=5&limit=3", 5, 3},
		{"?limit=0", 0, 0},
		{"?offset=1099", 1099, 1},
		{"?offset=1100", 0, 0},
		{"?offset=999999", 0, 0},
	} {
		var got struct {
			NumImages, NumSessions int
			Sessions               []sessionStats
		}
		if err := json.Unmarshal([]byte(s.get(t, "/stats"+row.query).wantStatus(t, 200).body), &got); err != nil {
			t.Fatal(err)
		}
		if got.NumImages != sessions || got.NumSessions != sessions || len(got.Sessions) != row.count || got.Sessions == nil {
			t.Errorf("%s: got %d images, %d sessions, %d listed", row.query, got.NumImages, got.NumSessions, len(got.Sessions))
		}
		for i, session := range got.Sessions {
			if want := fmt.Sprintf("s%04d", row.first+i); session.ID != want || session.Sent != 1 {
				t.Fatalf("%s, entry %d: got %+v, want %s", row.query, i, session, want)
			}
		}
	}
	for _, query := range []string{"?offset=-1", "?offset=x", "?limit=1001", "?limit=-1", "?limit=1.5"} {
		if got := s.get(t, "/stats"+query).wantStatus(t, 400); !strings.Contains(got.body, "allowed is a whole number from 0") {
			t.Errorf("%s: got %s", query, got.body)
		}
	}
}
