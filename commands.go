package main

import (
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// misuse is an error of those who run the program: what they gave and what is
// allowed. It makes the exit status 2.
type misuse struct{ text string }

func (e *misuse) Error() string { return e.text }

func misused(format string, args ...any) error {
	return &misuse{"image-streamer: " + fmt.Sprintf(format, args...)}
}

// runSigning prints a publish key or a link, or tells that there is no such program.
func runSigning(args []string, cfg config, now time.Time, out io.Writer) error {
	signer := signer{cfg.sessionSecret}
	switch {
	case args[0] != "key" && args[0] != "link":
		return misused("no program %q: allowed are none, demo, tester, healthcheck, key, link, version and help", strings.Join(args, " "))
	case !signer.exists():
		return misused("%s: SESSION_SECRET is empty: allowed is at least 16 characters, those of the server", args[0])
	case args[0] == "key":
		return printKey(args[1:], signer, out)
	}
	return printLink(args[1:], signer, now, out)
}

func printKey(args []string, signer signer, out io.Writer) error {
	if len(args) != 1 || !validSession(args[0]) {
		return misused("key %q: allowed is one session id, %s", strings.Join(args, " "), sessionRule)
	}
	_, err := fmt.Fprintln(out, signer.key(args[0]))
	return err
}

// readable are the paths of the routes that links are for.
var readable = regexp.MustCompile(`^/(image/[A-Za-z0-9_-]{1,64}(/pop)?|snapshot/[A-Za-z0-9_-]{1,64}(\.jpg)?|stream/[A-Za-z0-9_-]{1,64})$`)

const readableRule = "/image/{session}, /image/{session}/pop, /snapshot/{session}, /snapshot/{session}.jpg and /stream/{session}, " +
	"with a session id of " + sessionRule + "; parameters go behind the link, with &"

func printLink(args []string, signer signer, now time.Time, out io.Writer) error {
	if len(args) != 2 {
		return misused("link %q: allowed are a path and a duration", strings.Join(args, " "))
	}
	if !readable.MatchString(args[0]) {
		return misused("link of %q: allowed are %s", args[0], readableRule)
	}
	life, err := parseLife(args[1])
	if err != nil {
		return misused("link for %q: allowed is a duration from 1s to %dd, such as 90s, 12h, 7d or 1d12h", args[1], longestLife/day)
	}
	_, err = fmt.Fprintln(out, signer.link(args[0], now.Add(life+time.Second-1))) // not a moment less
	return err
}

const (
	day         = 24 * time.Hour
	longestLife = 3650 * day
)

// parseLife reads a duration as Go writes them, with days before it or alone.
func parseLife(s string) (time.Duration, error) {
	var life time.Duration
	if days, rest, found := strings.Cut(s, "d"); found {
		n, err := strconv.ParseUint(days, 10, 12)
		if err != nil {
			return 0, errNotAllowed
		}
		life, s = time.Duration(n)*day, rest
	}
	if s != "" || life == 0 {
		rest, err := time.ParseDuration(s)
		if err != nil || rest < 0 {
			return 0, errNotAllowed
		}
		life += rest
	}
	if life < time.Second || life > longestLife {
		return 0, errNotAllowed
	}
	return life, nil
}
