package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

// signer makes and knows what only a holder of SESSION_SECRET can make: session
// ids, publish keys and links. Nothing of it is stored: each proves itself.
type signer struct{ secret string }

// The uses of the secret. Each is the first line of what is signed for it, so that
// what was made for one is worth nothing for another.
const (
	useSession = "session"
	useKey     = "key"
	useLink    = "link"
)

// A signed id is what rand.Text returns, 130 random bits, and 144 bits of a
// signature over it.
const (
	randomLength = 26
	tagLength    = 24
)

var errNoLink = errors.New("no link of this path")

// exists tells whether there is a secret. Without one nothing may be asked of the
// signer: an empty one is known to all.
func (s signer) exists() bool { return s.secret != "" }

// sign returns 43 URL-safe characters.
func (s signer) sign(use, text string) string {
	mac := hmac.New(sha256.New, []byte(s.secret))
	io.WriteString(mac, use+"\n"+text)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// newSession returns a fresh session id: a signed one where there is a secret.
func (s signer) newSession() string {
	id := newSession()
	if s.exists() {
		id += s.tag(id)
	}
	return id
}

func (s signer) tag(random string) string { return s.sign(useSession, random)[:tagLength] }

// issued tells whether newSession made an id with this secret.
func (s signer) issued(id string) bool {
	return len(id) == randomLength+tagLength && same(id[randomLength:], s.tag(id[:randomLength]))
}

// key returns the publish key of a session, its id issued or chosen.
func (s signer) key(session string) string { return s.sign(useKey, session) }

// link returns a path that may be read until it expires.
func (s signer) link(path string, expiry time.Time) string {
	expires := strconv.FormatInt(expiry.Unix(), 10)
	return path + "?expires=" + expires + "&signature=" + s.sign(useLink, path+"\n"+expires)
}

// expiryOf returns until when the link of a request is good: errNoLink if it is
// none, of another path, or made with another secret. The path is the one that
// the client asks for; whatever else the query holds is not signed.
func (s signer) expiryOf(r *http.Request) (time.Time, error) {
	query := r.URL.Query()
	expires := query.Get("expires")
	seconds, err := parseExpires(expires)
	if err != nil || !same(query.Get("signature"), s.sign(useLink, r.URL.Path+"\n"+expires)) {
		return time.Time{}, errNoLink
	}
	return time.Unix(seconds, 0), nil
}

// parseExpires reads Unix seconds, up to the year 5138. Each number has one form:
// no sign and no zeros in front.
func parseExpires(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > 99_999_999_999 || strconv.FormatInt(n, 10) != s {
		return 0, errNotAllowed
	}
	return n, nil
}

// same compares in a time that tells nothing but the length.
func same(got, want string) bool { return hmac.Equal([]byte(got), []byte(want)) }
