package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestMain(m *testing.M) {
	redis.SetLogger(quietRedis{})
	status := m.Run()
	stopSharedRedis()
	stopSharedCluster()
	stopBrowser()
	os.Exit(status)
}

// The whole program from session to SIGTERM, on a real Redis and without one.
func TestServerFromStartToEnd(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		redis func(testing.TB) string
		log   string
	}{
		"embedded":     {func(testing.TB) string { return "" }, "queue=\"embedded, 256 MiB at most, lost at exit\""},
		"redis":        {func(t testing.TB) string { return useRedis(t).addr }, "queue=redis"},
		"redis by URL": {func(t testing.TB) string { return "redis://" + useRedis(t).addr + "/0" }, "queue=redis"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startServer(t, "", "REDIS_HOST="+row.redis(t))
			p.log.await(t, row.log)
			p.get(t, "/readyz").wantStatus(t, 200)
			session := p.get(t, "/session").wantStatus(t, 200).body
			p.do(t, "POST", "/image/"+session, strings.NewReader("first")).wantStatus(t, 200)
			p.do(t, "PUT", "/image/"+session, chunked("second")).wantStatus(t, 200)
			p.do(t, "POST", "/imageForm/"+session, strings.NewReader(formWith("third")),
				"Content-Type: multipart/form-data; boundary=b").wantStatus(t, 200)
			p.do(t, "POST", "/image/"+session, http.NoBody).wantStatus(t, 400)
			if n := p.count(t, session); n != 3 {
				t.Errorf("got %d images in the stats, want 3", n)
			}
			for i, want := range []string{"first", "second", "third"} {
				got := p.get(t, "/image/"+session+"?"+strconv.Itoa(i)).wantStatus(t, 200)
				if got.body != want || got.Header.Get("X-Sequence") != strconv.Itoa(i+1) || got.Header.Get("Content-Type") != "image/jpeg" {
					t.Errorf("image %d: got %q, headers %v, want %q", i+1, got.body, got.Header, want)
				}
			}
			if got := p.get(t, "/image/"+session).wantStatus(t, 200); !got.isNoData() {
				t.Errorf("got %q, want No Data", got.body)
			}
			if n := p.count(t, session); n != 0 {
				t.Errorf("got %d images in the stats, want none", n)
			}
			p.stop()
			p.wantExit(t, 0, 10*time.Second)
			if log := p.log.String(); strings.Contains(log, session) {
				t.Errorf("the session is in the log: %s", log)
			}
		})
	}
}

// count returns the images of a session that /stats shows.
func (p *program) count(t testing.TB, session string) int {
	t.Helper()
	var stats struct{ Sessions []sessionStats }
	if err := json.Unmarshal([]byte(p.get(t, "/stats").wantStatus(t, 200).body), &stats); err != nil {
		t.Fatal(err)
	}
	for _, s := range stats.Sessions {
		if s.ID == session {
			return s.Len
		}
	}
	return 0
}

// relay is an engine for the load: pushes go to one server, pops to another.
type relay struct {
	engine  // nothing: the load uses Push, Pop and Settle alone
	in, out string
}

func (r relay) Push(ctx context.Context, session string, image []byte) (receipt, error) {
	_, _, err := r.ask(ctx, "POST", r.in+"/image/"+session, image)
	return receipt{}, err
}

func (r relay) Pop(ctx context.Context, session string) (frame, error) {
	header, body, err := r.ask(ctx, "GET", r.out+"/image/"+session, nil)
	if err == nil && header.Get("X-No-Data") == "true" {
		err = errEmpty
	}
	return frame{session: session, data: body}, err
}

func (r relay) Settle(frame, bool) {}

func (r relay) ask(ctx context.Context, method, url string, body []byte) (http.Header, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+url, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, answer)
	}
	return resp.Header, answer, err
}

// Two servers share one Redis: what many push to one, many take from the other,
// each image once.
func TestTwoServersOneRedis(t *testing.T) {
	t.Parallel()
	addr := useRedis(t).addr
	a, b := startServer(t, "", "REDIS_HOST="+addr), startServer(t, "", "REDIS_HOST="+addr)
	l, sessions := newLedger(), []string{newSession(), newSession()}
	l.run(t, relay{in: a.addr, out: b.addr}, load{
		sessions: sessions, producers: 6, consumers: 8, images: 60, size: 20 << 10, think: 2 * time.Millisecond,
	})
	l.wantExactlyOnce(t)
	if l.failures > 0 {
		t.Errorf("%d calls failed", l.failures)
	}
	for _, session := range sessions {
		if n := a.count(t, session); n != 0 {
			t.Errorf("%d images are left", n)
		}
	}
}

