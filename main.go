// Image Streamer is a small image relay: producers POST images to a session,
// consumers take them one at a time, in order, while they are fresh.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

const usage = `Image Streamer: a small image relay.

  image-streamer                         run the server
  image-streamer demo                    run the server and a test producer together
  image-streamer tester                  send numbered test images to a server
  image-streamer healthcheck             ask the server on PORT whether it serves; exit 0 or 1
  image-streamer key <session>           print the publish key of a session id of your own
  image-streamer link <path> <duration>  print a signed link: link /stream/front 7d
  image-streamer version                 print the version
  image-streamer help                    print this

Settings come from the environment or from a file .env in the working directory;
a variable that is really set wins.

`

func main() {
	redis.SetLogger(quietRedis{})
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr))
}

// run is main without the process. It returns the exit status: 0 for a clean
// stop, 1 for a failure at run time, 2 for bad usage or a bad setting.
func run(ctx context.Context, args []string, getenv lookup, stdout, stderr io.Writer) int {
	command := strings.Join(args, " ")
	switch command {
	case "help", "-h", "-help", "--help":
		fmt.Fprint(stdout, usage, settingsTable())
		return 0
	case "version", "-version", "--version":
		fmt.Fprintln(stdout, versionLine())
		return 0
	}

	dotenv, err := readDotenv()
	if err != nil {
		fmt.Fprintln(stderr, "image-streamer:", err)
		return 2
	}
	cfg, err := loadConfig(getenv.over(dotenv))
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}
	log := newLogger(stderr, cfg)
	tuneCollector(cfg, getenv)

	switch command {
	case "":
		err = runServer(ctx, cfg, log, nil)
	case "demo":
		err = runDemo(ctx, cfg, log)
	case "tester":
		err = runTester(ctx, cfg, log)
	case "healthcheck":
		err = checkHealth(ctx, cfg)
	default:
		err = runSigning(args, cfg, time.Now(), stdout)
	}
	if wrong, ok := errors.AsType[*misuse](err); ok {
		fmt.Fprintln(stderr, wrong)
		return 2
	}
	if err != nil {
		log.Error("stopped", "error", err)
		return 1
	}
	return 0
}

// runServer serves until ctx ends. Once it has a port it passes that to wrap, if
// any, with its handler, and serves what wrap returns.
func runServer(ctx context.Context, cfg config, log *slog.Logger, wrap func(port int, h http.Handler) http.Handler) error {
	secure, err := newTLS(cfg, log)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", fmt.Sprintf(":%d", cfg.port))
	if err != nil {
		return fmt.Errorf("listen on PORT=%d: %w", cfg.port, err)
	}
	q := newEngine(cfg, log)
	defer q.Close()

	s := newServer(cfg, q, log)
	s.stopping = ctx
	h := s.routes()
	if wrap != nil {
		h = wrap(ln.Addr().(*net.TCPAddr).Port, h)
	}
	log.Info("listening", append([]any{"address", ln.Addr().String(), "queue", q.Describe()}, cfg.summary()...)...)
	return serve(ctx, ln, secure, h, log)
}
