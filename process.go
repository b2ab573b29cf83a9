package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/joho/godotenv"
)

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

func versionLine() string {
	return fmt.Sprintf("image-streamer %s %s %s/%s", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// settingsTable lists every setting for the help text.
func settingsTable() string {
	var out strings.Builder
	t := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	for _, s := range settings {
		fallback := s.fallback
		if fallback == "" {
			fallback = "(empty)"
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\n", s.name, fallback, s.meaning)
		fmt.Fprintf(t, "  \t\t  %s\n", s.allowed)
	}
	t.Flush()
	return out.String()
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// readDotenv reads the file .env, if there is one. Its errors never quote the
// file: that may hold a password.
func readDotenv() (map[string]string, error) {
	text, err := os.ReadFile(".env")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	variables, err := godotenv.UnmarshalBytes(text)
	for name := range variables {
		if !variableName.MatchString(name) {
			err = errNotAllowed
		}
	}
	if err != nil {
		return nil, errors.New(".env is malformed: allowed are lines of NAME=value and # comments")
	}
	return variables, nil
}

func newLogger(w io.Writer, cfg config) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.logLevel}
	if cfg.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// tuneCollector lets garbage grow to twice what is held before it is collected.
// An image is garbage soon after it came, so with a heap that is nearly empty the
// collector would else run for every few dozen of them. The limit keeps full queues
// and uploads from taking three times their bytes; on Redis there is none, since what
// is on its way out has no bound. Go's own variables win.
func tuneCollector(cfg config, getenv lookup) {
	if value, _ := getenv("GOGC"); value == "" {
		debug.SetGCPercent(200)
	}
	if value, _ := getenv("GOMEMLIMIT"); value == "" && cfg.redis == nil {
		debug.SetMemoryLimit(2*(cfg.memoryLimit+cfg.uploadLimit) + 64<<20)
	}
}

// checkHealth asks the server on this machine whether it serves.
func checkHealth(ctx context.Context, cfg config) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, cfg.ownURL("127.0.0.1", cfg.port)+"/healthz", nil)
	if err != nil {
		return err
	}
	transport := ownTransport()
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
