package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// A request that a browser makes ahead of use pops nothing. It gets an error that is not kept, so that the browser asks
// again for the use.
func TestPrefetchPopsNothing(t *testing.T) {
	t.Parallel()
	s, id := newMemoryServer(t), session.New()
	s.PushImage(t, id, "image")
	for _, header := range []string{
		"Sec-Purpose: prefetch", "Sec-Purpose: prefetch;prerender", "Sec-Purpose: prefetch;anonymous-client-ip",
		"Sec-Purpose: Prefetch;Prerender", "Purpose: prefetch", "Purpose: preview", "X-Purpose: preview",
		"X-Moz: prefetch", "x-purpose: instant, PREVIEW",
	} {
		for _, query := range []string{"", "?wait=1", "?action=take", "?after=0", "?1595805826022"} {
			got := s.Get(t, "/image/"+id+query, header)
			if got.StatusCode != 403 || got.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s, %q: got status %d, Cache-Control %q, want an error that is not kept",
					header, query, got.StatusCode, got.Header.Get("Cache-Control"))
			}
		}
		s.Get(t, "/snapshot/"+id, header).WantStatus(t, 200) // it removes nothing
		s.Do(t, http.MethodHead, "/image/"+id, nil, header).WantStatus(t, 200)
	}
	got := s.Get(t, "/image/"+id, "Sec-Purpose: ", "Purpose: use", "X-Moz: ", "Sec-Fetch-Dest: image")
	if got.WantStatus(t, 200).Text != "image" {
		t.Errorf("got %q, want the image", got.Text)
	}
}

// A script of another origin that asks without CORS cannot read the answer, so it takes no image. An <img> is of the
// same mode and takes one. A browser that is too old to tell, or that speaks plain HTTP to another machine, tells
// nothing.
func TestOpaqueRequestsPopNothing(t *testing.T) {
	t.Parallel()
	for _, origins := range []string{"*", "https://a.example"} {
		for _, row := range []struct {
			site, mode, dest string
			want             int
		}{
			{"cross-site", "no-cors", "empty", 403},
			{"same-site", "no-cors", "empty", 403},
			{"cross-site", "no-cors", "image", 200},
			{"cross-site", "navigate", "document", 200},
			{"cross-site", "navigate", "iframe", 200},
			{"cross-site", "cors", "empty", 200},
			{"same-origin", "no-cors", "empty", 200},
			{"none", "navigate", "document", 200},
			{"", "", "", 200},
		} {
			s, id := newMemoryServer(t, "CORS_ORIGINS="+origins), session.New()
			headers := []string{"Sec-Fetch-Site: " + row.site, "Sec-Fetch-Mode: " + row.mode, "Sec-Fetch-Dest: " + row.dest}
			for _, target := range []string{"GET /image/%s", "GET /image/%s?wait=1", "GET /image/%s.jpg", "POST /image/%s/pop"} {
				s.PushImage(t, id, "image")
				method, path, _ := strings.Cut(fmt.Sprintf(target, id), " ")
				want := row.want
				if method == "POST" && row.site != "" && row.site != "same-origin" && row.site != "none" && origins != "*" {
					want = 403 // a page of another origin sends nothing
				}
				r := httptest.NewRequest(method, "http://127.0.0.1"+path, nil)
				if got := s.ask(t, r, headers...); got.StatusCode != want {
					t.Errorf("%s %v, CORS_ORIGINS=%s: got status %d, want %d", target, row, origins, got.StatusCode, want)
				}
				if n := s.Len(t, id); (n == 1) != (want == 403) {
					t.Errorf("%s %v, CORS_ORIGINS=%s: %d images are left, status %d", target, row, origins, n, want)
				}
				s.drain(t, id)
			}
			r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1/snapshot/"+id, nil) // it removes nothing
			if got := s.ask(t, r, headers...); got.StatusCode != 200 {
				t.Errorf("snapshot %v, CORS_ORIGINS=%s: got status %d", row, origins, got.StatusCode)
			}
		}
	}
}

