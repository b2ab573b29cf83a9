package main

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMetricsCountViewers(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		session := newSession()
		s.push(t, session, "first")
		metrics := func(what string, want float64) func() bool {
			return func() bool {
				name, labels, _ := strings.Cut(what, " ")
				return s.scrape(t).value(t, name, strings.Fields(labels)...) == want
			}
		}
		var conns []net.Conn
		for _, path := range []string{
			"/stream/" + session, "/stream/" + session + "?fps=1000",
			"/snapshot/" + session + "?wait=60", "/image/" + session + "?after=1&wait=60", "/image/" + newSession() + "?wait=60",
		} {
			conn := s.dial(t)
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
			conns = append(conns, conn)
		}
		eventually(t, metrics("viewers", 2))
		eventually(t, metrics("waiting_readers", 3))
		eventually(t, metrics("viewer_frames_total", 2))
		time.Sleep(repeatAfter + repeatAfter/2) // the frame is sent again
		s.scrape(t).want(t, map[string]float64{"viewers": 2, "waiting_readers": 3, "viewer_frames_total": 2, "viewer_skipped_frames_total": 0})
		for _, conn := range conns {
			conn.Close()
		}
		eventually(t, metrics("viewers", 0))
		eventually(t, metrics("waiting_readers", 0))
		eventually(t, metrics("http_requests_total route=/stream/{session} status=200", 2))
	})
}

// A viewer that wants one frame in two seconds misses those between.
func TestMetricsCountSkippedFrames(t *testing.T) {
	t.Parallel()
	s := newSite(t, testConfig(t), memoryFixture(t, time.Minute))
	session := newSession()
	s.push(t, session, "first")
	conn := s.dial(t)
	fmt.Fprintf(conn, "GET /stream/%s?fps=2 HTTP/1.1\r\nHost: x\r\n\r\n", session)
	eventually(t, func() bool { return s.scrape(t).value(t, "viewer_frames_total") == 1 })
	for range 5 {
		s.push(t, session, "more")
	}
	eventually(t, func() bool { return s.scrape(t).value(t, "viewer_frames_total") >= 2 })
	eventually(t, func() bool {
		m := s.scrape(t)
		return m.value(t, "viewer_frames_total")+m.value(t, "viewer_skipped_frames_total") == 6
	})
	if got := s.scrape(t).value(t, "viewer_skipped_frames_total"); got < 3 {
		t.Errorf("got %g frames skipped of 5 in half a second", got)
	}
}

func TestMetricsCountUploads(t *testing.T) {
	t.Parallel()
	s := newSite(t, testConfig(t), memoryFixture(t, time.Minute))
	conn := s.dial(t)
	fmt.Fprint(conn, "POST /image/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nfirst")
	eventually(t, func() bool {
		return s.scrape(t).value(t, "uploads") == 1 && s.scrape(t).value(t, "upload_bytes") == 1000
	})
	fmt.Fprint(conn, strings.Repeat("x", 1000-len("first")))
	eventually(t, func() bool { return s.scrape(t).value(t, "uploads") == 0 && s.scrape(t).value(t, "upload_bytes") == 0 })
}

func TestMetricsCountRequests(t *testing.T) {
	t.Parallel()
	s := newSite(t, testConfig(t, "NODATA_STATUS=418"), memoryFixture(t, time.Minute))
	for _, row := range []struct {
		method, path string
		status       int
		series       string
	}{
		{"POST", "/image/x", 200, "route=/image/{session} method=POST status=200"},
		{"GET", "/image/x", 200, "route=/image/{session} method=GET status=200"},
		{"HEAD", "/image/x", 418, "route=/image/{session} method=HEAD status=418"},
		{"HEAD", "/stats", 200, "route=/stats method=HEAD status=200"},
		{"GET", "/image/x", 418, "route=/image/{session} method=GET status=418"},
		{"GET", "/image/x?nodata=451", 451, "route=/image/{session} method=GET status=other"},
		{"GET", "/image/x?nodata=599", 599, "route=/image/{session} method=GET status=other"},
		{"GET", "/image/x?nodata=204", 204, "route=/image/{session} method=GET status=204"},
		{"OPTIONS", "/image/x", 204, "route=/image/{session} method=OPTIONS status=204"},
		{"MKCOL", "/image/x", 405, "route=/image/{session} method=other status=405"},
		{"GET", "/image/x%20y", 400, "route=/image/{session} method=GET status=400"},
		{"GET", "/nothing/here", 404, "route=/ method=GET status=404"},
		{"GET", "//image/x", 404, "route=/ method=GET status=404"},
		{"GET", "/snapshot/x.jpg", 200, "route=/snapshot/{session} method=GET status=200"},
	} {
		counted := func() (requests, durations float64) {
			m := s.scrape(t)
			labels := strings.Fields(row.series)
			return m.value(t, "http_requests_total", labels...), m.value(t, "http_request_duration_seconds", labels...)
		}
		requests, durations := counted()
		s.do(t, row.method, row.path, strings.NewReader("image")).wantStatus(t, row.status)
		eventually(t, func() bool { // it is counted behind its answer
			r, d := counted()
			return r == requests+1 && d == durations+1
		})
	}
}

// What a rejection is counted as, the table of README has too.
func TestMetricsKnowStatuses(t *testing.T) {
	t.Parallel()
	readme := string(must(os.ReadFile("README.md"))(t))
	_, table, _ := strings.Cut(readme, "\n| status | when |\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	documented := regexp.MustCompile(`(?m)^\| ([0-9, ]+) \|`).FindAllStringSubmatch(table, -1)
	if len(documented) < 8 {
		t.Fatalf("README: found statuses %q", documented)
	}
	for _, row := range documented {
		for status := range strings.SplitSeq(row[1], ", ") {
			if !slices.Contains(rejections, status) {
				t.Errorf("status %s: its requests are counted as other", status)
			}
		}
	}
}
