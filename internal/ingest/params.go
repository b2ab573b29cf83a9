package ingest

import "strings"

// mediaType returns the type that a Content-Type names, in lower case.
func mediaType(contentType string) string {
	name, _ := cutName(contentType)
	return strings.ToLower(name)
}

// cutName cuts the first word of a header from its parameters. RFC 1867 put a comma between the two.
func cutName(header string) (name, params string) {
	end := strings.IndexAny(header, ";,")
	if end < 0 {
		return strings.TrimSpace(header), ""
	}
	return strings.TrimSpace(header[:end]), header[end+1:]
}

// parameter returns the value of a parameter among others, and whether it is there. It reads what the standard does not
// allow and senders write: blanks around the equals sign, values without quotes that hold any character, and quotes
// that do not end.
func parameter(params, name string) (value string, found bool) {
	for more := true; more; {
		var given string
		if given, params, more = strings.Cut(params, "="); !more {
			break
		}
		value, params = cutValue(params)
		given = given[strings.LastIndexAny(given, ";,")+1:]
		if strings.EqualFold(strings.TrimSpace(given), name) {
			return value, true
		}
	}
	return "", false
}

// cutValue cuts the value of a parameter, quoted or not, from the parameters that follow.
func cutValue(params string) (value, rest string) {
	params = strings.TrimLeft(params, " \t")
	if quoted, ok := strings.CutPrefix(params, `"`); ok {
		if value, rest, ok = strings.Cut(quoted, `"`); ok {
			return value, rest
		}
		params = quoted
	}
	value, rest, _ = strings.Cut(params, ";")
	return strings.TrimSpace(value), ";" + rest
}

// boundaryIn returns the boundary that a multipart type names, without the dashes around it, or nil.
func boundaryIn(contentType string) []byte {
	if !isMultipart(mediaType(contentType)) {
		return nil
	}
	_, params := cutName(contentType)
	boundary, _ := parameter(params, "boundary")
	return trimBoundary(boundary)
}

func isMultipart(mimeType string) bool { return strings.HasPrefix(mimeType, "multipart/") }

// maxBoundary is how long a boundary may be. The standard allows 70 characters.
const maxBoundary = 200

// trimBoundary returns a boundary without the dashes around it, since some cameras take the dashes of the delimiter
// line for a part of the boundary. It returns nil if what is left cannot be meant as a boundary.
func trimBoundary(boundary string) []byte {
	trimmed := strings.Trim(boundary, "- \t")
	unprintable := func(r rune) bool { return r < ' ' || r > '~' }
	if trimmed == "" || len(trimmed) > maxBoundary || strings.ContainsFunc(trimmed, unprintable) {
		return nil
	}
	return []byte(trimmed)
}
