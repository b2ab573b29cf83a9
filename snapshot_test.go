package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// wantAlike checks an image, or for "" No Data, that GET and HEAD answer alike.
func (s *site) wantAlike(t testing.TB, path, image string, sequence, left int) {
	t.Helper()
	got := s.get(t, path).wantStatus(t, 200)
	head := s.do(t, http.MethodHead, path, nil).wantStatus(t, 200)
	want := map[string]string{
		"Content-Type": "image/webp", "Content-Length": strconv.Itoa(len(image)), "X-No-Data": "",
		"X-Sequence": strconv.Itoa(sequence), "X-Queue-Length": strconv.Itoa(left), "X-Timestamp": head.Header.Get("X-Timestamp"),
	}
	if image == "" {
		image = string(noDataPNG(160, 90))
		want = map[string]string{
			"Content-Type": "image/png", "Content-Length": strconv.Itoa(len(image)), "X-No-Data": "true",
			"X-Sequence": "", "X-Queue-Length": "0", "X-Timestamp": "",
		}
	}
	if got.body != image || head.body != "" {
		t.Errorf("%s: got %.99q, and %q by HEAD, want %.99q", path, got.body, head.body, image)
	}
	for name, want := range want {
		if got, head := got.Header.Get(name), head.Header.Get(name); got != want || head != want {
			t.Errorf("%s: got %s %q, and %q by HEAD, want %q", path, name, got, head, want)
		}
	}
}

// The newest image, also when it was popped, for as long as it lives; under every
// name that viewers know it by.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		session := newSession()
		want := func(image string, sequence int) {
			t.Helper()
			for _, path := range []string{
				"/snapshot/%s", "/snapshot/%s.jpg", "/snapshot/%s.jpg?cacheBust=1595805826022", "/stream/%s?action=snapshot",
				"/stream/%s?action=snapshot&max_age=60&_cb=1",
			} {
				s.wantAlike(t, fmt.Sprintf(path, session), image, sequence, 0)
			}
		}
		want("", 0)
		s.push(t, session, "first")
		want("first", 1)
		s.push(t, session, "second")
		want("second", 2)
		if n := s.length(t, session); n != 2 {
			t.Errorf("%d images are left, want 2", n)
		}
		s.take(t, session)
		want("second", 2)
		if got := s.get(t, "/image/"+session); got.body != "second" {
			t.Errorf("got %q from the queue", got.body)
		}
		want("second", 2)
		s.wantEmpty(t, session)
		want("second", 2)
		s.elapse(s.ttl)
		want("", 0)
	}, "MIMETYPE=image/webp", "EXPIRE=2")
}

func TestSnapshotMaxAge(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		session := newSession()
		path := func(age string) string { return "/snapshot/" + session + "?max_age=" + age }
		s.push(t, session, "old")
		s.elapse(time.Second)
		s.wantAlike(t, path("0.9"), "", 0, 0)
		s.wantAlike(t, path("0"), "", 0, 0)
		s.get(t, path("0.9&nodata=503")).wantStatus(t, 503)
		s.wantAlike(t, path("30"), "old", 1, 0)
		s.wantAlike(t, path("1000000000"), "old", 1, 0)
		s.take(t, session)
		s.wantAlike(t, path("0.9"), "", 0, 0)
		s.wantAlike(t, path("30"), "old", 1, 0)
		s.push(t, session, "new")
		s.wantAlike(t, path("0.9"), "new", 2, 0)
	}, "MIMETYPE=image/webp")
}

