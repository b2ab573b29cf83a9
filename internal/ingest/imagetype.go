package ingest

import "strings"

// BeginsAs reports whether an image begins with the bytes that its MIME type prescribes. Unknown types always match.
func BeginsAs(mimeType string, image []byte) bool {
	first := string(image[:min(len(image), 12)])
	switch mimeType {
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
