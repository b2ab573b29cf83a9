package main

import (
	"image"
	"image/jpeg"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// popImages pops the next images of a session, once they have come.
func (s *testServer) popImages(t testing.TB, id string, count int) (images []relaytest.Response) {
	t.Helper()
	testkit.Eventually(t, func() bool {
		if got := s.Get(t, "/image/"+id).WantStatus(t, 200); !got.IsNoData() {
			images = append(images, got)
		}
		return len(images) == count
	})
	return images
}

// The command sends pictures of the size of the No Data image, in order. Each has another number on it.
func TestTesterSends(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		id := session.New()
		p := start(t, "tester", "TEST_URL=http://"+s.Addr, "TEST_SESSION="+id, "TEST_INTERVAL=0.02",
			"NODATA_HEIGHT=90", "NODATA_ASPECT_RATIO=3/4")
		before := ""
		for i, got := range s.popImages(t, id, 3) {
			size := testkit.Must(jpeg.Decode(strings.NewReader(got.Text)))(t).Bounds().Size()
			sequence := got.Header.Get("X-Sequence")
			if sequence != strconv.Itoa(i+1) || size != image.Pt(120, 90) || got.Text == before {
				t.Errorf("image %d: got X-Sequence %s, size %v, want 120 x 90 and another picture than before",
					i+1, sequence, size)
			}
			before = got.Text
		}
		p.log.Await(t, "SESSION: "+id)
		p.stop()
		p.wantExit(t, 0, time.Minute)
	})
}

var loggedSession = regexp.MustCompile(`SESSION: ([A-Za-z0-9_-]{22,64})"`)

// awaitSession waits until a tester has a session, and returns the id.
func (p *program) awaitSession(t testing.TB) string {
	t.Helper()
	p.log.Await(t, "SESSION: ")
	match := loggedSession.FindStringSubmatch(p.log.String())
	if match == nil {
		t.Fatalf("got log %s, want SESSION: and an id", p.log)
	}
	return match[1]
}

// Without a session in its settings the command asks the server for one as soon as the server is up.
func TestTesterWaitsForServer(t *testing.T) {
	t.Parallel()
	addr := "127.0.0.1:" + redistest.FreePort()
	p := start(t, "tester", "TEST_URL=http://"+addr, "TEST_INTERVAL=0.02", "NODATA_HEIGHT=90")
	p.log.Await(t, "trying again")

	var ln net.Listener
	testkit.Eventually(t, func() bool { // an outgoing connection may have the port for a moment
		var err error
		ln, err = net.Listen("tcp", addr)
		return err == nil
	})
	s := newMemoryServer(t)
	late := &http.Server{Handler: s.server.routes()}
	go late.Serve(ln)
	t.Cleanup(func() { late.Close() })

	for i, got := range s.popImages(t, p.awaitSession(t), 3) {
		if want := strconv.Itoa(i + 1); got.Header.Get("X-Sequence") != want {
			t.Errorf("got X-Sequence %s, want %s", got.Header.Get("X-Sequence"), want)
		}
	}
	if n := strings.Count(p.log.String(), "SESSION: "); n != 1 {
		t.Errorf("got %d sessions, want one", n)
	}
}

// Where the server requires a key, the command has it: by the same secret for a session of its settings, and from the
// server for a session that it asked for. No key is in its log.
func TestTesterSendsKey(t *testing.T) {
	t.Parallel()
	p := startServer(t, "",
		"SESSION_SECRET="+testSecret, "REQUIRE_KEY=true", "PRIVATE=true", "OPERATOR_TOKEN="+testToken)
	arrives := func(id string) {
		t.Helper()
		testkit.Eventually(t, func() bool {
			got := p.Get(t, "/image/"+id+"?nodata=404", "Authorization: Bearer "+testToken)
			return got.StatusCode == 200
		})
	}
	tester := func(vars ...string) *program {
		return start(t, "tester", append(vars, "TEST_URL=http://"+p.Addr, "NODATA_HEIGHT=16")...)
	}
	chosen := tester("TEST_SESSION=xyzabc", "SESSION_SECRET="+testSecret)
	arrives("xyzabc")
	asking := tester("OPERATOR_TOKEN="+testToken, "SESSION_SECRET="+testSecret+", an old one")
	id := asking.awaitSession(t)
	arrives(id)
	stranger := tester("TEST_SESSION=front")
	stranger.log.Await(t, "401")
	signer := session.NewSigner(testSecret)
	for _, log := range []string{chosen.log.String(), asking.log.String(), stranger.log.String()} {
		if containsAny(log, testSecret, testToken, signer.Key("xyzabc"), signer.Key(id), signer.Key("front")) {
			t.Errorf("got log %s, want no secrets", log)
		}
	}
}
