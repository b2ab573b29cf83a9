package redisqueue

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/queuetest"
	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

func TestMain(m *testing.M) {
	DiscardClientLog()
	status := m.Run()
	redistest.Stop()
	os.Exit(status)
}

func newSession() string { return session.New() }

// harness is a queue under test, with access to what is inside it.
type harness struct {
	queuetest.Harness
	q *Queue
}

// at returns the options of a single server.
func at(addr string) *redis.UniversalOptions { return &redis.UniversalOptions{Addrs: []string{addr}} }

// openHarness opens a queue for one test. Of the options only Redis is needed.
func openHarness(t testing.TB, o Options) *harness {
	return openWith(t, newClient(o.Redis), o)
}

// openWith is openHarness with a given client, which the queue closes.
func openWith(t testing.TB, rdb redis.UniversalClient, o Options) *harness {
	o.TTL = cmp.Or(o.TTL, time.Minute)
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	q := open(rdb, o)
	t.Cleanup(q.Close)
	return &harness{queuetest.Harness{Queue: q, TTL: o.TTL, Remote: true}, q}
}

// openOn opens a queue on a server.
func openOn(t testing.TB, server *redistest.Server) *harness {
	return openHarness(t, Options{Redis: at(server.Addr)})
}

// stopBackground ends the background work. From then on only calls and Close free and undo something.
func stopBackground(q *Queue) {
	q.cleaner.worker.stop()
	q.undoer.worker.stop()
}

// moveAhead leaves the keys of a session as they are after the clock of Redis stepped back: everything in Redis is
// that much later than now.
func moveAhead(t testing.TB, rdb redis.UniversalClient, session string, d time.Duration) {
	t.Helper()
	ctx, k := t.Context(), keysOf(session)
	for _, text := range testkit.Must(rdb.ZRange(ctx, k.queue(session), 0, -1).Result())(t) {
		m := testkit.Must(parseMember(text))(t)
		testkit.Must(rdb.ZIncrBy(ctx, k.queue(session), float64(d.Microseconds()), text).Result())(t)
		prolong(t, rdb, k.image(m.id), d)
	}
	prolong(t, rdb, k.queue(session), d)
	prolong(t, rdb, k.meta(session), d)
	testkit.Must(rdb.HIncrBy(ctx, k.meta(session), "newest", d.Microseconds()).Result())(t)
	testkit.Must(rdb.ZIncrBy(ctx, k.sessions(), float64(d.Microseconds()), session).Result())(t)
}

// moveTakenAhead does for an image in flight what moveAhead does for those in the queue.
func moveTakenAhead(t testing.TB, rdb redis.UniversalClient, image queue.Image, d time.Duration) {
	t.Helper()
	ctx, k, id := t.Context(), keysOf(image.Session), callOf(image)
	prolong(t, rdb, k.delivered(id.String()), d)
	r := testkit.Must(parseRecord(rdb.HGet(ctx, k.meta(image.Session), id.client.name).Val()))(t)
	n, pushed, err := parseNumbers(r.reply, " ", 5)
	if err != nil || n[1] != image.Arrived.UnixMicro() {
		t.Fatalf("got record %q, error %v, want the arrival %d in it", r, err, image.Arrived.UnixMicro())
	}
	r.reply = popReply(n[1]+d.Microseconds(), n[2], n[3], member{n[0], n[4], pushed})
	testkit.Must(rdb.HSet(ctx, k.meta(image.Session), id.client.name, r.String()).Result())(t)
}

// prolong adds to the TTL of a key, which has to exist.
func prolong(t testing.TB, rdb redis.UniversalClient, key string, d time.Duration) {
	t.Helper()
	rest := testkit.Must(rdb.PTTL(t.Context(), key).Result())(t)
	if rest <= 0 {
		t.Fatalf("%s does not exist, or has no end", key)
	}
	testkit.Must(rdb.PExpire(t.Context(), key, rest+d).Result())(t)
}

// meddler stands between a queue and Redis. It gets each pipeline, and may send it on, lose it, or lose its replies.
type meddler func(ctx context.Context, cmds []redis.Cmder, send redis.ProcessPipelineHook) error

func (meddler) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (meddler) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (m meddler) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { return m(ctx, cmds, next) }
}

// openMeddled opens a queue with a meddler, and loads the scripts.
func openMeddled(t *testing.T, server *redistest.Server, m meddler) *harness {
	t.Helper()
	rdb := newClient(at(server.Addr))
	rdb.AddHook(m)
	h := openWith(t, rdb, Options{})
	if err := loadScripts(t.Context(), rdb); err != nil {
		t.Fatal(err)
	}
	return h
}

// remembered returns how many calls a session remembers.
func remembered(t testing.TB, rdb redis.UniversalClient, session string) (n int) {
	t.Helper()
	for _, value := range testkit.Must(rdb.HGetAll(t.Context(), keysOf(session).meta(session)).Result())(t) {
		if _, err := parseRecord(value); err == nil {
			n++
		}
	}
	return n
}

// runs reports whether a pipeline runs a script.
func runs(cmds []redis.Cmder, script *script) bool {
	return slices.ContainsFunc(cmds, func(cmd redis.Cmder) bool {
		return len(cmd.Args()) > 1 && cmd.Args()[1] == script.hash
	})
}

// unanswered gives every command of a pipeline an error, as if the pipeline had been written and Redis had not replied.
func unanswered(cmds []redis.Cmder, err error) error {
	for _, cmd := range cmds {
		for _, arg := range cmd.Args() {
			if client, ok := arg.(*client); ok {
				client.MarshalBinary()
			}
		}
		cmd.SetErr(err)
	}
	return err
}

// notifications records the calls of a Subscriber: a Ref for Pushed, nil for Missed.
type notifications chan *queue.Ref

func (n notifications) Pushed(ref queue.Ref) { n <- &ref }
func (n notifications) Missed()              { n <- nil }

// newLog returns a logger, and the log that it writes.
func newLog() (*testkit.Log, *slog.Logger) {
	b := new(testkit.Log)
	return b, slog.New(slog.NewTextHandler(b, nil))
}

// popReply builds the reply of pop.lua.
func popReply(arrival, behind, age int64, m member) string {
	return fmt.Sprintf("%d %d %d %d %d %s", m.sequence, arrival, behind, age, m.offset, m.id)
}
