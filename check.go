package main

import (
	"net/http"
	"strings"
)

// check refuses what is no image of the type that is served, as far as its first
// bytes tell.
func (s *server) check(image []byte) error {
	if s.cfg.checkImages && !beginsAs(s.cfg.mimeType, string(image[:min(len(image), 12)])) {
		return refuse(http.StatusUnsupportedMediaType, "this does not begin as an image does that is %s: allowed is that type; nothing was stored", s.cfg.mimeType)
	}
	return nil
}

// beginsAs tells whether the first 12 bytes of an image are those of its type. Of a
// type that is not known here they are.
func beginsAs(kind, first string) bool {
	switch kind {
	case "image/jpeg", "image/jpg":
		return strings.HasPrefix(first, "\xff\xd8\xff")
	case "image/png":
		return strings.HasPrefix(first, "\x89PNG\r\n\x1a\n")
	case "image/gif":
		return strings.HasPrefix(first, "GIF87a") || strings.HasPrefix(first, "GIF89a")
	case "image/webp":
		return strings.HasPrefix(first, "RIFF") && strings.HasSuffix(first, "WEBP") && len(first) == 12
	case "image/bmp":
		return strings.HasPrefix(first, "BM")
	}
	return true
}
