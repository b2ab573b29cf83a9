// Image Streamer is a small image relay: producers POST images to a session, consumers take them one at a time, in
// order, while they are fresh, or watch them live.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/image-streamer/image-streamer/internal/config"
	"github.com/image-streamer/image-streamer/internal/logwriter"
	"github.com/image-streamer/image-streamer/internal/redisqueue"
)

func main() {
	redisqueue.DiscardClientLog()
	signal.Ignore(syscall.SIGPIPE) // a log or an output that nobody reads any more is an error of the write, not the end
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr))
}

// command is one row of the table of commands.
type command struct {
	name    string // empty: the program without arguments
	params  string // as the help text shows them
	meaning string
	aliases []string

	// Exactly one of these runs the command; print needs no settings.
	print func(out io.Writer) error
	run   func(ctx context.Context, in invocation) error
}

// invocation is what a command gets that needs the settings.
type invocation struct {
	args   []string // behind the command's name
	cfg    config.Config
	log    *slog.Logger
	lines  *logwriter.Writer // what log writes to
	stdout io.Writer
}

// commands returns the table of commands.
func commands() []command {
	return []command{
		{meaning: "run the server", run: runServer},
		{name: "demo", meaning: "run the server and a test producer together", run: runDemo},
		{name: "tester", meaning: "send numbered test images to a server", run: runTester},
		{
			name: "healthcheck", meaning: "ask the server on PORT whether it serves; exit 0 or 1",
			run: runHealthcheck,
		},
		{
			name: "key", params: "<session>", meaning: "print the publish key of a session id of your own",
			run: runKey,
		},
		{
			name: "link", params: "<path> <duration>", meaning: "print a signed link: link /stream/front 7d",
			run: runLink,
		},
		{
			name: "version", meaning: "print the version",
			aliases: []string{"-version", "--version"}, print: printVersion,
		},
		{name: "help", meaning: "print this", aliases: []string{"-h", "-help", "--help"}, print: printHelp},
	}
}

// run is main without the process. It returns the exit status: 0 for a clean stop, 1 for a failure at run time, 2 for
// bad usage or a bad setting.
func run(ctx context.Context, args []string, getenv config.Lookup, stdout, stderr io.Writer) int {
	c, params, known := findCommand(args)
	if known && c.print != nil {
		if err := c.print(stdout); err != nil {
			fmt.Fprintln(stderr, "image-streamer:", err)
			return 1
		}
		return 0
	}
	dotenv, err := config.ReadDotenv()
	if err != nil {
		fmt.Fprintln(stderr, "image-streamer:", err)
		return 2
	}
	cfg, err := config.Load(getenv.Over(dotenv))
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}
	if !known {
		fmt.Fprintln(stderr, unknownCommand(args))
		return 2
	}
	lines := logwriter.New(stderr)
	defer lines.Close(lastLinesWithin)
	log := newLogger(lines, cfg.Log)
	tuneCollector(cfg, getenv)
	err = c.run(ctx, invocation{args: params, cfg: cfg, log: log, lines: lines, stdout: stdout})
	if wrong, ok := errors.AsType[*usageError](err); ok {
		fmt.Fprintln(lines, wrong)
		return 2
	}
	if err != nil {
		log.Error("stopped", "error", err)
		return 1
	}
	return 0
}

// lastLinesWithin is how long the end of the program waits for a log that stands still.
const lastLinesWithin = time.Second

// findCommand returns the command that the arguments name, and the arguments behind its name. A command without
// parameters stands alone.
func findCommand(args []string) (c command, params []string, known bool) {
	name := ""
	if len(args) > 0 {
		name, params = args[0], args[1:]
	}
	for _, c := range commands() {
		if c.is(name) && (c.params != "" || len(params) == 0) {
			return c, params, true
		}
	}
	return command{}, nil, false
}

func (c command) is(name string) bool { return name == c.name || slices.Contains(c.aliases, name) }

func unknownCommand(args []string) error {
	return usageErrorf("no program %q: allowed are none, demo, tester, healthcheck, key, link, version and help",
		strings.Join(args, " "))
}

func newLogger(w io.Writer, cfg config.Log) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.Level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// tuneCollector lets the heap grow to three times what is live before garbage is collected. An image is garbage soon
// after it came and the live heap is small, so at Go's default the collector would run for every few dozen images. A
// limit keeps full queues, uploads and downloads from taking three times their bytes. Without UPLOAD_LIMIT or
// DOWNLOAD_LIMIT there is none, because what passes through has no bound. Go's own variables win over both.
func tuneCollector(cfg config.Config, getenv config.Lookup) {
	if value, _ := getenv("GOGC"); value == "" {
		debug.SetGCPercent(200)
	}
	limits := cfg.Limits
	bounded := limits.UploadBytes > 0 && limits.DownloadBytes > 0
	if value, _ := getenv("GOMEMLIMIT"); value == "" && bounded {
		debug.SetMemoryLimit(2*(queuedBytes(cfg)+limits.UploadBytes) + limits.DownloadBytes + 64<<20)
	}
}
