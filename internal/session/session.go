// Package session makes session ids, and what proves a right to use one: signatures, publish keys and links.
//
// Without a secret every text that follows Rule is an id, and New makes one that cannot be guessed. A Signer with a
// secret signs ids, derives the publish key of each session, and makes links that open one path for a limited time. No
// id, key or link is stored: every server with the same secret can check them.
package session

import "crypto/rand"

// Rule says in words which ids are valid. It stands in messages to clients and operators.
const Rule = "1 to 64 of the characters A-Z a-z 0-9 _ -"

// New returns an id that cannot be guessed: 130 random bits, URL-safe.
func New() string { return rand.Text() }

// Valid reports whether an id is safe in a URL, a log line and a Redis key.
func Valid(id string) bool {
	for i := range len(id) {
		c := id[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return 1 <= len(id) && len(id) <= 64
}
