package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// liveSite is a site with its server at hand, to know who waits and who watches.
type liveSite struct {
	*site
	server *server
}

// onLiveSites is onSites for tests about those who wait.
func onLiveSites(t *testing.T, test func(t *testing.T, s *liveSite), vars ...string) {
	cfg := testConfig(t, vars...)
	for _, name := range []string{"memory", "redis"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newLiveSite(t, cfg, engines[name](t, cfg.expire)))
		})
	}
}

func newLiveSite(t testing.TB, cfg config, f *fixture) *liveSite {
	t.Helper()
	s := newServer(cfg, f, slog.New(slog.DiscardHandler))
	listener := httptest.NewUnstartedServer(s.routes())
	listener.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, conn)
	}
	listener.Start()
	t.Cleanup(listener.Close)
	return &liveSite{&site{f, listener.Listener.Addr().String()}, s}
}

// waiting returns how many consumers stand in line for a session.
func (s *liveSite) waiting(session string) int {
	s.server.lines.mu.Lock()
	defer s.server.lines.mu.Unlock()
	l := s.server.lines.all[session]
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}

// watching returns how many viewers and waiting readers a session has.
func (s *liveSite) watching(session string) int {
	s.server.feeds.mu.Lock()
	defer s.server.feeds.mu.Unlock()
	if f := s.server.feeds.all[session]; f != nil {
		return f.viewers
	}
	return 0
}

// reply is the answer to a request that waits.
type reply struct {
	*http.Response
	err error
	at  time.Time
}

// later sends a request in the background.
func (s *site) later(t testing.TB, path string) <-chan reply {
	t.Helper()
	req := must(http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.addr+path, nil))(t)
	answer := make(chan reply, 1)
	go func() {
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err == nil {
			var body []byte
			body, err = io.ReadAll(resp.Body)
			resp.Body.Close()
			resp.Body = io.NopCloser(bytes.NewReader(body))
		}
		answer <- reply{resp, err, time.Now()}
	}()
	return answer
}

// answered waits for the answer to later, which has to keep the rules for all.
func answered(t testing.TB, answer <-chan reply) (response, time.Time) {
	t.Helper()
	select {
	case r := <-answer:
		return received(t, must(r.Response, r.err)(t), http.MethodGet), r.at
	case <-time.After(15 * time.Second):
		t.Fatal("no answer within 15 s")
		panic("not reached")
	}
}

// delays is how long things took.
type delays []time.Duration

// want checks that things took no longer than they may, half of them and all.
func (d delays) want(t testing.TB, what string, half, all time.Duration) {
	t.Helper()
	slices.Sort(d)
	median, worst := d[len(d)/2], d[len(d)-1]
	t.Logf("%s: median %s, worst %s of %d", what, median, worst, len(d))
	if median > half || worst > all {
		t.Errorf("%s: took %s, want at most %s for half of them and %s for all", what, d, half, all)
	}
}

// Who is told of an image has it at once; on a busy machine at least sooner than by
// the next poll, a second after the last one.
const (
	atOnce = 200 * time.Millisecond
	noPoll = 800 * time.Millisecond
)

func TestWaitAnswersAtOnce(t *testing.T) {
	t.Parallel()
	onLiveSites(t, func(t *testing.T, s *liveSite) {
		session, took := newSession(), delays{}
		for i := range 20 {
			answer := s.later(t, "/image/"+session+"?wait=10")
			eventually(t, func() bool { return s.waiting(session) == 1 })
			image := fmt.Sprint("image ", i+1)
			begun := time.Now()
			s.push(t, session, image)
			got, at := answered(t, answer)
			took = append(took, at.Sub(begun))
			if got.body != image || got.Header.Get("X-Sequence") != strconv.Itoa(i+1) || got.Header.Get("X-Queue-Length") != "0" {
				t.Errorf("got %q, headers %v, want %q", got.body, got.Header, image)
			}
		}
		took.want(t, "push to waiting consumer", atOnce, noPoll)
		if s.waiting(session) > 0 || s.length(t, session) > 0 {
			t.Errorf("%d wait, %d images are left", s.waiting(session), s.length(t, session))
		}
	})
}