// With wait a snapshot is the next image; with max_age too it is the present one
// when that is young enough.
func TestSnapshotWait(t *testing.T) {
	t.Parallel()
	onLiveSites(t, func(t *testing.T, s *liveSite) {
		session, took, pushed := newSession(), delays{}, 0
		next := func(path string) {
			t.Helper()
			answer := s.later(t, fmt.Sprintf(path, session))
			eventually(t, func() bool { return s.watching(session) == 1 })
			time.Sleep(100 * time.Millisecond) // it knows by then what the present image is
			pushed++
			begun := time.Now()
			s.push(t, session, fmt.Sprint("image ", pushed))
			got, at := answered(t, answer)
			took = append(took, at.Sub(begun))
			if got.body != fmt.Sprint("image ", pushed) || got.Header.Get("X-Sequence") != strconv.Itoa(pushed) {
				t.Errorf("%s: got %.99q, X-Sequence %s, want image %d", path, got.body, got.Header.Get("X-Sequence"), pushed)
			}
			s.elapse(5 * time.Millisecond)
		}
		next("/snapshot/%s?wait=10")
		next("/snapshot/%s?wait=10")
		next("/snapshot/%s.jpg?wait=10&max_age=0")
		next("/stream/%s?action=snapshot&wait=10&max_age=0.001")
		s.take(t, session)
		next("/snapshot/%s?wait=10")
		took.want(t, "push to waiting snapshot", atOnce, noPoll)

		begun := time.Now()
		got := s.get(t, "/snapshot/"+session+"?wait=10&max_age=60").wantStatus(t, 200)
		if got.body != fmt.Sprint("image ", pushed) || time.Since(begun) > 5*time.Second {
			t.Errorf("got %.99q after %s, want the present image at once", got.body, time.Since(begun))
		}
		if n := s.length(t, session); n != pushed-1 {
			t.Errorf("%d images are left, want %d", n, pushed-1)
		}
		eventually(t, func() bool { return s.watching(session) == 0 })
	})
}

// after is a reader's place: the oldest image behind it, which stays. A place
// ahead of the session's sequence is one of a session that began again.
func TestAfter(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		session := newSession()
		path := func(place string) string { return "/image/" + session + "?after=" + place }
		s.wantAlike(t, path("0"), "", 0, 0)
		for i := range 4 {
			s.push(t, session, fmt.Sprint("image ", i+1))
		}
		for range 2 {
			s.wantAlike(t, path("0"), "image 1", 1, 3)
			s.wantAlike(t, path("2&_cb=1"), "image 3", 3, 1)
			s.wantAlike(t, path("3&wait=9"), "image 4", 4, 0)
			s.wantAlike(t, path("4"), "", 0, 0)
			s.wantAlike(t, path("5"), "image 1", 1, 3)
			s.wantAlike(t, path("4611686018427387903&wait=9"), "image 1", 1, 3)
		}
		if n := s.length(t, session); n != 4 {
			t.Errorf("%d images are left, want 4", n)
		}
		s.take(t, session)
		s.wantAlike(t, path("0"), "image 2", 2, 2)
		s.wantAlike(t, path("9"), "image 2", 2, 2)
		for range 3 {
			s.take(t, session)
		}
		s.wantAlike(t, path("1"), "image 4", 4, 0) // the newest, although it was popped
		s.wantAlike(t, path("4"), "", 0, 0)
	}, "MIMETYPE=image/webp")
}

// Each reader keeps its own place, takes nothing away, and sees every image once
// and in order while more come.
func TestAfterReadsEverything(t *testing.T) {
	t.Parallel()
	onLiveSites(t, func(t *testing.T, s *liveSite) {
		const readers, images = 12, 80
		session := newSession()
		seen := make([][]string, readers)
		var reading sync.WaitGroup
		for i := range readers {
			reading.Go(func() {
				for place, quiet := 0, 0; place < images && quiet < 3; {
					r := <-s.later(t, fmt.Sprintf("/image/%s?after=%d&wait=3&_cb=%d", session, place, i))
					if r.err != nil || r.StatusCode != 200 || r.Header.Get("X-No-Data") != "" {
						quiet++
						continue
					}
					body, _ := io.ReadAll(r.Body)
					seen[i] = append(seen[i], string(body))
					place, _ = strconv.Atoi(r.Header.Get("X-Sequence"))
				}
			})
		}
		var want []string
		for i := range images {
			want = append(want, fmt.Sprint("image ", i+1))
			s.push(t, session, want[i])
			time.Sleep(time.Duration(i%5) * 2 * time.Millisecond)
		}
		reading.Wait()
		for i, got := range seen {
			if !slices.Equal(got, want) {
				t.Errorf("reader %d: got %d images, %.2000q", i, len(got), got)
			}
		}
		if n := s.length(t, session); n != images {
			t.Errorf("%d images are left, want all %d", n, images)
		}
		if n := s.watching(session); n > 0 {
			t.Errorf("%d readers are left", n)
		}
	})
}

