package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// takeImages takes the tester's next images, in order.
func (s *site) takeImages(t testing.TB, session string, count int) (images []response) {
	t.Helper()
	eventually(t, func() bool {
		if got := s.get(t, "/image/"+session).wantStatus(t, 200); !got.isNoData() {
			images = append(images, got)
		}
		return len(images) == count
	})
	return images
}

func TestTesterSends(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		session := newSession()
		p := start(t, "tester", "TEST_URL=http://"+s.addr, "TEST_SESSION="+session, "TEST_INTERVAL=0.02",
			"NODATA_HEIGHT=90", "NODATA_ASPECT_RATIO=3/4")
		for i, got := range s.takeImages(t, session, 3) {
			if got.Header.Get("X-Sequence") != strconv.Itoa(i+1) || got.body != string(numberedJPEG(i+1, 120, 90)) {
				t.Errorf("image %d: got X-Sequence %s, %d bytes, want the picture of that number", i+1, got.Header.Get("X-Sequence"), len(got.body))
			}
		}
		p.log.await(t, "SESSION: "+session)
		p.stop()
		p.wantExit(t, 0, 5*time.Second)
	})
}

var loggedSession = regexp.MustCompile(`SESSION: ([A-Za-z0-9_-]{22,64})"`)

// With no session of its own the tester gets one, once the server is up.
func TestTesterWaitsForServer(t *testing.T) {
	t.Parallel()
	addr := "127.0.0.1:" + freePort()
	p := start(t, "tester", "TEST_URL=http://"+addr, "TEST_INTERVAL=0.02", "NODATA_HEIGHT=90")
	p.log.await(t, "trying again")

	var ln net.Listener
	eventually(t, func() (up bool) { // an outgoing connection may have the port for a moment
		var err error
		ln, err = net.Listen("tcp", addr)
		return err == nil
	})
	q := newMemoryQueue(time.Minute, 64<<20, time.Now)
	t.Cleanup(q.Close)
	srv := &http.Server{Handler: newServer(testConfig(t), q, newLogger(p.log, config{})).routes()}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })

	p.log.await(t, "SESSION: ")
	match := loggedSession.FindStringSubmatch(p.log.String())
	if match == nil {
		t.Fatalf("got log %s, want SESSION: and an id", p.log)
	}
	s := &site{addr: addr}
	for i, got := range s.takeImages(t, match[1], 3) {
		if want := strconv.Itoa(i + 1); got.Header.Get("X-Sequence") != want {
			t.Errorf("got X-Sequence %s, want %s", got.Header.Get("X-Sequence"), want)
		}
	}
	if n := strings.Count(p.log.String(), "SESSION: "); n != 1 {
		t.Errorf("got %d sessions, want one", n)
	}
}

// An image that was refused is sent again, not passed over; and a password in
// the URL stays out of the log.
func TestTesterRepeats(t *testing.T) {
	t.Parallel()
	var count atomic.Int32
	got := make(chan [32]byte, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		body.ReadFrom(r.Body)
		if user, password, _ := r.BasicAuth(); user != "u" || password != "hunter2" || r.URL.Path != "/relay/image/abc" {
			t.Errorf("got %s from %s, %s", r.URL.Path, user, password)
		}
		if count.Add(1) == 1 {
			http.Error(w, "not now", http.StatusInsufficientStorage)
			return
		}
		got <- sha256.Sum256(body.Bytes())
	}))
	defer srv.Close()
	url := strings.Replace(srv.URL, "http://", "http://u:hunter2@", 1) + "/relay/"
	p := start(t, "tester", "TEST_URL="+url, "TEST_SESSION=abc", "TEST_INTERVAL=0.02", "NODATA_HEIGHT=16")
	for number := 1; number <= 2; number++ {
		if <-got != sha256.Sum256(numberedJPEG(number, 28, 16)) {
			t.Errorf("got another image than %d", number)
		}
	}
	if log := p.log.String(); !strings.Contains(log, "507") || strings.Contains(log, "hunter2") {
		t.Errorf("got log %s, want the 507 and no password", log)
	}
}

