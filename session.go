package main

import "crypto/rand"

const sessionRule = "1 to 64 of the characters A-Z a-z 0-9 _ -"

// newSession returns an id that cannot be guessed: 130 random bits, URL-safe.
func newSession() string { return rand.Text() }

// validSession reports whether an id is safe in a URL, a log line and a Redis key.
func validSession(id string) bool {
	for i := range len(id) {
		c := id[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return 1 <= len(id) && len(id) <= 64
}
