package session

import (
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestLinks(t *testing.T) {
	t.Parallel()
	const path = "/stream/front"
	s, expiry := NewSigner(testSecret), time.Unix(1767225600, 0)
	link := s.Link(path, expiry)
	signature := link[strings.Index(link, "&signature=")+len("&signature="):]
	for _, query := range []string{
		"", "&1595805826022", "&_cb=1", "&a=%zz;&=&session=other", "&wait=5&fps=2&after=7", "&expires=1&signature=x",
	} {
		if got, err := s.LinkExpiry(path, queryOf(link+query)); err != nil || !got.Equal(expiry) {
			t.Errorf("with %q: got %s, error %v, want %s", query, got, err, expiry)
		}
	}
	refused := func(name, path string, query url.Values, s Signer) {
		if got, err := s.LinkExpiry(path, query); err != errNoLink {
			t.Errorf("%s: %s?%s passes until %s, error %v", name, path, query.Encode(), got, err)
		}
	}
	for _, other := range changes(signature) {
		if other != signature {
			refused("signature", path, linkQuery("1767225600", other), s)
		}
	}
	for _, other := range changes("1767225600") {
		if other != "1767225600" {
			refused("expiry", path, linkQuery(other, signature), s)
		}
	}
	for _, other := range []string{
		"/stream/fronT", "/stream/front/", "/stream/fron", "/image/front", "/snapshot/front", "/stream/front.jpg",
		"/image/front/pop", "/", "",
	} {
		refused("path", other, queryOf(link), s)
	}
	refused("secret", path, queryOf(link), NewSigner(otherSecret))
	refused("signed as a key", path, linkQuery("1767225600", s.sign(purposeKey, path+"\n1767225600")), s)
}

// An expiry that is not written in the one allowed way is refused, even if the signature fits it.
func TestLinkExpiryHasOneForm(t *testing.T) {
	t.Parallel()
	s := NewSigner(testSecret)
	for _, expires := range []string{
		"", "-1", "+1767225600", "01767225600", "1767225600.0", "1767225600 ", " 1767225600", "1_767_225_600", "0x6955B900",
		"1e10", "100000000000", "9223372036854775807", "9223372036854775808", "99999999999999999999999999", "١٧", "never",
		"-0", "1767225600\n1", "\x00",
	} {
		signature := s.sign(purposeLink, "/stream/front\n"+expires)
		if got, err := s.LinkExpiry("/stream/front", linkQuery(expires, signature)); err == nil {
			t.Errorf("%q: passes until %s", expires, got)
		}
	}
	last := time.Unix(99_999_999_999, 0)
	got, err := s.LinkExpiry("/stream/front", queryOf(s.Link("/stream/front", last)))
	if err != nil || !got.Equal(last) {
		t.Errorf("of the last second: got %s, error %v", got, err)
	}
}
