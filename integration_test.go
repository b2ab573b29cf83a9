package main

import (
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/queuetest"
	"github.com/image-streamer/image-streamer/internal/redisqueue"
	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

func TestMain(m *testing.M) {
	redisqueue.DiscardClientLog()
	status := m.Run()
	redistest.Stop()
	os.Exit(status)
}

// The whole program from session to SIGTERM, on a real Redis and without one.
func TestServerFromStartToEnd(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		redis func(testing.TB) string
		log   string
	}{
		"embedded": {func(testing.TB) string { return "" }, "queue=\"embedded, 256 MiB at most, lost at exit\""},
		"redis":    {func(t testing.TB) string { return redistest.Use(t).Addr }, "queue=redis"},
		"redis by URL": {
			func(t testing.TB) string { return "redis://" + redistest.Use(t).Addr + "/0" }, "queue=redis",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startServer(t, "", "REDIS_HOST="+row.redis(t))
			p.log.Await(t, row.log)
			p.Get(t, "/readyz").WantStatus(t, 200)
			id := p.Get(t, "/session").WantStatus(t, 200).Text
			p.Do(t, "POST", "/image/"+id, strings.NewReader("first")).WantStatus(t, 200)
			p.Do(t, "PUT", "/image/"+id, relaytest.Chunked("second")).WantStatus(t, 200)
			p.Do(t, "POST", "/imageForm/"+id, strings.NewReader(relaytest.Form("third")),
				"Content-Type: "+relaytest.FormType).WantStatus(t, 200)
			p.Do(t, "POST", "/image/"+id, http.NoBody).WantStatus(t, 400)
			if n := p.StatsLen(t, id); n != 3 {
				t.Errorf("got %d images in the stats, want 3", n)
			}
			for i, want := range []string{"first", "second", "third"} {
				got := p.Get(t, "/image/"+id+"?"+strconv.Itoa(i)).WantStatus(t, 200)
				if got.Text != want || got.Header.Get("X-Sequence") != strconv.Itoa(i+1) ||
					got.Header.Get("Content-Type") != "image/jpeg" {
					t.Errorf("image %d: got %q, headers %v, want %q", i+1, got.Text, got.Header, want)
				}
			}
			if got := p.Get(t, "/image/"+id).WantStatus(t, 200); !got.IsNoData() {
				t.Errorf("got %q, want No Data", got.Text)
			}
			testkit.Eventually(t, func() bool { return p.StatsLen(t, id) == 0 })
			p.stop()
			p.wantExit(t, 0, time.Minute)
			if log := p.log.String(); strings.Contains(log, id) {
				t.Errorf("the session is in the log: %s", log)
			}
		})
	}
}

// Two servers share one Redis: the images that many producers push to one server, many consumers pop from the other,
// each image once.
func TestTwoServersOneRedis(t *testing.T) {
	t.Parallel()
	addr := redistest.Use(t).Addr
	a, b := startServer(t, "", "REDIS_HOST="+addr), startServer(t, "", "REDIS_HOST="+addr)
	audit, sessions := queuetest.NewAudit(), []string{session.New(), session.New()}
	audit.Run(t, relaytest.Target{PushTo: a.Addr, PopFrom: b.Addr}, queuetest.Load{
		Sessions: sessions, Producers: 6, Consumers: 8, Images: 60, Size: 20 << 10, Pause: 2 * time.Millisecond,
	})
	audit.WantExactlyOnce(t)
	if n := audit.Counts().Failures; n > 0 {
		t.Errorf("%d calls failed", n)
	}
	for _, id := range sessions {
		if n := a.StatsLen(t, id); n != 0 {
			t.Errorf("%d images are left", n)
		}
	}
}