// A consumer waits at one server for what is pushed to another, and a viewer sees
// it there too.
func TestWaitAcrossServers(t *testing.T) {
	t.Parallel()
	addr := useRedis(t).addr
	in, out := startServer(t, "", "REDIS_HOST="+addr), startServer(t, "", "REDIS_HOST="+addr)
	session, took, shown := newSession(), delays{}, delays{}
	v := out.watch(t, "/stream/"+session)
	for i := range 20 {
		answer := out.later(t, "/image/"+session+"?wait=10")
		time.Sleep(30 * time.Millisecond) // it waits by then: if not, the image waits
		begun := time.Now()
		in.do(t, "POST", "/image/"+session, strings.NewReader(fmt.Sprint("image ", i))).wantStatus(t, 200)
		got, at := answered(t, answer)
		took = append(took, at.Sub(begun))
		if got.body != fmt.Sprint("image ", i) {
			t.Errorf("got %q, want image %d", got.body, i)
		}
		shown = append(shown, v.want(t, fmt.Sprint("image ", i)).at.Sub(begun))
	}
	took.want(t, "POST to waiting consumer of another server", atOnce, noPoll)
	shown.want(t, "POST to viewer of another server", atOnce, noPoll)
}

// Who waits for nothing gets No Data when the time is over, and at once without
// a wait.
func TestWaitEnds(t *testing.T) {
	t.Parallel()
	onLiveSites(t, func(t *testing.T, s *liveSite) {
		full, empty := newSession(), newSession()
		s.push(t, full, "present")
		const wait = 400 * time.Millisecond
		rows := []struct {
			path, session string
			least         time.Duration
		}{
			{"/image/%s?wait=0.4", empty, wait},
			{"/image/%s?wait=0.4&after=0", empty, wait},
			{"/image/%s?wait=0.4&after=1", full, wait},
			{"/snapshot/%s?wait=0.4", empty, wait},
			{"/snapshot/%s?wait=0.4", full, wait},
			{"/snapshot/%s?wait=0.4&max_age=9", empty, wait},
			{"/image/%s?wait=0", empty, 0},
			{"/image/%s?after=7", empty, 0},
			{"/snapshot/%s", empty, 0},
			{"/snapshot/%s?wait=0&max_age=1", empty, 0},
		}
		begun := time.Now()
		var answers []<-chan reply
		for _, row := range rows {
			answers = append(answers, s.later(t, fmt.Sprintf(row.path, row.session)))
		}
		for i, row := range rows {
			got, at := answered(t, answers[i])
			if took := at.Sub(begun); took < row.least || took > row.least+1500*time.Millisecond {
				t.Errorf("%s: answered after %s, want about %s", row.path, took, row.least)
			}
			if got.StatusCode != 200 || !got.isNoData() {
				t.Errorf("%s: got status %d, %.99q, want No Data", row.path, got.StatusCode, got.body)
			}
		}
	})
}

// Those who wait for one session get an image each, who came first first.
func TestWaitInLine(t *testing.T) {
	t.Parallel()
	onLiveSites(t, func(t *testing.T, s *liveSite) {
		session := newSession()
		line := func(places int) (answers []<-chan reply) {
			for i := range places {
				answers = append(answers, s.later(t, "/image/"+session+"?wait=10"))
				eventually(t, func() bool { return s.waiting(session) == i+1 })
			}
			return answers
		}
		for i, answer := range line(8) {
			s.push(t, session, fmt.Sprint("one by one: ", i))
			if got, _ := answered(t, answer); got.body != fmt.Sprint("one by one: ", i) {
				t.Errorf("place %d: got %q", i, got.body)
			}
		}
		took := delays{}
		for range 12 {
			answers, seen := line(8), map[string]int{}
			begun := time.Now()
			for i := range answers {
				s.push(t, session, fmt.Sprint("all at once: ", i))
			}
			for _, answer := range answers {
				got, at := answered(t, answer)
				took = append(took, at.Sub(begun))
				seen[got.body]++
			}
			if len(seen) != len(answers) || s.length(t, session) > 0 {
				t.Errorf("got %v, and %d left, want %d images once each", seen, s.length(t, session), len(answers))
			}
			eventually(t, func() bool { return s.waiting(session) == 0 })
		}
		took.want(t, "8 pushes to 8 who wait", atOnce, noPoll)
	})
}

