package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

const (
	testSecret = "a secret of the tests"
	testToken  = "a token of the operator's"
)

const idCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// changes returns every text that differs from one in a single character, and some
// that differ in their length.
func changes(s string) (others []string) {
	for i := range s {
		for _, c := range idCharacters + "=+/. " {
			if rune(s[i]) != c {
				others = append(others, s[:i]+string(c)+s[i+1:])
			}
		}
		others = append(others, s[:i], s[:i]+s[i+1:], s[:i]+s[i:i+1]+s[i:])
	}
	return append(others, s+"A", s+"=", "A"+s, s+s, strings.ToLower(s), strings.ToUpper(s))
}

// asked returns a request as the server sees it.
func asked(path string, query url.Values, headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.URL = &url.URL{Path: path, RawQuery: query.Encode()}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	return r
}

// Others make keys and links with the tools they have. These are of openssl:
// printf 'key\nfront' | openssl dgst -sha256 -hmac SECRET -binary | basenc --base64url
func TestSignedAsDocumented(t *testing.T) {
	t.Parallel()
	s := signer{testSecret}
	for _, row := range []struct{ got, want string }{
		{s.tag("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), "FVaHSTf8LgP83WtD1Xl5Vfq3"},
		{s.key("front"), "GvOxCOfgae8FW-mKu5tA0UMOgEBOV1d8pfO1GJeoBlM"},
		{s.link("/stream/front", time.Unix(1767225600, 0)), "/stream/front?expires=1767225600&signature=sC-_G5xPosoKs02HQftJuTAs9kqKqAlCD_Vah1o9ykE"},
	} {
		if row.got != row.want {
			t.Errorf("got %s, want %s", row.got, row.want)
		}
	}
}

func TestIssuedIDs(t *testing.T) {
	t.Parallel()
	s := signer{testSecret}
	id := s.newSession()
	if !s.issued(id) || !validSession(id) || s.newSession() == id {
		t.Fatalf("%q: issued %v, valid %v", id, s.issued(id), validSession(id))
	}
	for _, other := range changes(id) {
		if other != id && s.issued(other) {
			t.Errorf("%s passes for %s", other, id)
		}
	}
	if (signer{"another secret of the tests"}).issued(id) {
		t.Error("an id passes with another secret")
	}
	random := id[:randomLength]
	for name, other := range map[string]string{
		"unsigned": newSession(), "no signature": random, "empty": "", "signed as a key": random + s.key(random)[:tagLength],
		"signed as a link": random + s.sign(useLink, random)[:tagLength], "a longer signature": random + s.sign(useSession, random)[:38],
	} {
		if s.issued(other) {
			t.Errorf("%s: %q passes", name, other)
		}
	}
	if plain := (signer{}); plain.exists() || len(plain.newSession()) != randomLength {
		t.Error("without a secret an id is signed")
	}
}

func TestPublishKeys(t *testing.T) {
	t.Parallel()
	srv := &server{signer: signer{testSecret}}
	key := srv.signer.key("front")
	has := func(key string) bool {
		return srv.hasKey(asked("/", url.Values{"key": {key}}), "front") || srv.hasKey(asked("/", nil, "Authorization: Bearer "+key), "front")
	}
	if !has(key) || !sessionForm.MatchString(key) {
		t.Errorf("%s is no key of its session, or not for a URL", key)
	}
	for _, other := range changes(key) {
		if other != key && has(other) {
			t.Errorf("%q passes for %s", other, key)
		}
	}
	for name, other := range map[string]string{
		"of another session": srv.signer.key("Front"), "of another secret": signer{"another secret of the tests"}.key("front"),
		"signed as an id": srv.signer.sign(useSession, "front"), "signed as a link": srv.signer.sign(useLink, "front"),
		"of no secret": signer{}.key("front"), "the secret": testSecret, "the session": "front", "empty": "",
	} {
		if has(other) {
			t.Errorf("%s: %q passes", name, other)
		}
	}
}

// FuzzSigned holds that nothing passes for signed but what was signed, letter by
// letter.
func FuzzSigned(f *testing.F) {
	s := signer{testSecret}
	id := s.newSession()
	f.Add(id, "/stream/front", "1767225600", s.sign(useLink, "/stream/front\n1767225600"))
	f.Add(id[:49]+"-", "/stream/front\n1767225600", "", s.sign(useLink, "/stream/front\n1767225600"))
	f.Add("", "", "", "")
	f.Add(id+id, "/image/a", "01", s.sign(useLink, "/image/a\n01"))
	f.Add(s.key("front"), "/", "-1", s.key("/\n-1"))
	f.Fuzz(func(t *testing.T, id, path, expires, signature string) {
		if s.issued(id) && (!validSession(id) || id != id[:randomLength]+s.tag(id[:randomLength])) {
			t.Errorf("%q passes for issued", id)
		}
		r := asked(path, url.Values{"expires": {expires}, "signature": {signature}})
		expiry, err := s.expiryOf(r)
		if err != nil {
			return
		}
		if want := path + "?expires=" + expires + "&signature=" + signature; s.link(path, expiry) != want {
			t.Errorf("%q passes for the link %q", want, s.link(path, expiry))
		}
	})
}
