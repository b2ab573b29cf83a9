package session

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

const (
	testSecret  = "a secret of the tests"
	otherSecret = "another secret of the tests"
)

const idCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

var (
	sessionForm = regexp.MustCompile(`\A[A-Za-z0-9_.:-]{1,64}\z`)
	noSession   = regexp.MustCompile(`(?i)\A\.{1,2}\z|\.(m?jpe?g|jpe|jfif|png|gif|webp|avif|bmp)\z`)
)

// changes returns every text that differs from s in a single character, and some that differ in their length.
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

// queryOf returns the query of a link as the server reads it. Malformed parts are left out, as in a request.
func queryOf(link string) url.Values {
	_, raw, _ := strings.Cut(link, "?")
	query, _ := url.ParseQuery(raw)
	return query
}

// linkQuery returns the query of a link with these two parameters.
func linkQuery(expires, signature string) url.Values {
	return url.Values{"expires": {expires}, "signature": {signature}}
}

// unescaped returns the session id that the path of a request holds.
func unescaped(t testing.TB, escaped string) string {
	t.Helper()
	return testkit.Must(url.PathUnescape(escaped))(t)
}