// POST pops an image as GET does.
func TestPostPop(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		id := session.New()
		path := "/image/" + id + "/pop"
		for _, image := range []string{"first", "second", "third", "fourth"} {
			s.PushImage(t, id, image)
		}
		for i, row := range []struct {
			body  io.Reader
			query string
			want  string
		}{
			{nil, "", "first"},
			{sized("anything"), "?1595805826022", "second"},
			{relaytest.Chunked("{}"), "?wait=5", "third"},
			{http.NoBody, "?nodata=404", "fourth"},
		} {
			got := s.Do(t, "POST", path+row.query, row.body, "Sec-Purpose: use").WantStatus(t, 200)
			if got.Text != row.want || got.Header.Get("X-Sequence") != string(rune('1'+i)) ||
				got.Header.Get("Content-Type") != "image/jpeg" {
				t.Errorf("pop %d: got %q, headers %v, want %q", i+1, got.Text, got.Header, row.want)
			}
		}
		if got := s.Do(t, "POST", path+"?nodata=404", nil).WantStatus(t, 404); !got.IsNoData() {
			t.Errorf("got headers %v, want No Data", got.Header)
		}
		got := s.Do(t, "POST", path+"?after=2", nil).WantStatus(t, 200)
		if got.IsNoData() && got.Header.Get("X-Sequence") != "" {
			t.Errorf("got headers %v", got.Header)
		}
		s.Do(t, "POST", path+"?wait=no", nil).WantStatus(t, 400)
		s.Do(t, "POST", "/image/a%20b/pop", nil).WantStatus(t, 400)
		s.Do(t, "POST", path, sized(strings.Repeat("x", 65<<10))).WantStatus(t, 400)

		waited := s.DoLater(t, "POST", path+"?wait=60", sized("{}"))
		s.awaitViewers(t, 0, 1)
		s.PushImage(t, id, "fifth")
		if got, _ := waited.Answer(t); got.Text != "fifth" {
			t.Errorf("of waiting: got %q", got.Text)
		}
	})
}

// A client that hangs up while it waits costs no image, with a body as without.
func TestPostPopHangsUp(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		for _, body := range []string{
			"Content-Length: 2\r\n\r\n{}", "Content-Length: 0\r\n\r\n", "\r\n",
			"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		} {
			id := session.New()
			conn := s.Dial(t)
			request := "POST /image/" + id + "/pop?wait=60 HTTP/1.1\r\nHost: x\r\n" + body
			testkit.Must(io.WriteString(conn, request))(t)
			s.awaitViewers(t, 0, 1)
			conn.Close()
			s.awaitViewers(t, 0, 0)
			s.PushImage(t, id, "image")
			time.Sleep(100 * time.Millisecond) // a consumer that is gone would be woken now
			if got := s.Get(t, "/image/"+id).WantStatus(t, 200); got.Text != "image" {
				t.Errorf("%q: got %q, want the image", body, got.Text)
			}
		}
	})
}

// readDeadlines records the read deadlines that a handler sets.
type readDeadlines struct {
	connection
	set []time.Time
}

func (d *readDeadlines) SetReadDeadline(at time.Time) error {
	d.set = append(d.set, at)
	return nil
}

// The deadline for a body does not bound the wait, which may be longer.
func TestPostPopWaitsWithoutDeadline(t *testing.T) {
	t.Parallel()
	s := newMemoryServer(t)
	s.PushImage(t, "x", "image")
	w := &readDeadlines{connection: connection{httptest.NewRecorder()}}
	r := httptest.NewRequest("POST", "/image/x/pop?wait=50", strings.NewReader("{}"))
	s.server.routes().ServeHTTP(w, r)
	if w.Code != 200 || len(w.set) < 2 || w.set[0].IsZero() || !w.set[1].IsZero() {
		t.Errorf("got status %d and deadlines %v, want one for the body and then none for the wait", w.Code, w.set)
	}
}