func TestAfterWaits(t *testing.T) {
	t.Parallel()
	onLiveSites(t, func(t *testing.T, s *liveSite) {
		session, took := newSession(), delays{}
		for i := range 10 {
			var answers []<-chan reply
			for range 3 {
				answers = append(answers, s.later(t, fmt.Sprintf("/image/%s?after=%d&wait=10", session, i)))
			}
			eventually(t, func() bool { return s.watching(session) == len(answers) })
			begun := time.Now()
			s.push(t, session, fmt.Sprint("image ", i+1))
			for _, answer := range answers {
				got, at := answered(t, answer)
				took = append(took, at.Sub(begun))
				if got.body != fmt.Sprint("image ", i+1) || got.Header.Get("X-Sequence") != strconv.Itoa(i+1) {
					t.Errorf("after %d: got %.99q, X-Sequence %s", i, got.body, got.Header.Get("X-Sequence"))
				}
			}
			eventually(t, func() bool { return s.watching(session) == 0 })
		}
		took.want(t, "push to reader that waits", atOnce, noPoll)
	})
}

// The setting and the request choose the status of an answer without an image. Its
// body is the picture all the same, but for the status that has none.
func TestNoDataStatus(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		setting, query string
		status         int
	}{
		{"", "", 200},
		{"404", "", 404},
		{"503", "", 503},
		{"204", "", 204},
		{"599", "", 599},
		{"", "nodata=404", 404},
		{"404", "nodata=200", 200},
		{"204", "nodata=503", 503},
		{"", "nodata=204", 204},
		{"503", "nodata=", 400},
		{"", "nodata=302", 400},
		{"", "nodata=0", 400},
	} {
		t.Run(row.setting+" "+row.query, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, testConfig(t, "NODATA_STATUS="+row.setting), memoryFixture(t, time.Minute))
			s.push(t, "x", "image")
			for _, path := range []string{
				"/image/empty?", "/image/empty?wait=0.01&", "/image/empty?after=0&", "/image/x?after=1&wait=0.01&",
				"/snapshot/empty?", "/snapshot/empty.jpg?max_age=9&wait=0.01&", "/stream/empty?action=snapshot&",
			} {
				got := s.get(t, path+row.query).wantStatus(t, row.status)
				head := s.do(t, http.MethodHead, path+row.query, nil).wantStatus(t, row.status)
				if row.status == 400 {
					continue
				}
				body, kind := string(noDataPNG(160, 90)), "image/png"
				if row.status == 204 {
					body, kind = "", ""
				}
				if got.body != body || got.Header.Get("Content-Type") != kind || head.Header.Get("Content-Type") != kind {
					t.Errorf("%s: got %.20q, Content-Type %q, and %q by HEAD", path, got.body, got.Header.Get("Content-Type"), head.Header.Get("Content-Type"))
				}
				if !got.isNoData() || !head.isNoData() || got.Header.Get("Retry-After") != "" {
					t.Errorf("%s: got headers %v, and %v by HEAD", path, got.Header, head.Header)
				}
			}
			if row.status != 400 {
				s.get(t, "/snapshot/x?"+row.query).wantStatus(t, 200)
				s.get(t, "/image/x?"+row.query).wantStatus(t, 200)
			}
		})
	}
}

