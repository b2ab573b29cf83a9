package session

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/url"
	"strconv"
	"time"
)

// Signer makes and checks session ids, publish keys and links. Without its secret nobody can make one that passes.
type Signer struct{ secret string }

// errNoLink says that a path and its query are not a link that was made with this secret.
var errNoLink = errors.New("not a link of this path")

// The purposes of a signature. The purpose is the first line of every signed text, so that a signature made for one
// purpose is worth nothing for another.
const (
	purposeSession = "session"
	purposeKey     = "key"
	purposeLink    = "link"
)

// A signed id is 130 random bits followed by 144 bits of a signature over them. The lengths are in characters.
const (
	randomLength = 26
	tagLength    = 24
)

// NewSigner returns a Signer. With an empty secret only Enabled and New may be called.
func NewSigner(secret string) Signer { return Signer{secret} }

// Enabled reports whether there is a secret.
func (s Signer) Enabled() bool { return s.secret != "" }

// New returns a fresh session id, signed if there is a secret.
func (s Signer) New() string {
	id := New()
	if s.Enabled() {
		id += s.tag(id)
	}
	return id
}

// Issued reports whether New made an id with this secret.
func (s Signer) Issued(id string) bool {
	return len(id) == randomLength+tagLength && equal(id[randomLength:], s.tag(id[:randomLength]))
}

// Key returns the publish key of a session. The id need not have been issued: the operator may choose one.
func (s Signer) Key(id string) string { return s.sign(purposeKey, id) }

// HasKey reports whether a text is the publish key of a session.
func (s Signer) HasKey(id, key string) bool { return equal(key, s.Key(id)) }

// Link returns a path with a query that opens it until the link expires.
func (s Signer) Link(path string, expires time.Time) string {
	seconds := strconv.FormatInt(expires.Unix(), 10)
	return path + "?expires=" + seconds + "&signature=" + s.signLink(path, seconds)
}

// LinkExpiry returns when the link of a path and its query expires, or an error if they are not a link made with this
// secret. Other parameters of the query are not signed.
func (s Signer) LinkExpiry(path string, query url.Values) (time.Time, error) {
	seconds := query.Get("expires")
	expires, err := parseExpires(seconds)
	if err != nil || !equal(query.Get("signature"), s.signLink(path, seconds)) {
		return time.Time{}, errNoLink
	}
	return expires, nil
}

func (s Signer) tag(random string) string { return s.sign(purposeSession, random)[:tagLength] }

func (s Signer) signLink(path, seconds string) string { return s.sign(purposeLink, path+"\n"+seconds) }

// sign returns 43 URL-safe characters.
func (s Signer) sign(purpose, text string) string {
	mac := hmac.New(sha256.New, []byte(s.secret))
	io.WriteString(mac, purpose+"\n"+text)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// parseExpires reads Unix seconds up to the year 5138. Each time has exactly one spelling: no sign, no leading zeros.
func parseExpires(s string) (time.Time, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > 99_999_999_999 || strconv.FormatInt(n, 10) != s {
		return time.Time{}, errNoLink
	}
	return time.Unix(n, 0), nil
}

// equal compares in constant time for texts of the same length.
func equal(got, want string) bool { return hmac.Equal([]byte(got), []byte(want)) }
