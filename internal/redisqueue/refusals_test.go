package redisqueue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// refusals are the errors by which a Redis says that it takes no writes now.
var refusals = []string{
	"READONLY You can't write against a read only replica.",
	"NOREPLICAS Not enough good replicas to write.",
	"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
	"MISCONF Errors writing to the AOF file: No space left on device",
	"LOADING Redis is loading the dataset in memory",
	"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
	"CLUSTERDOWN The cluster is down",
	"TRYAGAIN Multiple keys request during rehashing of slot",
	"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
	"ERR max number of clients reached",
}

// A Redis that takes no writes for a second is a delay. One that takes none for long is a call that may be made again
// later, and nothing that would have to be undone.
func TestRefusalsAreBridged(t *testing.T) {
	t.Parallel()
	for _, refusal := range refusals {
		for _, callName := range []string{"Push", "Pop", "Find"} {
			for lasts, want := range map[time.Duration]error{time.Second: nil, time.Hour: queue.ErrUnavailable} {
				t.Run(fmt.Sprintf("%.20s/%s/%s", refusal, callName, lasts), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						ends := time.Now().Add(lasts)
						h := openFake(t, &fakeRedis{bytesPerSecond: 1 << 30, image: []byte("image"), refusal: func() string {
							if time.Now().After(ends) {
								return ""
							}
							return refusal
						}})
						begun := time.Now()
						err := calls[callName](t.Context(), h.q, "session")
						if took := time.Since(begun); !errors.Is(err, want) || took < time.Second || took > 2*time.Second {
							t.Errorf("got error %v after %s, want %v after 1 to 2 s", err, took, want)
						}
						if want != nil && !strings.Contains(err.Error(), refusal) {
							t.Errorf("got error %v, want the words of Redis in it", err)
						}
						if n := h.behind("session"); n > 0 {
							t.Errorf("%d calls are to be undone, want none", n)
						}
					})
				})
			}
		}
	}
}

// noWrites is a way to make a real Redis refuse writes.
type noWrites struct {
	args        []string // of the server
	begin, end  string   // a command
	refusesRead bool
}

var waysOfNoWrites = map[string]noWrites{
	"READONLY": {begin: "REPLICAOF 127.0.0.1 1", end: "REPLICAOF NO ONE"},
	"MASTERDOWN": {
		args:  []string{"--replica-serve-stale-data", "no"},
		begin: "REPLICAOF 127.0.0.1 1", end: "REPLICAOF NO ONE", refusesRead: true,
	},
	"NOREPLICAS": {begin: "CONFIG SET min-replicas-to-write 1", end: "CONFIG SET min-replicas-to-write 0"},
	"MISCONF": { // no file can be made in /proc
		args:  []string{"--dir", "/proc", "--save", "3600 1", "--stop-writes-on-bgsave-error", "no"},
		begin: "CONFIG SET stop-writes-on-bgsave-error yes", end: "CONFIG SET stop-writes-on-bgsave-error no",
	},
}

// refusing is a queue on a real Redis that can be made to refuse writes.
type refusing struct {
	*harness
	session     string
	begin, end  func(testing.TB)
	refusesRead bool
	until       *atomic.Pointer[script] // the refusals end when they have met this script
	refused     *atomic.Int64           // pipelines
}

// onRefusals runs a test with each way to make Redis refuse writes.
func onRefusals(t *testing.T, test func(t *testing.T, r refusing)) {
	for name, way := range waysOfNoWrites {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newRefusing(t, name, way))
		})
	}
}

