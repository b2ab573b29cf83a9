// Package session makes session ids, and what proves a right to use one: signatures, publish keys and links.
//
// Without a secret every text that follows Rule is an id, and New makes one that cannot be guessed. A Signer with a
// secret signs ids, derives the publish key of each session, and makes links that open one path for a limited time. No
// id, key or link is stored: every server with the same secret can check them.
package session

import (
	"crypto/rand"
	"slices"
	"strings"
)

// Rule says in words which ids are valid. It stands in messages to clients and operators.
const Rule = "1 to 64 of the characters A-Z a-z 0-9 _ - . : (not . or .. alone, and no ending such as .jpg)"

// extensions are the endings of file names that a path may have behind an id. They are never a part of the id.
var extensions = []string{
	".jpg", ".jpeg", ".jpe", ".jfif", ".mjpg", ".mjpeg", ".png", ".gif", ".webp", ".avif", ".bmp",
}

// New returns an id that cannot be guessed: 130 random bits, URL-safe.
func New() string { return rand.Text() }

// Valid reports whether an id is safe in a URL, a log line and a Redis key, and can be addressed. An id with an
// extension could not: TrimExtension leaves another one of it.
func Valid(id string) bool {
	for i := range len(id) {
		c := id[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c == '_' || c == '-' || c == '.' || c == ':') {
			return false
		}
	}
	_, extension := TrimExtension(id)
	return 1 <= len(id) && len(id) <= 64 && id != "." && id != ".." && extension == ""
}

// TrimExtension splits the name of an image file, as many recorders and players need one in a URL, into an id and the
// extension: x.JPG is x and .jpg. A name without an extension is an id alone.
func TrimExtension(name string) (id, extension string) {
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 {
		return name, ""
	}
	if extension = strings.ToLower(name[dot:]); !slices.Contains(extensions, extension) {
		return name, ""
	}
	return name[:dot], extension
}