// wantAway checks that every request that needs Redis is refused within 3 seconds, and that the process serves. It
// waits for /readyz first, which remembers its answer for a second.
func (p *program) wantAway(t *testing.T, id string) {
	t.Helper()
	p.Get(t, "/healthz").WantStatus(t, 200)
	testkit.Eventually(t, func() bool { return p.Get(t, "/readyz").StatusCode == 503 })
	testkit.Eventually(t, func() bool { // a list from before is still shared
		return p.Get(t, "/stats").StatusCode != 200
	})
	var all sync.WaitGroup
	stopwatch := testkit.StartStopwatch(t)
	begun := stopwatch.Lap()
	for _, route := range []string{
		"POST /image/" + id, "PUT /image/" + id, "POST /imageForm/" + id, "GET /image/" + id,
		"HEAD /image/" + id, "GET /stats", "GET /readyz",
	} {
		all.Go(func() {
			method, path, _ := strings.Cut(route, " ")
			body, contentType := strings.NewReader(relaytest.Form("image")), "image/jpeg"
			if strings.HasPrefix(path, "/imageForm/") {
				contentType = relaytest.FormType
			}
			got := p.Do(t, method, path, body, "Content-Type: "+contentType)
			retry := got.Header.Get("Retry-After")
			if got.StatusCode != http.StatusServiceUnavailable || retry != "1" {
				t.Errorf("%s: got status %d, Retry-After %q, want 503, 1", route, got.StatusCode, retry)
			}
			if took := stopwatch.Lap().Since(begun); took > 3*time.Second {
				t.Errorf("%s: took %s, want at most 3 s", route, took)
			}
		})
	}
	all.Wait()
}

// wantBack checks that every request succeeds once the server has Redis again.
func (p *program) wantBack(t *testing.T) {
	t.Helper()
	for _, path := range []string{"/readyz", "/stats"} { // a failure from before is still shared
		testkit.Eventually(t, func() bool { return p.Get(t, path).StatusCode == 200 })
	}
	id := session.New()
	p.Do(t, "POST", "/image/"+id, strings.NewReader("image")).WantStatus(t, 200)
	if got := p.Get(t, "/image/"+id).WantStatus(t, 200); got.Text != "image" {
		t.Errorf("got %q", got.Text)
	}
}

// A server whose Redis is gone, or silent, refuses requests from the start on, and serves by itself as soon as Redis
// answers.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	t.Run("gone", func(t *testing.T) {
		t.Parallel()
		r := redistest.Own(t)
		testkit.NoError(t, r.Kill())
		p := startServer(t, "", "REDIS_HOST="+r.Addr)
		p.wantAway(t, session.New())
		testkit.NoError(t, r.Start())
		p.wantBack(t)
		testkit.NoError(t, r.Kill())
		p.wantAway(t, session.New())
		testkit.NoError(t, r.Start())
		p.wantBack(t)
	})
	t.Run("silent", func(t *testing.T) {
		t.Parallel()
		r := redistest.Own(t)
		p := startServer(t, "", "REDIS_HOST="+r.Addr)
		p.wantBack(t)
		testkit.NoError(t, r.Pause())
		id := session.New()
		p.wantAway(t, id)
		testkit.NoError(t, r.Resume())
		p.wantBack(t)
		testkit.Eventually(t, func() bool { return p.StatsLen(t, id) == 0 }) // its pushes were refused
	})
}

// A full queue refuses images, stores nothing of them, and still hands out the images it has. Then there is room again.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	for name, setting := range map[string]func(testing.TB) string{
		"embedded": func(testing.TB) string { return "MEMORY_LIMIT=4MiB" },
		"redis":    func(t testing.TB) string { return "REDIS_HOST=" + redistest.Own(t, "--maxmemory", "8mb").Addr },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startServer(t, "", setting(t))
			id := session.New()
			image := strings.Repeat("\xff\x00", 250<<10)
			ways := []func() relaytest.Response{
				func() relaytest.Response { return p.Do(t, "POST", "/image/"+id, strings.NewReader(image)) },
				func() relaytest.Response { return p.Do(t, "PUT", "/image/"+id, relaytest.Chunked(image)) },
				func() relaytest.Response {
					return p.Do(t, "POST", "/imageForm/"+id, strings.NewReader(relaytest.Form(image)),
						"Content-Type: "+relaytest.FormType)
				},
			}
			// A full queue refuses every way to send. Redis may find room again while it shrinks its buffers.
			held := 0
			for refused := 0; held < 50 && refused < len(ways); {
				if got := ways[refused](); got.StatusCode == 200 {
					held, refused = held+1, 0
				} else {
					got.WantStatus(t, http.StatusInsufficientStorage)
					refused++
				}
			}
			if held < 3 || held == 50 {
				t.Fatalf("got %d images in, want some and then 507", held)
			}
			p.Get(t, "/readyz").WantStatus(t, 200)
			if n := p.StatsLen(t, id); n != held {
				t.Errorf("got %d images in the stats, want %d", n, held)
			}
			for i := range held {
				got := p.Get(t, "/image/"+id).WantStatus(t, 200)
				if got.Text != image || got.Header.Get("X-Sequence") != strconv.Itoa(i+1) ||
					got.Header.Get("X-Queue-Length") != strconv.Itoa(held-i-1) {
					t.Errorf("image %d of %d: got %d bytes, X-Sequence %s, X-Queue-Length %s", i+1, held,
						len(got.Text), got.Header.Get("X-Sequence"), got.Header.Get("X-Queue-Length"))
				}
			}
			testkit.Eventually(t, func() bool { // the bytes are freed a moment after they are delivered
				return p.Do(t, "POST", "/image/"+id, strings.NewReader(image)).StatusCode == 200
			})
			if got := p.Get(t, "/image/"+id); got.Header.Get("X-Sequence") != strconv.Itoa(held+1) {
				t.Errorf("got X-Sequence %s, want %d: a refused image has no number",
					got.Header.Get("X-Sequence"), held+1)
			}
		})
	}
}