// A consumer that hangs up while it waits costs no image.
func TestWaitHangsUp(t *testing.T) {
	t.Parallel()
	onLiveSites(t, func(t *testing.T, s *liveSite) {
		session := newSession()
		for i := range 40 {
			conn := s.dial(t)
			fmt.Fprintf(conn, "GET /image/%s?wait=10 HTTP/1.1\r\nHost: x\r\n\r\n", session)
			eventually(t, func() bool { return s.waiting(session) == 1 })
			conn.Close()
			eventually(t, func() bool { return s.waiting(session) == 0 })
			image := fmt.Sprint("image ", i)
			s.do(t, "POST", "/image/"+session, strings.NewReader(image)).wantStatus(t, 200)
			if got := s.get(t, "/image/"+session); got.body != image {
				t.Errorf("round %d: got %.99q, want %q", i, got.body, image)
			}
		}
	})
}

// An image that comes back is for the first who waits, at once.
func TestWaitForPutBack(t *testing.T) {
	t.Parallel()
	onLiveSites(t, func(t *testing.T, s *liveSite) {
		took := delays{}
		for range 5 {
			session := newSession()
			s.push(t, session, "image")
			held := must(s.Pop(t.Context(), session))(t)
			answer := s.later(t, "/image/"+session+"?wait=10")
			eventually(t, func() bool { return s.waiting(session) == 1 })
			time.Sleep(20 * time.Millisecond) // it has found nothing
			begun := time.Now()
			s.Settle(held, false)
			got, at := answered(t, answer)
			took = append(took, at.Sub(begun))
			if got.body != "image" || got.Header.Get("X-Sequence") != "1" {
				t.Errorf("got %q, X-Sequence %s", got.body, got.Header.Get("X-Sequence"))
			}
		}
		took.want(t, "put back to waiting consumer", atOnce, noPoll)
	})
}

// onPrograms runs a test on the whole program, with the embedded queue and on Redis.
func onPrograms(t *testing.T, test func(t *testing.T, p *program), vars ...string) {
	for name, redisHost := range map[string]func() string{
		"embedded": func() string { return "" },
		"redis":    func() string { return useRedis(t).addr },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, startServer(t, "", append([]string{"REDIS_HOST=" + redisHost()}, vars...)...))
		})
	}
}

// SIGTERM: who waits gets No Data, a stream ends behind a whole frame, and the
// program ends soon, with status 0.
func TestStopEndsWaiting(t *testing.T) {
	t.Parallel()
	onPrograms(t, func(t *testing.T, p *program) {
		session, image := newSession(), strings.Repeat("\x00image\xff", 20<<10)
		var answers []<-chan reply
		for _, path := range []string{
			"/image/%s?wait=30", "/image/%s?wait=30", "/image/%s?wait=30&after=0", "/snapshot/%s?wait=30",
		} {
			answers = append(answers, p.later(t, fmt.Sprintf(path, newSession())))
		}
		var screens []*screen
		for range 3 {
			screens = append(screens, p.watch(t, "/stream/"+session))
		}
		pushed := inBackground(t, 3*time.Millisecond, func() {
			if resp, err := http.Post("http://"+p.addr+"/image/"+session, "", strings.NewReader(image)); err == nil {
				resp.Body.Close()
			}
		})
		time.Sleep(200 * time.Millisecond) // all of them wait: nothing outside shows that
		p.stop()
		for _, answer := range answers {
			if got, _ := answered(t, answer); got.StatusCode != 200 || !got.isNoData() {
				t.Errorf("who waited: got status %d, %.99q, want No Data", got.StatusCode, got.body)
			}
		}
		for _, v := range screens {
			frames, err := 0, error(nil)
			for ; err == nil; frames++ {
				_, err = v.next()
			}
			if err != io.EOF || frames < 3 {
				t.Errorf("a stream ended with %v after %d frames, want a clean end after some", err, frames)
			}
		}
		p.wantExit(t, 0, 2*time.Second)
		pushed()
	})
}