// wantAway checks that everything that needs Redis is refused within 3 seconds,
// and that the process serves.
func (p *program) wantAway(t *testing.T, session string) {
	t.Helper()
	p.get(t, "/healthz").wantStatus(t, 200)
	var all sync.WaitGroup
	for _, route := range []string{
		"POST /image/" + session, "PUT /image/" + session, "POST /imageForm/" + session, "GET /image/" + session,
		"HEAD /image/" + session, "GET /stats", "GET /readyz",
	} {
		all.Go(func() {
			method, path, _ := strings.Cut(route, " ")
			begun := time.Now()
			got := p.do(t, method, path, strings.NewReader(oneFileForm), "Content-Type: multipart/form-data; boundary=b")
			if got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") != "1" {
				t.Errorf("%s: got status %d, Retry-After %q, want 503, 1", route, got.StatusCode, got.Header.Get("Retry-After"))
			}
			if took := time.Since(begun); took > 3*time.Second {
				t.Errorf("%s: took %s, want at most 3 s", route, took)
			}
		})
	}
	all.Wait()
}

// wantBack checks that the first calls after Redis answers again succeed.
func (p *program) wantBack(t *testing.T) {
	t.Helper()
	session := newSession()
	p.do(t, "POST", "/image/"+session, strings.NewReader("image")).wantStatus(t, 200)
	if got := p.get(t, "/image/"+session).wantStatus(t, 200); got.body != "image" {
		t.Errorf("got %q", got.body)
	}
	p.get(t, "/stats").wantStatus(t, 200)
	p.get(t, "/readyz").wantStatus(t, 200)
}

// A server without its Redis says so, from the start on, and works by itself
// when Redis does; whether Redis is gone or only silent.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	t.Run("gone", func(t *testing.T) {
		t.Parallel()
		r := ownRedis(t)
		steer(t, r.kill)
		p := startServer(t, "", "REDIS_HOST="+r.addr)
		p.wantAway(t, newSession())
		steer(t, r.start)
		p.wantBack(t)
		steer(t, r.kill)
		p.wantAway(t, newSession())
		steer(t, r.start)
		p.wantBack(t)
	})
	t.Run("silent", func(t *testing.T) {
		t.Parallel()
		r := ownRedis(t)
		p := startServer(t, "", "REDIS_HOST="+r.addr)
		p.wantBack(t)
		steer(t, r.pause)
		session := newSession()
		p.wantAway(t, session)
		steer(t, r.resume)
		p.wantBack(t)
		eventually(t, func() bool { return p.count(t, session) == 0 }) // its pushes were refused
	})
}

func steer(t testing.TB, move func() error) {
	t.Helper()
	if err := move(); err != nil {
		t.Fatal(err)
	}
}

// A full queue refuses images, stores nothing of them, and hands out what it
// has; then there is room again.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	for name, setting := range map[string]func(testing.TB) string{
		"embedded": func(testing.TB) string { return "MEMORY_LIMIT=4MiB" },
		"redis":    func(t testing.TB) string { return "REDIS_HOST=" + ownRedis(t, "--maxmemory", "8mb").addr },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startServer(t, "", setting(t))
			session := newSession()
			image := strings.Repeat("\xff\x00", 250<<10)
			held := 0
			for ; held < 50; held++ {
				if got := p.do(t, "POST", "/image/"+session, strings.NewReader(image)); got.StatusCode != 200 {
					got.wantStatus(t, http.StatusInsufficientStorage)
					break
				}
			}
			if held < 3 || held == 50 {
				t.Fatalf("got %d images in, want some and then 507", held)
			}
			p.do(t, "PUT", "/image/"+session, chunked(image)).wantStatus(t, http.StatusInsufficientStorage)
			p.do(t, "POST", "/imageForm/"+session, strings.NewReader(formWith(image)),
				"Content-Type: multipart/form-data; boundary=b").wantStatus(t, http.StatusInsufficientStorage)
			p.get(t, "/readyz").wantStatus(t, 200)
			if n := p.count(t, session); n != held {
				t.Errorf("got %d images in the stats, want %d", n, held)
			}
			for i := range held {
				got := p.get(t, "/image/"+session).wantStatus(t, 200)
				if got.body != image || got.Header.Get("X-Sequence") != strconv.Itoa(i+1) ||
					got.Header.Get("X-Queue-Length") != strconv.Itoa(held-i-1) {
					t.Errorf("image %d of %d: got %d bytes, X-Sequence %s, X-Queue-Length %s", i+1, held,
						len(got.body), got.Header.Get("X-Sequence"), got.Header.Get("X-Queue-Length"))
				}
			}
			eventually(t, func() bool { // the bytes are freed a moment after they are delivered
				return p.do(t, "POST", "/image/"+session, strings.NewReader(image)).StatusCode == 200
			})
			if got := p.get(t, "/image/"+session); got.Header.Get("X-Sequence") != strconv.Itoa(held+1) {
				t.Errorf("got X-Sequence %s, want %d: a refused image has no number", got.Header.Get("X-Sequence"), held+1)
			}
		})
	}
}