// A Redis that takes no writes for long, here for lack of replicas, refuses pushes and pops as if it were away, and
// serves what only reads. Nothing is lost.
func TestRedisTakesNoWrites(t *testing.T) {
	t.Parallel()
	r := redistest.Own(t)
	rdb, id := r.Client(t), session.New()
	p := startServer(t, "", "REDIS_HOST="+r.Addr)
	p.Do(t, "POST", "/image/"+id, strings.NewReader("before")).WantStatus(t, 200)
	testkit.Must(rdb.ConfigSet(t.Context(), "min-replicas-to-write", "1").Result())(t)
	testkit.Eventually(t, func() bool { return p.Get(t, "/readyz").StatusCode == 503 })
	var all sync.WaitGroup
	for route, contentType := range map[string]string{
		"POST /image/" + id: "image/jpeg", "POST /imageForm/" + id: relaytest.FormType,
		"GET /image/" + id: "", "GET /readyz": "",
	} {
		all.Go(func() {
			method, path, _ := strings.Cut(route, " ")
			got := p.Do(t, method, path, strings.NewReader(relaytest.Form("image")), "Content-Type: "+contentType)
			if retry := got.Header.Get("Retry-After"); got.StatusCode != http.StatusServiceUnavailable || retry != "1" {
				t.Errorf("%s: got status %d, Retry-After %q, want 503, 1", route, got.StatusCode, retry)
			}
		})
	}
	all.Wait()
	for _, path := range []string{"/snapshot/" + id, "/stats", "/healthz"} {
		p.Get(t, path).WantStatus(t, 200)
	}
	series := func(name string) float64 { return p.Scrape(t).Value(t, name) }
	before, other := series("redis_repeats_total"), session.New()
	stream := p.Send(t, other, "multipart/mixed; boundary=b")
	stream.WriteText(t, relaytest.Part("refused"))
	testkit.Eventually(t, func() bool { return series("refused_images_total") == 3 })
	if series("redis_repeats_total") == before {
		t.Error("the image of a stream was refused without a repeat")
	}
	testkit.Must(rdb.ConfigSet(t.Context(), "min-replicas-to-write", "0").Result())(t)
	testkit.Eventually(t, func() bool { return p.Get(t, "/readyz").StatusCode == 200 })
	stream.WriteText(t, relaytest.Part("stored"))
	stream.WantIngested(t, relaytest.Ingested{Session: other, Stored: 1, Refused: 1, Sequence: 1})
	if got := p.Get(t, "/image/"+id).WantStatus(t, 200); got.Text != "before" || got.Header.Get("X-Queue-Length") != "0" {
		t.Errorf("got %q, headers %v, want the one image", got.Text, got.Header)
	}
}

// The log says why Redis refuses the server, and keeps the password.
func TestWrongRedisPassword(t *testing.T) {
	t.Parallel()
	r := redistest.Own(t)
	rdb := r.Client(t)
	testkit.Must(rdb.Do(t.Context(), "ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all").Result())(t)
	p := startServer(t, "", "REDIS_HOST=redis://app:mistaken@"+r.Addr)
	p.Get(t, "/image/"+session.New()).WantStatus(t, http.StatusServiceUnavailable)
	p.log.Await(t, "pop: the queue does not answer: WRONGPASS")
	p.Get(t, "/stream/"+session.New()).WantStatus(t, http.StatusServiceUnavailable)
	p.log.Await(t, `route=/stream/{session} status=503 error="find: the queue does not answer: WRONGPASS`)
	if log := p.log.String(); strings.Contains(log, "mistaken") || strings.Contains(log, "unexpected type") {
		t.Errorf("got the log %s", log)
	}
}
