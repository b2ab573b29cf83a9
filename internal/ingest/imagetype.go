package ingest

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// sniffLength is how many bytes of an image tell its format.
const sniffLength = 12

// BeginsAs reports whether an image begins with the bytes that its MIME type prescribes. Unknown types always match.
func BeginsAs(mimeType string, image []byte) bool {
	first := string(image[:min(len(image), sniffLength)])
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

// beginsAsImage reports whether bytes begin as an image does, and as no text would.
func beginsAsImage(first []byte) bool {
	for _, mimeType := range []string{"image/jpeg", "image/png", "image/gif", "image/webp"} {
		if BeginsAs(mimeType, first) {
			return true
		}
	}
	if len(first) < sniffLength {
		return false
	}
	bmp := BeginsAs("image/bmp", first) && bytes.Equal(first[6:10], make([]byte, 4))
	return bmp || bytes.Equal(first[:3], make([]byte, 3)) && bytes.Equal(first[4:8], []byte("ftyp")) // AVIF, HEIC
}

// What an image shows, by its format, of whether bytes are missing at its end.
type completeness int

const (
	unknown completeness = iota
	whole
	cut
)

// completenessOf looks at the structure of an image before its data, and at its end.
func completenessOf(image []byte) completeness {
	switch end := endOf(image, image); {
	case end == whole && isJPEG(image) && !hasScan(image):
		return cut // the end marker is that of a preview
	case BeginsAs("image/webp", image):
		if uint64(len(image)) < 8+uint64(binary.LittleEndian.Uint32(image[4:])) {
			return cut
		}
		return whole
	default:
		return end
	}
}

// pngEnd is the last chunk of a PNG, behind its length.
const pngEnd = "IEND\xaeB`\x82"

// endOf looks at the first and the last bytes of an image only.
func endOf(first, last []byte) completeness {
	end := ""
	switch {
	case isJPEG(first):
		end, last = "\xff\xd9", bytes.TrimRight(last, "\x00")
	case BeginsAs("image/png", first):
		end = pngEnd
	case BeginsAs("image/gif", first):
		end = ";"
	default:
		return unknown
	}
	if bytes.HasSuffix(last, []byte(end)) {
		return whole
	}
	return cut
}

// lacksEnd reports whether an image, which may have other bytes behind it, lacks the end that its format prescribes. A
// JPEG is followed marker by marker instead.
func lacksEnd(image []byte) bool {
	switch {
	case BeginsAs("image/png", image):
		return !bytes.Contains(image, []byte(pngEnd))
	case BeginsAs("image/gif", image):
		return !bytes.HasSuffix(bytes.TrimRight(image, "\x00\r\n"), []byte(";"))
	}
	return BeginsAs("image/webp", image) && completenessOf(image) == cut
}

// hasScan reports whether the segments of a JPEG lead to a scan.
func hasScan(image []byte) bool {
	for at := 2; at+4 <= len(image) && image[at] == 0xff; {
		switch code := image[at+1]; {
		case code == sos:
			return true
		case code == 0xff:
			at++
		case code == tem || isRestart(code):
			at += 2
		default:
			at += 2 + int(binary.BigEndian.Uint16(image[at+2:]))
		}
	}
	return false
}
