package session

import (
	"testing"
	"time"
)

// Other programs make keys and links with the tools they have. These are made by openssl:
// printf 'key\nfront' | openssl dgst -sha256 -hmac SECRET -binary | basenc --base64url
func TestSignedAsDocumented(t *testing.T) {
	t.Parallel()
	s := NewSigner(testSecret)
	for _, row := range []struct{ got, want string }{
		{s.tag("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), "FVaHSTf8LgP83WtD1Xl5Vfq3"},
		{s.Key("front"), "GvOxCOfgae8FW-mKu5tA0UMOgEBOV1d8pfO1GJeoBlM"},
		{
			s.Link("/stream/front", time.Unix(1767225600, 0)),
			"/stream/front?expires=1767225600&signature=sC-_G5xPosoKs02HQftJuTAs9kqKqAlCD_Vah1o9ykE",
		},
	} {
		if row.got != row.want {
			t.Errorf("got %s, want %s", row.got, row.want)
		}
	}
}

func TestIssuedIDs(t *testing.T) {
	t.Parallel()
	s := NewSigner(testSecret)
	id := s.New()
	if !s.Issued(id) || !Valid(id) || s.New() == id {
		t.Fatalf("%q: issued %v, valid %v", id, s.Issued(id), Valid(id))
	}
	for _, other := range changes(id) {
		if other != id && s.Issued(other) {
			t.Errorf("%s passes for %s", other, id)
		}
	}
	if NewSigner(otherSecret).Issued(id) {
		t.Error("an id passes with another secret")
	}
	random := id[:randomLength]
	for name, other := range map[string]string{
		"unsigned": New(), "no signature": random, "empty": "", "signed as a key": random + s.Key(random)[:tagLength],
		"signed as a link":   random + s.sign(purposeLink, random)[:tagLength],
		"a longer signature": random + s.sign(purposeSession, random)[:38],
	} {
		if s.Issued(other) {
			t.Errorf("%s: %q passes", name, other)
		}
	}
	if plain := NewSigner(""); plain.Enabled() || len(plain.New()) != randomLength {
		t.Error("without a secret an id is signed")
	}
}

func TestPublishKeys(t *testing.T) {
	t.Parallel()
	s := NewSigner(testSecret)
	key := s.Key("front")
	if !s.HasKey("front", key) || !sessionForm.MatchString(key) {
		t.Errorf("%s is not the key of its session, or not safe in a URL", key)
	}
	for _, other := range changes(key) {
		if other != key && s.HasKey("front", other) {
			t.Errorf("%q passes for %s", other, key)
		}
	}
	for name, other := range map[string]string{
		"of another session": s.Key("Front"), "of another secret": NewSigner(otherSecret).Key("front"),
		"signed as an id": s.sign(purposeSession, "front"), "signed as a link": s.sign(purposeLink, "front"),
		"of no secret": NewSigner("").Key("front"), "the secret": testSecret, "the session": "front", "empty": "",
	} {
		if s.HasKey("front", other) {
			t.Errorf("%s: %q passes", name, other)
		}
	}
}

// FuzzSigned holds that only what was signed, character by character, passes for signed.
func FuzzSigned(f *testing.F) {
	s := NewSigner(testSecret)
	id := s.New()
	f.Add(id, "/stream/front", "1767225600", s.sign(purposeLink, "/stream/front\n1767225600"))
	f.Add(id[:49]+"-", "/stream/front\n1767225600", "", s.sign(purposeLink, "/stream/front\n1767225600"))
	f.Add("", "", "", "")
	f.Add(id+id, "/image/a", "01", s.sign(purposeLink, "/image/a\n01"))
	f.Add(s.Key("front"), "/", "-1", s.Key("/\n-1"))
	f.Fuzz(func(t *testing.T, id, path, expires, signature string) {
		if s.Issued(id) && (!Valid(id) || id != id[:randomLength]+s.tag(id[:randomLength])) {
			t.Errorf("%q passes for issued", id)
		}
		expiry, err := s.LinkExpiry(path, linkQuery(expires, signature))
		if err != nil {
			return
		}
		if want := path + "?expires=" + expires + "&signature=" + signature; s.Link(path, expiry) != want {
			t.Errorf("%q passes for the link %q", want, s.Link(path, expiry))
		}
	})
}
