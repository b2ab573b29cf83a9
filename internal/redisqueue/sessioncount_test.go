package redisqueue

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// openSessions returns how many sessions are open.
func (h *harness) openSessions(t *testing.T) int {
	t.Helper()
	testkit.NoError(t, h.q.countSessions(t.Context()))
	return h.q.sessions.found
}

// Many sessions are opened at once. One server opens as many as the limit says, and several open one more each at most.
// Those that are open go on.
func TestSessionsOpenedAtOnce(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ limit, servers, pushes int }{{10, 1, 300}, {1, 1, 50}, {10, 3, 300}, {250, 1, 400}} {
		t.Run(fmt.Sprintf("%d sessions, %d servers", row.limit, row.servers), func(t *testing.T) {
			t.Parallel()
			server := redistest.Own(t)
			servers := make([]*harness, row.servers)
			for i := range servers {
				o := Options{Redis: at(server.Addr), Limits: queue.Limits{Sessions: row.limit}}
				servers[i] = openHarness(t, o)
			}
			var all sync.WaitGroup
			var stored, refused atomic.Int64
			for i := range row.pushes {
				all.Go(func() {
					_, err := servers[i%row.servers].Push(t.Context(), fmt.Sprint("session-", i), []byte("image"))
					switch {
					case err == nil:
						stored.Add(1)
					case errors.Is(err, queue.ErrTooManySessions):
						refused.Add(1)
					default:
						t.Error(err)
					}
				})
			}
			all.Wait()
			n, most := servers[0].openSessions(t), row.limit+row.servers-1
			if n < row.limit || n > most || n != int(stored.Load()) || n+int(refused.Load()) != row.pushes {
				t.Errorf("%d sessions are open, %d pushes stored, %d refused, want %d sessions, %d at most",
					n, stored.Load(), refused.Load(), row.limit, most)
			}
			for _, open := range testkit.Must(servers[0].Sessions(t.Context()))(t) {
				servers[0].PushImage(t, open.ID, "image")
			}
		})
	}
}

// Many pushes at once to one session that is not open yet: one of them opens it, all others belong to it, also where
// there is a place for no other.
func TestOneSessionOpenedByMany(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{1, 1000} {
		h := openHarness(t, Options{Redis: at(redistest.Own(t).Addr), Limits: queue.Limits{Sessions: limit}})
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if _, err := h.Push(t.Context(), "session", []byte("image")); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := h.Len(t, "session"); n != 50 {
			t.Errorf("limit %d: got %d images, want 50", limit, n)
		}
	}
}

// A push that was refused gives its place back.
func TestPlaceIsGivenBack(t *testing.T) {
	t.Parallel()
	server := redistest.Own(t)
	rdb := server.Client(t)
	for _, limit := range []int{1, 1000} {
		h := openHarness(t, Options{Redis: at(server.Addr), Limits: queue.Limits{Sessions: limit}})
		testkit.Must(rdb.ConfigSet(t.Context(), "maxmemory", "1").Result())(t)
		testkit.NoError(t, h.q.countSessions(t.Context())) // otherwise no place is reserved at first
		for i := range 3 {
			if _, err := h.Push(t.Context(), fmt.Sprint(limit, "-", i), []byte("image")); !errors.Is(err, queue.ErrFull) {
				t.Errorf("limit %d: got error %v, want ErrFull", limit, err)
			}
		}
		if c := h.q.sessions; c.opened != 0 || c.reserved != 0 {
			t.Errorf("limit %d: got %d opened, %d reserved, want none", limit, c.opened, c.reserved)
		}
		testkit.Must(rdb.ConfigSet(t.Context(), "maxmemory", "0").Result())(t)
		h.PushImage(t, fmt.Sprint(limit), "image")
		testkit.Must(rdb.FlushAll(t.Context()).Result())(t)
	}
}

// Pushes to sessions that are open count nothing and reserve nothing where places are scarce.
func TestKnownSessionsNeedNoCount(t *testing.T) {
	t.Parallel()
	h := openHarness(t, Options{Redis: at(redistest.Own(t).Addr), Limits: queue.Limits{Sessions: 10}})
	h.PushImage(t, "session", "image")
	before := h.q.sessions.counted
	for range 10 {
		h.PushImage(t, "session", "image")
	}
	if c := h.q.sessions; c.counted != before || c.opened != 1 || c.reserved != 0 {
		t.Errorf("got a count at %s after one at %s, %d opened, %d reserved", c.counted, before, c.opened, c.reserved)
	}
}
