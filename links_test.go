package main

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// linked returns what the server reads of a link, which a query may be added to.
func linked(link, path string) *http.Request {
	_, query, _ := strings.Cut(link, "?")
	r := asked(path, nil)
	r.URL.RawQuery = query
	return r
}

func TestLinks(t *testing.T) {
	t.Parallel()
	const path = "/stream/front"
	s, expiry := signer{testSecret}, time.Unix(1767225600, 0)
	link := s.link(path, expiry)
	signature := link[strings.Index(link, "&signature=")+len("&signature="):]
	for _, query := range []string{"", "&1595805826022", "&_cb=1", "&a=%zz;&=&session=other", "&wait=5&fps=2&after=7", "&expires=1&signature=x"} {
		if got, err := s.expiryOf(linked(link+query, path)); err != nil || !got.Equal(expiry) {
			t.Errorf("with %q: got %s, error %v, want %s", query, got, err, expiry)
		}
	}
	refused := func(name string, r *http.Request, s signer) {
		if got, err := s.expiryOf(r); err == nil {
			t.Errorf("%s: %s?%s passes until %s", name, r.URL.Path, r.URL.RawQuery, got)
		}
	}
	for _, other := range changes(signature) {
		if other != signature {
			refused("signature", asked(path, url.Values{"expires": {"1767225600"}, "signature": {other}}), s)
		}
	}
	for _, other := range changes("1767225600") {
		if other != "1767225600" {
			refused("expiry", asked(path, url.Values{"expires": {other}, "signature": {signature}}), s)
		}
	}
	for _, other := range []string{"/stream/fronT", "/stream/front/", "/stream/fron", "/image/front", "/snapshot/front", "/stream/front.jpg", "/image/front/pop", "/", ""} {
		refused("path", linked(link, other), s)
	}
	refused("secret", linked(link, path), signer{"another secret of the tests"})
	refused("signed as a key", asked(path, url.Values{"expires": {"1767225600"}, "signature": {s.sign(useKey, path+"\n1767225600")}}), s)
}

// A number that is written in an odd way is refused even where it is signed so.
func TestLinkExpiryHasOneForm(t *testing.T) {
	t.Parallel()
	s := signer{testSecret}
	for _, expires := range []string{
		"", "-1", "+1767225600", "01767225600", "1767225600.0", "1767225600 ", " 1767225600", "1_767_225_600", "0x6955B900", "1e10",
		"100000000000", "9223372036854775807", "9223372036854775808", "99999999999999999999999999", "١٧", "never", "-0", "1767225600\n1", "\x00",
	} {
		r := asked("/stream/front", url.Values{"expires": {expires}, "signature": {s.sign(useLink, "/stream/front\n"+expires)}})
		if got, err := s.expiryOf(r); err == nil {
			t.Errorf("%q: passes until %s", expires, got)
		}
	}
	last := time.Unix(99_999_999_999, 0)
	if got, err := s.expiryOf(linked(s.link("/stream/front", last), "/stream/front")); err != nil || !got.Equal(last) {
		t.Errorf("of the last second: got %s, error %v", got, err)
	}
}

// A link is good until its second begins, and then no more.
func TestLinkExpires(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, "SESSION_SECRET="+testSecret, "PRIVATE=true")
	end := time.Unix(1767225600, 0)
	for _, path := range []string{"/image/front", "/image/front/pop", "/snapshot/front", "/snapshot/front.jpg", "/stream/front"} {
		_, query, _ := strings.Cut(g.server.signer.link(path, end), "?")
		for _, row := range []struct {
			at   time.Time
			want int
		}{
			{end.Add(-time.Hour), 200},
			{end.Add(-time.Second), 200},
			{end, 403},
			{end.Add(time.Nanosecond), 403},
			{end.Add(time.Hour), 403},
		} {
			g.clock.Store(row.at.UnixNano())
			method := map[bool]string{true: "POST", false: "GET"}[strings.HasSuffix(path, "/pop")]
			if got := g.status(t, method, path, query); got != row.want {
				t.Errorf("%s at %s: got status %d, want %d", path, row.at, got, row.want)
			}
		}
	}
}

// A stream ends with the link that opened it.
func TestStreamEndsWithItsLink(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, "SESSION_SECRET="+testSecret)
	g.push(t, "front", string(numberedJPEG(1, 16, 16)))
	end := g.server.now().Truncate(time.Second).Add(time.Hour)
	_, query, _ := strings.Cut(g.server.signer.link("/stream/front", end), "?")
	g.clock.Store(end.Add(-300 * time.Millisecond).UnixNano())
	begun := time.Now()
	resp := must(http.Get("http://" + g.addr + "/stream/front?" + query))(t)
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if took := time.Since(begun); took < 200*time.Millisecond || took > 3*time.Second || !bytes.Contains(body, numberedJPEG(1, 16, 16)) {
		t.Errorf("got %d bytes in %s, want a picture and an end after 300 ms", len(body), took)
	}
}

// Each path needs a link of its own.
func TestLinkIsForOnePath(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, "SESSION_SECRET="+testSecret, "PRIVATE=true")
	paths := []string{"/image/a", "/image/b", "/image/a/pop", "/snapshot/a", "/snapshot/a.jpg", "/stream/a"}
	for _, of := range paths {
		for _, path := range paths {
			want := map[bool]int{true: 200, false: 401}[of == path]
			method := map[bool]string{true: "POST", false: "GET"}[strings.HasSuffix(path, "/pop")]
			if got := g.status(t, method, path, g.signed(of, time.Hour)); got != want {
				t.Errorf("link of %s at %s: got status %d, want %d", of, path, got, want)
			}
		}
	}
}
