package main

import (
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// The server accepts the keys and links that the commands print.
func TestKeyAndLink(t *testing.T) {
	t.Parallel()
	g := newAccessServer(t, "SESSION_SECRET="+testSecret, "REQUIRE_KEY=true", "PRIVATE=true")
	print := func(args ...string) string {
		var stdout, stderr testkit.Log
		status := run(t.Context(), args, vary("SESSION_SECRET="+testSecret), &stdout, &stderr)
		if status != 0 || stderr.String() != "" {
			t.Fatalf("%v: got status %d, %s", args, status, &stderr)
		}
		return strings.TrimSuffix(stdout.String(), "\n")
	}
	key := print("key", "front")
	g.Do(t, "POST", "/image/front", strings.NewReader("image"), "Authorization: Bearer "+key).WantStatus(t, 200)
	for _, path := range []string{
		"/image/front/pop", "/image/front", "/snapshot/front", "/snapshot/front.jpg",
		"/stream/front", "/Stream/front.mjpeg/",
	} {
		link := print("link", path, "1h")
		bare, query, _ := strings.Cut(link, "?")
		method := map[bool]string{true: "POST", false: "GET"}[strings.HasSuffix(path, "/pop")]
		if got := g.status(t, method, bare, query); got != 200 || bare != path {
			t.Errorf("%s: got status %d, want 200", link, got)
		}
	}
	for duration, want := range map[string]time.Duration{
		"1s": time.Second, "90s": 90 * time.Second, "1h30m": 90 * time.Minute, "7d": 7 * day, "1d12h": 36 * time.Hour,
		"0.5h": 30 * time.Minute, "1d0s": day, "3650d": 3650 * day, "87600h": 3650 * day,
	} {
		before := time.Now()
		query := testkit.Must(url.ParseQuery(strings.Split(print("link", "/stream/front", duration), "?")[1]))(t)
		expires := time.Unix(testkit.Must(strconv.ParseInt(query.Get("expires"), 10, 64))(t), 0)
		if early, late := expires.Sub(before), time.Until(expires); early < want || late > want+time.Second {
			t.Errorf("%s: expires in %s, want %s", duration, early, want)
		}
	}
}

func TestKeyAndLinkMisused(t *testing.T) {
	t.Parallel()
	const (
		path = "allowed are /image/{session}, /image/{session}/pop, /snapshot/{session} " +
			"and /stream/{session}, with a session id of"
		duration = "allowed is a duration from 1s to 3650d, such as 90s, 12h, 7d or 1d12h"
	)
	for _, row := range []struct {
		args   []string
		stderr string
	}{
		{[]string{"key"}, `key "": allowed is one session id, 1 to 64 of the characters`},
		{[]string{"key", "a b"}, `key "a b": allowed is one session id`},
		{[]string{"key", ""}, "allowed is one session id"},
		{[]string{"key", "front.jpg"}, `key "front.jpg": allowed is one session id`},
		{[]string{"key", ".."}, "allowed is one session id"},
		{[]string{"key", strings.Repeat("a", 65)}, "allowed is one session id"},
		{[]string{"key", "a", "b"}, `key "a b": allowed is one session id`},
		{[]string{"key front"}, `no program "key front"`},
		{[]string{"keys", "front"}, `no program "keys front"`},
		{[]string{"link"}, `link "": allowed are a path and a duration`},
		{[]string{"link", "/stream/front"}, "allowed are a path and a duration"},
		{[]string{"link", "/stream/front", "1h", "2h"}, "allowed are a path and a duration"},
		{[]string{"link", "/imageForm/front", "1h"}, `link of "/imageForm/front": ` + path},
		{[]string{"link", "stream/front", "1h"}, path},
		{[]string{"link", "/stream/a b", "1h"}, path},
		{[]string{"link", "/stream/" + strings.Repeat("a", 65), "1h"}, path},
		{[]string{"link", "/stream/", "1h"}, path},
		{[]string{"link", "/stream/front?fps=5", "1h"}, "parameters go behind the link, with &"},
		{[]string{"link", "/stream/front.jpg.jpg", "1h"}, path},
		{[]string{"link", "/stream/.jpg", "1h"}, path},
		{[]string{"link", "", "1h"}, path},
		{[]string{"link", "//stream/front", "1h"}, path},
		{[]string{"link", "/snapshot/front/pop", "1h"}, path},
		{[]string{"link", "/stats", "1h"}, path},
		{[]string{"link", "http://localhost/stream/front", "1h"}, path},
		{[]string{"link", "/stream/front\n", "1h"}, path},
		{[]string{"link", "/stream/front", ""}, duration},
		{[]string{"link", "/stream/front", "0s"}, duration},
		{[]string{"link", "/stream/front", "999ms"}, duration},
		{[]string{"link", "/stream/front", "0d"}, duration},
		{[]string{"link", "/stream/front", "-1h"}, duration},
		{[]string{"link", "/stream/front", "-1d"}, duration},
		{[]string{"link", "/stream/front", "2d-1h"}, duration},
		{[]string{"link", "/stream/front", "d"}, duration},
		{[]string{"link", "/stream/front", "1.5d"}, duration},
		{[]string{"link", "/stream/front", "7"}, duration},
		{[]string{"link", "/stream/front", "3651d"}, duration},
		{[]string{"link", "/stream/front", "3650d1s"}, duration},
		{[]string{"link", "/stream/front", "87601h"}, duration},
		{[]string{"link", "/stream/front", "99999999999999999999d"}, duration},
		{[]string{"link", "/stream/front", "1w"}, duration},
		{[]string{"link", "/stream/front", "1h2d"}, duration},
	} {
		var stdout, stderr testkit.Log
		status := run(t.Context(), row.args, vary("SESSION_SECRET="+testSecret), &stdout, &stderr)
		got := stderr.String()
		if status != 2 || stdout.String() != "" || !strings.Contains(got, row.stderr) || strings.Count(got, "\n") != 1 {
			t.Errorf("%q: got status %d, %q, %q, want 2 and %q", row.args, status, stdout.String(), got, row.stderr)
		}
	}
	for _, args := range [][]string{{"key", "front"}, {"link", "/stream/front", "1h"}} {
		var stdout, stderr testkit.Log
		const want = "SESSION_SECRET is empty: allowed is at least 16 characters"
		status := run(t.Context(), args, vary(), &stdout, &stderr)
		if status != 2 || !strings.Contains(stderr.String(), want) {
			t.Errorf("%v without a secret: got status %d, %q", args, status, stderr.String())
		}
	}
}
