// Package bench measures the program against bare baselines of the same run, for the table in README.md. Ours is the
// program's binary, built once as users build it, or the queue on Redis alone; the bare servers are this test binary,
// started once more. Ours and a baseline do the same work in turn, so that a machine that is busy or slow is so for
// both. Run all of it with
//
//	make bench
//
// The table is printed at the end. A missed target is shown there, and fails nothing.
package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/redisqueue"
	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

func TestMain(m *testing.M) {
	if serveBaseline() {
		os.Exit(1)
	}
	redisqueue.DiscardClientLog()
	os.Exit(runBenchmarks(m))
}

func runBenchmarks(m *testing.M) (status int) {
	dir, err := os.MkdirTemp("", "image-streamer-bench-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	buildOurs = sync.OnceValues(func() (string, error) {
		binary := filepath.Join(dir, "image-streamer")
		return binary, build("..", binary)
	})
	status = m.Run()
	printTable()
	return status
}

// buildOurs builds the program, for the first benchmark that needs it, and returns the path of the binary. TestMain
// sets it.
var buildOurs func() (binary string, err error)

// ourBinary returns the path of the program's binary.
func ourBinary(b *testing.B) string {
	b.Helper()
	return testkit.Must(buildOurs())(b)
}

// ours starts the program.
func ours(b *testing.B) starter {
	b.Helper()
	return program(ourBinary(b))
}

// build builds the program from a source folder, as make build does. The binary is not stamped with a revision: a
// folder that comes out of an archive has none.
func build(source, binary string) error {
	return command(source, "env", "CGO_ENABLED=0",
		"go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", binary, ".")
}

// command runs a program in a folder.
func command(dir, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %q: %w: %s", name, args, err, out)
	}
	return nil
}

// benchRedis starts a Redis for one benchmark, by the program redis-server: the proxy of a container would be measured
// too.
func benchRedis(b *testing.B) *redistest.Server {
	b.Helper()
	b.Setenv("TEST_REDIS_BY", "binary")
	return redistest.Own(b)
}

// info reads one number of INFO.
func info(b *testing.B, rdb *redis.Client, section, field string) (value float64) {
	b.Helper()
	text := testkit.Must(rdb.Info(b.Context(), section).Result())(b)
	_, rest, found := strings.Cut(text, "\n"+field+":")
	if _, err := fmt.Sscan(rest, &value); !found || err != nil {
		b.Fatalf("INFO %s: no %s", section, field)
	}
	return value
}

// redisCPU returns the CPU time that a Redis has used, its background threads included, in us.
func redisCPU(b *testing.B, rdb *redis.Client) float64 {
	b.Helper()
	return (info(b, rdb, "cpu", "used_cpu_user") + info(b, rdb, "cpu", "used_cpu_sys")) * 1e6
}

// lag is longer than the queue delays what follows an answer: what it frees, and what it notes.
const lag = 50 * time.Millisecond

// awaitQuiet waits until Redis has had no command for a while, besides those of awaitQuiet.
func awaitQuiet(b *testing.B, rdb *redis.Client) {
	b.Helper()
	for last := -1.0; ; {
		now := info(b, rdb, "stats", "total_commands_processed")
		if now == last+1 {
			return
		}
		last = now
		time.Sleep(lag)
	}
}

// parallel does a job n times, shared between workers, and ends the benchmark when one fails.
func parallel(b *testing.B, workers, n int, job func(i int) error) {
	b.Helper()
	var all sync.WaitGroup
	failed := make(chan error, workers)
	for w := range workers {
		all.Go(func() {
			for i := w; i < n; i += workers {
				if err := job(i); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	all.Wait()
	select {
	case err := <-failed:
		b.Fatal(err)
	default:
	}
}

// client is one keep-alive connection that costs next to nothing: its requests are made once, and it reads of the
// answers what it checks.
type client struct {
	conn      net.Conn
	in        *bufio.Reader
	post, get []byte
	size      int // of an image
}

// dialClient connects to a server, for images of a size that go to and come from a session.
func dialClient(b *testing.B, addr, id string, size int, chunked bool) *client {
	b.Helper()
	conn := testkit.Must(net.Dial("tcp", addr))(b)
	b.Cleanup(func() { conn.Close() })
	image := bytes.Repeat([]byte{0xd8}, size)
	post := fmt.Appendf(nil, "POST /image/%s HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n", id)
	if chunked {
		post = append(post, "Transfer-Encoding: chunked\r\n\r\n"...)
		for rest := image; len(rest) > 0; rest = rest[min(len(rest), 16<<10):] {
			part := rest[:min(len(rest), 16<<10)]
			post = fmt.Appendf(post, "%x\r\n%s\r\n", len(part), part)
		}
		post = append(post, "0\r\n\r\n"...)
	} else {
		post = fmt.Appendf(post, "Content-Length: %d\r\n\r\n%s", size, image)
	}
	return &client{
		conn: conn, in: bufio.NewReaderSize(conn, 64<<10), size: size, post: post,
		get: fmt.Appendf(nil, "GET /image/%s HTTP/1.1\r\nHost: x\r\n\r\n", id),
	}
}

func (c *client) pushPop() error {
	if err := c.push(); err != nil {
		return err
	}
	return c.pop()
}

func (c *client) push() error {
	n, err := c.exchange(c.post)
	if err == nil && n != 0 {
		err = fmt.Errorf("push: got an answer of %d bytes, want none", n)
	}
	return err
}

func (c *client) pop() error {
	n, err := c.exchange(c.get)
	if err == nil && n != c.size {
		err = fmt.Errorf("pop: got %d bytes, want %d", n, c.size)
	}
	return err
}

var lengthHeader = []byte("Content-Length: ")

// exchange sends a request and reads its answer, which must be a 200 with Content-Length, and returns the length of
// the body.
func (c *client) exchange(request []byte) (length int, err error) {
	if _, err := c.conn.Write(request); err != nil {
		return 0, err
	}
	line, err := c.in.ReadSlice('\n')
	if err != nil || !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
		return 0, fmt.Errorf("got answer %q, error %w", line, err)
	}
	for len(line) > 2 {
		if line, err = c.in.ReadSlice('\n'); err != nil {
			return 0, err
		}
		if value, found := bytes.CutPrefix(line, lengthHeader); found {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, err
			}
		}
	}
	_, err = c.in.Discard(length)
	return length, err
}
