package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// What browsers ask for ahead of use takes nothing, and is asked for again.
func TestPrefetchTakesNothing(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	session := newSession()
	g.push(t, session, "image")
	for _, header := range []string{
		"Sec-Purpose: prefetch", "Sec-Purpose: prefetch;prerender", "Sec-Purpose: prefetch;anonymous-client-ip", "Sec-Purpose: Prefetch;Prerender",
		"Purpose: prefetch", "Purpose: preview", "X-Purpose: preview", "X-Moz: prefetch", "x-purpose: instant, PREVIEW",
	} {
		for _, query := range []string{"", "?wait=1", "?action=take", "?after=0", "?1595805826022"} {
			if got := g.get(t, "/image/"+session+query, header); got.StatusCode != 403 || got.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s, %q: got status %d, Cache-Control %q, want an error that is not kept", header, query, got.StatusCode, got.Header.Get("Cache-Control"))
			}
		}
		g.get(t, "/snapshot/"+session, header).wantStatus(t, 200) // it removes nothing
		g.do(t, http.MethodHead, "/image/"+session, nil, header).wantStatus(t, 200)
	}
	got := g.get(t, "/image/"+session, "Sec-Purpose: ", "Purpose: use", "X-Moz: ", "Sec-Fetch-Dest: image").wantStatus(t, 200)
	if got.body != "image" {
		t.Errorf("got %q, want the image", got.body)
	}
}

// POST takes an image as GET does.
func TestTake(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		session := newSession()
		path := "/image/" + session + "/pop"
		for _, body := range []string{"first", "second", "third", "fourth"} {
			s.push(t, session, body)
		}
		for i, row := range []struct {
			body  io.Reader
			query string
			want  string
		}{
			{nil, "", "first"},
			{strings.NewReader("anything"), "?1595805826022", "second"},
			{chunked("{}"), "?wait=5", "third"},
			{http.NoBody, "?nodata=404", "fourth"},
		} {
			got := s.do(t, "POST", path+row.query, row.body, "Sec-Purpose: use").wantStatus(t, 200)
			if got.body != row.want || got.Header.Get("X-Sequence") != string(rune('1'+i)) || got.Header.Get("Content-Type") != "image/jpeg" {
				t.Errorf("take %d: got %q, headers %v, want %q", i+1, got.body, got.Header, row.want)
			}
		}
		if got := s.do(t, "POST", path+"?nodata=404", nil).wantStatus(t, 404); !got.isNoData() {
			t.Errorf("got headers %v, want No Data", got.Header)
		}
		if got := s.do(t, "POST", path+"?after=2", nil).wantStatus(t, 200); got.isNoData() && got.Header.Get("X-Sequence") != "" {
			t.Errorf("got headers %v", got.Header)
		}
		s.do(t, "POST", path+"?wait=no", nil).wantStatus(t, 400)
		s.do(t, "POST", "/image/a%20b/pop", nil).wantStatus(t, 400)
		s.do(t, "POST", path, strings.NewReader(strings.Repeat("x", 65<<10))).wantStatus(t, 400)

		waited := make(chan response, 1)
		go func() { waited <- s.do(t, "POST", path+"?wait=20", strings.NewReader("{}")) }()
		time.Sleep(100 * time.Millisecond) // it waits: nothing outside shows that
		s.push(t, session, "fifth")
		if got := <-waited; got.body != "fifth" {
			t.Errorf("of waiting: got %q", got.body)
		}
	})
}

// Who hangs up while it waits costs no image, with a body as without.
func TestTakeHangsUp(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		for _, body := range []string{"Content-Length: 2\r\n\r\n{}", "Content-Length: 0\r\n\r\n", "\r\n", "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"} {
			session := newSession()
			conn := s.dial(t)
			must(io.WriteString(conn, "POST /image/"+session+"/pop?wait=20 HTTP/1.1\r\nHost: x\r\n"+body))(t)
			time.Sleep(100 * time.Millisecond)
			conn.Close()
			time.Sleep(100 * time.Millisecond) // a consumer that is gone would be called now
			s.push(t, session, "image")
			time.Sleep(100 * time.Millisecond)
			if got := s.get(t, "/image/"+session).wantStatus(t, 200); got.body != "image" {
				t.Errorf("%q: got %q, want the image", body, got.body)
			}
		}
	})
}

// deadlines notes what a handler asks of the connection.
type deadlines struct {
	recorder
	read []time.Time
}

func (d *deadlines) SetReadDeadline(at time.Time) error {
	d.read = append(d.read, at)
	return nil
}

// The time for a body is not the time for the wait: that may be longer.
func TestTakeWaitsWithoutDeadline(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	g.push(t, "x", "image")
	w := &deadlines{recorder: recorder{httptest.NewRecorder()}}
	g.server.routes().ServeHTTP(w, httptest.NewRequest("POST", "/image/x/pop?wait=50", strings.NewReader("{}")))
	if w.Code != 200 || len(w.read) < 2 || w.read[0].IsZero() || !w.read[1].IsZero() {
		t.Errorf("got status %d and deadlines %v, want one for the body and then none for the wait", w.Code, w.read)
	}
}
