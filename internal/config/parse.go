package config

import (
	"math"
	"mime"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"
)

// The forms of numbers, in settings and in requests alike: digits, and in a number that need not be whole a point with
// digits behind it. strconv takes more: signs, underscores, exponents, NaN and Inf.
var (
	wholeForm   = regexp.MustCompile(`^[0-9]+$`)
	decimalForm = regexp.MustCompile(`^[0-9]*\.?[0-9]+$`)
)

// ParseInt reads a whole decimal number from least to most.
func ParseInt(s string, least, most int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || !wholeForm.MatchString(s) || n < least || n > most {
		return 0, errNotAllowed
	}
	return n, nil
}

func isPort(s string) bool {
	_, err := ParseInt(s, 1, 65535)
	return err == nil
}

// ParseNumber reads a number from least to most, fractions allowed.
func ParseNumber(s string, least, most float64) (float64, error) {
	f, err := parseDecimal(s)
	if err != nil || f < least || f > most {
		return 0, errNotAllowed
	}
	return f, nil
}

func parseDecimal(s string) (float64, error) {
	if !decimalForm.MatchString(s) {
		return 0, errNotAllowed
	}
	return strconv.ParseFloat(s, 64)
}

// parseSeconds reads a number of seconds and rounds it to milliseconds.
func parseSeconds(s string, least, most float64) (time.Duration, error) {
	f, err := ParseNumber(s, least, most)
	return time.Duration(math.Round(f*1000)) * time.Millisecond, err
}

// NoDataRule says in words which values ParseNoDataStatus allows.
const NoDataRule = "a status from 200 to 599 that can come with an image, such as 200, 404 or 503, or 204 for no image"

// ParseNoDataStatus reads the status of the answer of an empty queue. Not allowed are 1xx, which are not final, 205 and
// 206, which answer requests that the client did not make, and redirects.
func ParseNoDataStatus(s string) (int, error) {
	status, err := ParseInt(s, 200, 599)
	if err != nil || status == 205 || status == 206 || status >= 300 && status < 400 {
		return 0, errNotAllowed
	}
	return status, nil
}

// parseSize reads a number of bytes from 1 to most, with or without a unit.
func parseSize(s string, most uint64) (int64, error) {
	unit := strings.IndexFunc(s, func(c rune) bool { return c == ' ' || unicode.IsLetter(c) })
	if unit < 0 {
		unit = len(s)
	}
	n, err := humanize.ParseBytes(s)
	if err != nil || !decimalForm.MatchString(s[:unit]) || n < 1 || n > most {
		return 0, errNotAllowed
	}
	return int64(n), nil
}

// parseLimit reads a size up to 1 TiB, or 0 for no limit.
func parseLimit(s string) (int64, error) {
	if s == "0" {
		return 0, nil
	}
	return parseSize(s, 1<<40)
}

func parseBool(s string) (bool, error) {
	value, err := oneOf(strings.ToLower(s), "true", "false")
	return value == "true", err
}

// oneOf returns s if it is one of the allowed words.
func oneOf(s string, allowed ...string) (string, error) {
	if !slices.Contains(allowed, s) {
		return "", errNotAllowed
	}
	return s, nil
}

// secretRule says in words which secrets parseSecret allows.
const secretRule = "at least 16 characters of printable ASCII, without blanks at the ends"

// parseSecret reads a secret or nothing. A secret that is too short could be guessed. With other characters or blanks
// at its ends, a header would not carry it as it is, and the tools that sign with it may each read another one.
func parseSecret(s string) (string, error) {
	isOther := func(c rune) bool { return c < ' ' || c > '~' }
	if s != "" && len(s) < 16 || strings.ContainsFunc(s, isOther) || strings.Trim(s, " ") != s {
		return "", errNotAllowed
	}
	return s, nil
}

// parseRatio reads a decimal or a fraction of two decimals.
func parseRatio(s string) (float64, error) {
	over, under, isFraction := strings.Cut(s, "/")
	ratio, err := parseDecimal(strings.TrimSpace(over))
	if err != nil {
		return 0, errNotAllowed
	}
	if isFraction {
		divisor, err := parseDecimal(strings.TrimSpace(under))
		if err != nil {
			return 0, errNotAllowed
		}
		ratio /= divisor
	}
	if !(ratio >= 0.1 && ratio <= 10) { // so written, NaN fails
		return 0, errNotAllowed
	}
	return ratio, nil
}

// parseImageType reads an image type in which browsers do not run scripts, as they do in XML.
func parseImageType(s string) (string, error) {
	kind, params, err := mime.ParseMediaType(s)
	if err != nil || len(params) > 0 || !strings.HasPrefix(kind, "image/") || kind == "image/*" ||
		strings.HasSuffix(kind, "xml") || strings.Contains(kind, "svg") {
		return "", errNotAllowed
	}
	return kind, nil
}

// parseBaseURL reads the URL of a server, to which paths can be appended, or nothing.
func parseBaseURL(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" ||
		u.Port() != "" && !isPort(u.Port()) || u.RawQuery != "" || strings.HasSuffix(s, "?") || u.Fragment != "" {
		return "", errNotAllowed
	}
	return strings.TrimRight(s, "/"), nil
}
