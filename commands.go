package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/image-streamer/image-streamer/internal/config"
	"github.com/image-streamer/image-streamer/internal/producer"
	"github.com/image-streamer/image-streamer/internal/session"
)

// usageError says what was wrong in a call of the program, and what is allowed. It makes the exit status 2.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usageErrorf(format string, args ...any) error {
	return &usageError{"image-streamer: " + fmt.Sprintf(format, args...)}
}

// printHelp prints the commands and the settings.
func printHelp(out io.Writer) error {
	var help strings.Builder
	help.WriteString("Image Streamer: a small image relay.\n\n")
	for _, c := range commands() {
		call := strings.TrimSpace(c.name + " " + c.params)
		fmt.Fprintf(&help, "  image-streamer %-22s  %s\n", call, c.meaning)
	}
	help.WriteString("\nSettings come from the environment or from a file .env in the working directory;\n" +
		"a variable that is really set wins.\n\n" + config.HelpTable())
	return printTo(out, help.String())
}

// printTo writes a text to an output. A reader that has closed the output, as head does, has what it wanted: that is no
// error.
func printTo(out io.Writer, text string) error {
	_, err := io.WriteString(out, text)
	if errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}

// release is set by the build: -ldflags "-X main.release=1.2.3".
var release string

// version returns the release, or what the Go toolchain noted of the source.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return info.Main.Version
}

func printVersion(out io.Writer) error {
	return printTo(out, fmt.Sprintf("image-streamer %s %s %s/%s\n",
		version(), runtime.Version(), runtime.GOOS, runtime.GOARCH))
}

// runTester runs the test producer alone.
func runTester(ctx context.Context, in invocation) error {
	return producer.Run(ctx, producerOptions(in, in.cfg.Test.Session, in.cfg.Test.URL, in.cfg.Port))
}

// producerOptions returns the options of a test producer. Without a URL it sends to the server on this machine.
func producerOptions(in invocation, id, url string, port int) producer.Options {
	o := producer.Options{
		URL:      url,
		Session:  id,
		Signer:   session.NewSigner(in.cfg.Access.SessionSecret),
		Token:    in.cfg.Access.OperatorToken,
		Interval: in.cfg.Test.Interval,
		Width:    in.cfg.NoData.Width(),
		Height:   in.cfg.NoData.Height,
		Log:      in.log,
	}
	if url == "" {
		o.URL = localURL(in.cfg.TLS, "127.0.0.1", port)
		o.Client = &http.Client{Transport: localTransport()}
	}
	return o
}

// localURL returns the URL of the server on this machine.
func localURL(cfg config.TLS, host string, port int) string {
	if cfg.Enabled() {
		return fmt.Sprintf("https://%s:%d", host, port)
	}
	return fmt.Sprintf("http://%s:%d", host, port)
}

// localTransport reaches the server on this machine. It does not verify the certificate: a certificate has the name by
// which others know the server, not the loopback address, and loopback leaves nobody in between.
func localTransport() *http.Transport {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	return transport
}

// runHealthcheck asks the server on this machine whether it serves.
func runHealthcheck(ctx context.Context, in invocation) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	url := localURL(in.cfg.TLS, "127.0.0.1", in.cfg.Port) + "/healthz"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	transport := localTransport()
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("healthz answered %s", resp.Status)
	}
	return nil
}

// runKey prints the publish key of a session.
func runKey(_ context.Context, in invocation) error {
	signer, err := in.signer("key")
	if err != nil {
		return err
	}
	if len(in.args) != 1 || !session.Valid(in.args[0]) {
		return usageErrorf("key %q: allowed is one session id, %s", strings.Join(in.args, " "), session.Rule)
	}
	return printTo(in.stdout, signer.Key(in.args[0])+"\n")
}

// linkable matches the canonical paths of the routes that links are for. A submatch is the session.
var linkable = regexp.MustCompile(`^/(?:image/([^/]+)/pop|(?:image|snapshot|stream)/([^/]+))$`)

const linkableRule = "/image/{session}, /image/{session}/pop, /snapshot/{session} and /stream/{session}, with a " +
	"session id of " + session.Rule + "; an ending such as .jpg may follow it; parameters go behind the link, with &"

// runLink prints a signed link. Its path is spelled as it was given, for readers that want a .jpg. The signature is
// that of the canonical path.
func runLink(_ context.Context, in invocation) error {
	signer, err := in.signer("link")
	if err != nil {
		return err
	}
	if len(in.args) != 2 {
		return usageErrorf("link %q: allowed are a path and a duration", strings.Join(in.args, " "))
	}
	path, _ := canonicalPath(in.args[0])
	if parts := linkable.FindStringSubmatch(path); parts == nil || !session.Valid(parts[1]+parts[2]) {
		return usageErrorf("link of %q: allowed are %s", in.args[0], linkableRule)
	}
	validity, err := parseValidity(in.args[1])
	if err != nil {
		return usageErrorf("link for %q: allowed is a duration from 1s to %dd, such as 90s, 12h, 7d or 1d12h",
			in.args[1], maxValidity/day)
	}
	expires := time.Now().Add(validity + time.Second - 1) // the whole second in which it ends counts
	query := strings.TrimPrefix(signer.Link(path, expires), path)
	return printTo(in.stdout, in.args[0]+query+"\n")
}

// signer returns the signer of the settings, which a command needs.
func (in invocation) signer(name string) (session.Signer, error) {
	signer := session.NewSigner(in.cfg.Access.SessionSecret)
	if !signer.Enabled() {
		return signer, usageErrorf("%s: SESSION_SECRET is empty: allowed is at least 16 characters, those of the server",
			name)
	}
	return signer, nil
}

const (
	day         = 24 * time.Hour
	maxValidity = 3650 * day
)

var errValidity = errors.New("not a duration within the bounds")

// parseValidity reads a duration as Go writes them, with days in front or alone.
func parseValidity(s string) (time.Duration, error) {
	var validity time.Duration
	if days, rest, found := strings.Cut(s, "d"); found {
		n, err := strconv.ParseUint(days, 10, 12)
		if err != nil {
			return 0, errValidity
		}
		validity, s = time.Duration(n)*day, rest
	}
	if s != "" || validity == 0 {
		rest, err := time.ParseDuration(s)
		if err != nil || rest < 0 {
			return 0, errValidity
		}
		validity += rest
	}
	if validity < time.Second || validity > maxValidity {
		return 0, errValidity
	}
	return validity, nil
}
