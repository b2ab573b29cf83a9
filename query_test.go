package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// The setting and the request choose the status of an answer without an image. Its body is the No Data image all the
// same, except for the status that has no body.
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
			s := newMemoryServer(t, "NODATA_STATUS="+row.setting)
			s.PushImage(t, "x", "image")
			for _, path := range []string{
				"/image/empty?", "/image/empty?wait=0.01&", "/image/empty?after=0&", "/image/x?after=1&wait=0.01&",
				"/snapshot/empty?", "/snapshot/empty.jpg?max_age=9&wait=0.01&", "/stream/empty?action=snapshot&",
			} {
				s.wantNoDataStatus(t, path+row.query, row.status)
			}
			if row.status != 400 {
				s.Get(t, "/snapshot/x?"+row.query).WantStatus(t, 200)
				s.Get(t, "/image/x?"+row.query).WantStatus(t, 200)
			}
		})
	}
}

// wantNoDataStatus checks the status of the answers to GET and HEAD, and that they are No Data unless it is 400.
func (s *testServer) wantNoDataStatus(t testing.TB, path string, status int) {
	t.Helper()
	got := s.Get(t, path).WantStatus(t, status)
	head := s.Do(t, http.MethodHead, path, nil).WantStatus(t, status)
	if status == 400 {
		return
	}
	body, kind := noDataAt(path)
	if status == 204 {
		body, kind = "", ""
	}
	gotKind, headKind := got.Header.Get("Content-Type"), head.Header.Get("Content-Type")
	if got.Text != body || gotKind != kind || headKind != kind {
		t.Errorf("%s: got %.20q, Content-Type %q, and %q by HEAD", path, got.Text, gotKind, headKind)
	}
	if !got.IsNoData() || !head.IsNoData() || got.Header.Get("Retry-After") != "" {
		t.Errorf("%s: got headers %v, and %v by HEAD", path, got.Header, head.Header)
	}
}

// A value that is not allowed is refused together with what is allowed, on every route, and takes nothing.
func TestBadParameters(t *testing.T) {
	t.Parallel()
	s := newMemoryServer(t) // the queue is not asked
	s.PushImage(t, "x", "image")
	for name, values := range map[string][]string{
		"wait":    {"", "x", "-1", "NaN", "Inf", "1e1", "1s", "1,5", "0x", "0x1", "1_0", "%2B5", "+5", "5+", "5."},
		"after":   {"", "x", "-1", "1.5", "1e3", "4611686018427387904", "+1", "%2B1", "1_0", "0x1"},
		"max_age": {"", "x", "-0.1", "NaN", "1e1", "2m", "1_0", "%2B5", "5."},
		"nodata":  {"", "x", "199", "600", "301", "205", "206", "200.0", "%2B404", "4_04", "404+"},
		"fps":     {"", "x", "0", "-5", "0.009", "1001", "NaN", "30fps", "0x1p4", "1_0", "1e1", "%2B5", "+5", "5."},
	} {
		for _, value := range values {
			decoded := testkit.Must(url.QueryUnescape(value))(t)
			for _, path := range []string{
				"/image/x?", "/snapshot/x?", "/snapshot/x.jpg?_cb=1&",
				"/stream/x?", "/stream/x?action=snapshot&", "/stream/x?action=stream&",
			} {
				got := s.Get(t, path+name+"="+value).WantStatus(t, 400)
				if want := name + "=" + decoded + ": allowed is a "; !strings.Contains(got.Text, want) {
					t.Errorf("%s%s=%s: got %s, want %q in it", path, name, value, got.Text, want)
				}
				s.Do(t, http.MethodHead, path+name+"="+value, nil).WantStatus(t, 400)
			}
		}
	}
	if n := s.Len(t, "x"); n != 1 {
		t.Errorf("%d images are left, want 1", n)
	}
}

// Parameters that are not known, and malformed ones, are ignored.
func TestUnknownParameters(t *testing.T) {
	t.Parallel()
	s := newMemoryServer(t)
	for _, query := range append(slices.Clone(cacheBusters), "?cacheBust=1", "?bypassCache=x&timestamp=y",
		"?Wait=x&WAIT=x&timeout=-1", "?after[]=x&nodata;=1", "?_cb=1;wait=x", "?action=nonsense",
		"?%zz=1&max_age=%zz") {
		s.PushImage(t, "x", "image")
		s.Watch(t, "/stream/x"+query).Want(t, "image")
		for _, path := range []string{"/snapshot/x", "/image/x"} {
			if got := s.Get(t, path+query).WantStatus(t, 200); got.Text != "image" {
				t.Errorf("%s%s: got %.99q", path, query, got.Text)
			}
		}
	}
	s.Get(t, "/image/x?wait&=x&fps=30").WantStatus(t, 400) // a known one without a value
}

func TestWaitIsBounded(t *testing.T) {
	t.Parallel()
	s := newMemoryServer(t).server
	for value, want := range map[string]time.Duration{
		"0": 0, "0.25": 250 * time.Millisecond, "59.5": 59500 * time.Millisecond, "60": time.Minute,
		"60.001": time.Minute, "61": time.Minute, "3600": time.Minute, "1000000000": time.Minute,
	} {
		q, err := s.parseQuery(httptest.NewRequest("GET", "/image/x?wait="+value, nil))
		if err != nil || q.wait != want {
			t.Errorf("wait=%s: got %s, error %v, want %s", value, q.wait, err, want)
		}
	}
}

// The routes of viewers take the same session ids as all others.
func TestBadSessionOfViewer(t *testing.T) {
	t.Parallel()
	s := newMemoryServer(t) // the queue is not asked
	for path, status := range map[string]int{
		"/stream/a+b": 400, "/stream/a%20b": 400, "/stream/x.jpg.jpg": 400, "/stream/": 400,
		"/stream/a+b?action=snapshot": 400, "/stream/" + strings.Repeat("a", 65): 400,
		"/snapshot/a+b": 400, "/snapshot/a+b.jpg": 400, "/snapshot/.jpg": 400, "/snapshot/..jpg": 400,
		"/snapshot/x.jpg.jpg": 400, "/snapshot/%2e%2e": 400, "/snapshot/": 400,
		"/stream": 404, "/snapshot": 404, "/stream/x/y": 404, "/snapshot/x//": 404, "/snapshot.jpg": 404,
	} {
		s.Get(t, path).WantStatus(t, status)
		s.Do(t, http.MethodHead, path, nil).WantStatus(t, status)
	}
}
