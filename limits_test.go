package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/relaytest"
)

// A session beyond the limit is refused with 429 and with when to try again. Sessions that hold images go on.
func TestTooManySessions(t *testing.T) {
	t.Parallel()
	p := startServer(t, "", "MAX_SESSIONS=2")
	for _, id := range []string{"a", "b"} {
		p.Do(t, "POST", "/image/"+id, sized("image")).WantStatus(t, 200)
	}
	for path, contentType := range map[string]string{"/image/c": "image/jpeg", "/imageForm/c": relaytest.FormType} {
		got := p.Do(t, "POST", path, sized(relaytest.Form("image")), "Content-Type: "+contentType)
		if got.WantStatus(t, http.StatusTooManyRequests).Header.Get("Retry-After") == "" {
			t.Errorf("%s: got no Retry-After", path)
		}
	}
	p.Do(t, "POST", "/stream/c", sized(relaytest.Part("image")), "Content-Type: multipart/mixed; boundary=b").
		WantIngested(t, relaytest.Ingested{Session: "c", Refused: 1})
	p.Do(t, "POST", "/image/b", sized("image")).WantStatus(t, 200)
	if n := p.StatsLen(t, "c"); n != 0 {
		t.Errorf("the refused session has %d images", n)
	}
}

// An answer of /stats lists one page of the sessions, with the totals of all of them.
func TestStatsPages(t *testing.T) {
	t.Parallel()
	const sessions = 1100
	s := newMemoryServer(t)
	for i := range sessions {
		s.PushImage(t, fmt.Sprintf("s%04d", i), "image")
	}
	for _, row := range []struct {
		query        string
		first, count int
	}{
		{"", 0, 1000},
		{"?limit=1000", 0, 1000},
		{"?offset=1000", 1000, 100},
		{"?offset=5&limit=3", 5, 3},
		{"?limit=0", 0, 0},
		{"?offset=1099", 1099, 1},
		{"?offset=1100", 0, 0},
		{"?offset=999999", 0, 0},
	} {
		var got struct {
			NumImages, NumSessions int
			Sessions               []queue.Session
		}
		if err := json.Unmarshal([]byte(s.Get(t, "/stats"+row.query).WantStatus(t, 200).Text), &got); err != nil {
			t.Fatal(err)
		}
		if got.NumImages != sessions || got.NumSessions != sessions ||
			len(got.Sessions) != row.count || got.Sessions == nil {
			t.Errorf("%s: got %d images, %d sessions, %d listed",
				row.query, got.NumImages, got.NumSessions, len(got.Sessions))
		}
		for i, listed := range got.Sessions {
			if want := fmt.Sprintf("s%04d", row.first+i); listed.ID != want || listed.Sent != 1 {
				t.Fatalf("%s, entry %d: got %+v, want %s", row.query, i, listed, want)
			}
		}
	}
	for _, query := range []string{
		"?offset=-1", "?offset=x", "?limit=1001", "?limit=-1", "?limit=1.5", "?limit=%2B5", "?offset=1_0", "?offset=0x1",
		"?offset=+5", "?limit=1e2",
	} {
		got := s.Get(t, "/stats"+query).WantStatus(t, 400)
		if !strings.Contains(got.Text, "allowed is a whole number from 0") {
			t.Errorf("%s: got %s", query, got.Text)
		}
	}
}