func newRefusing(t *testing.T, name string, way noWrites) refusing {
	server := redistest.Own(t, way.args...)
	rdb := server.Client(t)
	if name == "MISCONF" {
		testkit.Must(rdb.BgSave(t.Context()).Result())(t)
	}
	run := func(t testing.TB, command string) {
		words := strings.Fields(command)
		args := make([]any, len(words))
		for i, word := range words {
			args[i] = word
		}
		if err := rdb.Do(context.Background(), args...).Err(); err != nil {
			t.Error(err)
		}
	}
	r := refusing{
		session: newSession(), refusesRead: way.refusesRead,
		until: new(atomic.Pointer[script]), refused: new(atomic.Int64),
		begin: func(t testing.TB) {
			run(t, way.begin)
			testkit.Eventually(t, func() bool {
				err := rdb.Eval(t.Context(), "return redis.call('PEXPIRE', 'none', 1)", nil).Err()
				return redis.HasErrorPrefix(err, name)
			})
		},
		end: func(t testing.TB) { run(t, way.end) },
	}
	r.harness = openMeddled(t, server, func(
		ctx context.Context, cmds []redis.Cmder, send redis.ProcessPipelineHook,
	) error {
		err := send(ctx, cmds)
		if !slices.ContainsFunc(cmds, func(cmd redis.Cmder) bool { return transient(cmd.Err()) && refused(cmd.Err()) }) {
			return err
		}
		r.refused.Add(1)
		if script := r.until.Load(); script != nil && runs(cmds, script) && r.until.CompareAndSwap(script, nil) {
			r.end(t)
		}
		return err
	})
	return r
}

// Calls meet a Redis that refuses writes: they fail as unavailable, store nothing, and lose nothing.
func TestRedisThatRefusesWrites(t *testing.T) {
	t.Parallel()
	onRefusals(t, func(t *testing.T, r refusing) {
		r.PushImage(t, r.session, "before")
		r.begin(t)
		for _, name := range []string{"Push", "Pop"} {
			if err := calls[name](t.Context(), r.q, r.session); !errors.Is(err, queue.ErrUnavailable) {
				t.Errorf("%s: got error %v, want ErrUnavailable", name, err)
			}
		}
		for _, name := range []string{"Find", "Sessions", "countSessions"} {
			err := calls[name](t.Context(), r.q, r.session)
			if r.refusesRead && !errors.Is(err, queue.ErrUnavailable) || !r.refusesRead && err != nil {
				t.Errorf("%s: got error %v, where reads are refused: %v", name, err, r.refusesRead)
			}
		}
		r.end(t)
		r.wantImages(t, "before")
	})
}

// wantImages takes images, after which the queue is empty.
func (r refusing) wantImages(t *testing.T, want ...string) {
	t.Helper()
	for i, image := range want {
		if got := r.Take(t, r.session); string(got.Data) != image || got.Sequence != int64(i+1) {
			t.Errorf("got %q, sequence %d, want %q, %d", got.Data, got.Sequence, image, i+1)
		}
	}
	r.WantEmpty(t, r.session)
}

// A push and a pop that Redis refuses at first are made again, and succeed once.
func TestCallsBridgeARefusal(t *testing.T) {
	t.Parallel()
	onRefusals(t, func(t *testing.T, r refusing) {
		r.PushImage(t, r.session, "first")
		r.begin(t)
		r.until.Store(pushScript)
		r.PushImage(t, r.session, "second")
		r.wantRefused(t, 1)
		if t.Failed() {
			return
		}
		for i, image := range []string{"first", "second"} {
			r.begin(t)
			r.until.Store(popScript)
			if got := r.Take(t, r.session); string(got.Data) != image || got.Sequence != int64(i+1) {
				t.Errorf("got %q, sequence %d, want %q, %d", got.Data, got.Sequence, image, i+1)
			}
			r.wantRefused(t, int64(i+2))
		}
		r.WantEmpty(t, r.session)
	})
}

// wantRefused checks that calls were refused.
func (r refusing) wantRefused(t *testing.T, least int64) {
	t.Helper()
	if n := r.refused.Load(); n < least {
		t.Errorf("got %d refusals, want %d at least: the test shows little", n, least)
	}
}

// An image that its consumer did not get comes back, although Redis refused to take it back at first.
func TestRequeueOutlastsARefusal(t *testing.T) {
	t.Parallel()
	onRefusals(t, func(t *testing.T, r refusing) {
		r.PushImage(t, r.session, "image")
		d := r.PopImage(t, r.session)
		r.begin(t)
		r.until.Store(requeueScript)
		d.Requeue()
		testkit.Eventually(t, func() bool { return r.until.Load() == nil })
		testkit.Eventually(t, func() bool { return r.behind(r.session) == 0 })
		r.wantImages(t, "image")
	})
}