// Where sending needs a key the tester has it: by the same secret for a session of
// its choice, and from the server for one that it asks for. Its log has neither.
func TestTesterSendsKey(t *testing.T) {
	t.Parallel()
	closed := []string{"SESSION_SECRET=" + testSecret, "REQUIRE_KEY=true", "PRIVATE=true", "OPERATOR_TOKEN=" + testToken}
	p, s := startServer(t, "", closed...), signer{testSecret}
	arrives := func(session string) {
		t.Helper()
		eventually(t, func() bool {
			got := p.get(t, "/image/"+session+"?nodata=404", "Authorization: Bearer "+testToken)
			return got.StatusCode == 200
		})
	}
	url := "TEST_URL=http://" + p.addr
	chosen := start(t, "tester", url, "TEST_SESSION=xyzabc", "SESSION_SECRET="+testSecret, "NODATA_HEIGHT=16")
	arrives("xyzabc")
	asking := start(t, "tester", url, "OPERATOR_TOKEN="+testToken, "SESSION_SECRET="+testSecret+", an old one", "NODATA_HEIGHT=16")
	asking.log.await(t, "SESSION: ")
	session := loggedSession.FindStringSubmatch(asking.log.String())[1]
	arrives(session)
	stranger := start(t, "tester", url, "TEST_SESSION=front", "NODATA_HEIGHT=16")
	stranger.log.await(t, "401")
	for _, log := range []string{chosen.log.String(), asking.log.String(), stranger.log.String()} {
		if containsAny(log, testSecret, testToken, s.key("xyzabc"), s.key(session), s.key("front")) {
			t.Errorf("got log %s, want no secrets", log)
		}
	}
}

// An answer of no use is not quoted: it may hold a key.
func TestTesterIsAnsweredNonsense(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(`{"session":"no id","key":"hunter2"}`))
	}))
	defer srv.Close()
	p := start(t, "tester", "TEST_URL="+srv.URL)
	p.log.await(t, "GET /session answered no session id")
	if strings.Contains(p.log.String(), "hunter2") {
		t.Errorf("got log %s, want no key", p.log)
	}
}

// What is told to stop while it waits stops at once.
func TestTesterStops(t *testing.T) {
	t.Parallel()
	p := start(t, "tester", "TEST_URL=http://127.0.0.1:1")
	p.log.await(t, "trying again")
	p.stop()
	p.wantExit(t, 0, time.Second)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := pause(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("pause: got error %v, want canceled", err)
	}
}

// The pictures have the size of the No Data image, differ, and show a number in
// the middle that stands out from its ground.
func TestNumberedPictures(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	var last color.Color
	for _, number := range []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 99, 100, 12345} {
		data := numberedJPEG(number, 160, 90)
		if before, ok := seen[string(data)]; ok {
			t.Errorf("%d and %d are the same picture", number, before)
		}
		seen[string(data)] = number
		picture := must(jpeg.Decode(bytes.NewReader(data)))(t)
		if size := picture.Bounds().Size(); size != image.Pt(160, 90) {
			t.Errorf("%d: got size %v, want 160 x 90", number, size)
		}
		corner := picture.At(2, 2)
		if last != nil && number < 12 && sameColor(corner, last) {
			t.Errorf("%d: its ground is like the one before: %v", number, corner)
		}
		last = corner
		if ink, brightest := inkOf(picture, luminance(corner)+0.2); (brightest+0.05)/(luminance(corner)+0.05) < 3 || ink.Dy() < 20 ||
			max(ink.Min.X-(160-ink.Max.X), (160-ink.Max.X)-ink.Min.X) > 8 {
			t.Errorf("%d: ink at %v, luminance %.2f on %.2f", number, ink, brightest, luminance(corner))
		}
	}
}

func sameColor(a, b color.Color) bool {
	var far uint32
	r, g, bl, _ := a.RGBA()
	r2, g2, b2, _ := b.RGBA()
	for _, pair := range [][2]uint32{{r, r2}, {g, g2}, {bl, b2}} {
		far = max(far, max(pair[0], pair[1])-min(pair[0], pair[1]))
	}
	return far < 0x1800
}