// A value that is not allowed is refused with what is, on every route, and takes
// nothing.
func TestBadParameters(t *testing.T) {
	t.Parallel()
	s := newSite(t, testConfig(t), memoryFixture(t, time.Minute)) // no engine is asked
	s.push(t, "x", "image")
	for name, values := range map[string][]string{
		"wait":    {"", "x", "-1", "NaN", "Inf", "1e10", "1s", "1,5", "0x"},
		"after":   {"", "x", "-1", "1.5", "1e3", "4611686018427387904", "+1", "%201"},
		"max_age": {"", "x", "-0.1", "NaN", "1e10", "2m"},
		"nodata":  {"", "x", "199", "600", "301", "205", "206", "200.0"},
		"fps":     {"", "x", "0", "-5", "0.009", "1001", "NaN", "30fps"},
	} {
		for _, value := range values {
			decoded := must(url.QueryUnescape(value))(t)
			for _, path := range []string{
				"/image/x?", "/snapshot/x?", "/snapshot/x.jpg?_cb=1&", "/stream/x?", "/stream/x?action=snapshot&", "/stream/x?action=stream&",
			} {
				got := s.get(t, path+name+"="+value).wantStatus(t, 400)
				if want := name + "=" + decoded + ": allowed is a "; !strings.Contains(got.body, want) {
					t.Errorf("%s%s=%s: got %s, want %q in it", path, name, value, got.body, want)
				}
				s.do(t, http.MethodHead, path+name+"="+value, nil).wantStatus(t, 400)
			}
		}
	}
	if n := s.length(t, "x"); n != 1 {
		t.Errorf("%d images are left, want 1", n)
	}
}

func TestUnknownParameters(t *testing.T) {
	t.Parallel()
	s := newSite(t, testConfig(t), memoryFixture(t, time.Minute))
	for _, query := range append(slices.Clone(cacheBusters), "?cacheBust=1", "?bypassCache=x&timestamp=y", "?Wait=x&WAIT=x&timeout=-1",
		"?after[]=x&nodata;=1", "?_cb=1;wait=x", "?action=nonsense", "?wait&=x&fps=30", "?%zz=1&max_age=%zz") {
		if strings.HasPrefix(query, "?wait&") {
			s.get(t, "/image/x"+query).wantStatus(t, 400) // a known one without a value
			continue
		}
		s.push(t, "x", "image")
		s.watch(t, "/stream/x"+query).want(t, "image")
		for _, path := range []string{"/snapshot/x", "/image/x"} {
			if got := s.get(t, path+query).wantStatus(t, 200); got.body != "image" {
				t.Errorf("%s%s: got %.99q", path, query, got.body)
			}
		}
	}
}

func TestWaitIsBounded(t *testing.T) {
	t.Parallel()
	s := newServer(testConfig(t), nil, nil)
	for value, want := range map[string]time.Duration{
		"0": 0, "0.25": 250 * time.Millisecond, "59.5": 59500 * time.Millisecond, "60": time.Minute,
		"60.001": time.Minute, "61": time.Minute, "3600": time.Minute, "1e9": time.Minute,
	} {
		q, err := s.readingOf(httptest.NewRequest("GET", "/image/x?wait="+value, nil))
		if err != nil || q.wait != want {
			t.Errorf("wait=%s: got %s, error %v, want %s", value, q.wait, err, want)
		}
	}
}

// The routes of viewers take the same session ids as all others.
func TestBadSessionOfViewer(t *testing.T) {
	t.Parallel()
	s := newSite(t, testConfig(t), memoryFixture(t, time.Minute)) // no engine is asked
	for path, status := range map[string]int{
		"/stream/a.b": 400, "/stream/a%20b": 400, "/stream/x.jpg": 400, "/stream/": 400, "/stream/a.b?action=snapshot": 400,
		"/stream/" + strings.Repeat("a", 65): 400, "/snapshot/a.b": 400, "/snapshot/a.b.jpg": 400, "/snapshot/.jpg": 400,
		"/snapshot/x.png": 400, "/snapshot/x.jpg.jpg": 400, "/snapshot/%2e%2e": 400, "/snapshot/": 400,
		"/stream": 404, "/snapshot": 404, "/stream/x/y": 404, "/snapshot/x/": 404, "/snapshot.jpg": 404,
	} {
		s.get(t, path).wantStatus(t, status)
		s.do(t, http.MethodHead, path, nil).wantStatus(t, status)
	}
}
