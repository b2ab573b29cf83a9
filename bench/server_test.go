package bench

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// starter starts a server on the Redis at an address, or on none.
type starter func(b *testing.B, redisAddr string) *child

// program starts the program, from a binary.
func program(binary string) starter {
	return func(b *testing.B, redisAddr string) *child {
		b.Helper()
		return launch(b, binary, "REDIS_HOST="+redisAddr)
	}
}

// baseline starts one of the bare servers: this test binary once more, with the server's name in BENCH_SERVER.
func baseline(name string) starter {
	return func(b *testing.B, redisAddr string) *child {
		b.Helper()
		self, err := os.Executable()
		if err != nil {
			b.Fatal(err)
		}
		return launch(b, self, "BENCH_SERVER="+name, "REDIS_HOST="+redisAddr)
	}
}

// engines are what the program keeps images in: Redis, or its own memory.
var engines = []string{"redis", "embedded"}

// on starts the server on an engine. Redis is one of its own, and its CPU time counts as the server's.
func (s starter) on(b *testing.B, engine string) *child {
	b.Helper()
	if engine == "embedded" {
		return s(b, "")
	}
	store := benchRedis(b)
	c := s(b, store.Addr)
	c.redis = store.Client(b)
	return c
}

// child is a server under load, in a process of its own.
type child struct {
	cmd   *exec.Cmd
	addr  string
	redis *redis.Client // to the Redis whose CPU time counts as the server's; nil: to none
}

// launch starts a server in an empty directory, where no .env is, and waits until it answers.
func launch(b *testing.B, binary string, env ...string) *child {
	b.Helper()
	port := redistest.FreePort()
	c := &child{cmd: exec.Command(binary), addr: "127.0.0.1:" + port}
	c.cmd.Dir, c.cmd.Stderr = b.TempDir(), os.Stderr
	c.cmd.Env = append([]string{"PORT=" + port, "LOG_LEVEL=warn"}, env...)
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.stop)
	c.awaitAnswer(b)
	return c
}

// stop ends the process, if it still runs.
func (c *child) stop() {
	c.cmd.Process.Kill()
	c.cmd.Wait()
}

// awaitAnswer asks every 100 us until the server answers.
func (c *child) awaitAnswer(b *testing.B) {
	b.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Microsecond) {
		conn, err := net.Dial("tcp", c.addr)
		if err != nil {
			continue
		}
		fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		answer, _ := io.ReadAll(conn)
		conn.Close()
		if strings.HasPrefix(string(answer), "HTTP/1.1 200 ") {
			return
		}
	}
	b.Fatal("the server does not answer")
}

// cpu returns the CPU time that the server has used, with that of its Redis, in us. It waits until that Redis has
// nothing left to do.
func (c *child) cpu(b *testing.B) float64 {
	b.Helper()
	if c.redis == nil {
		return c.processCPU(b)
	}
	awaitQuiet(b, c.redis)
	return c.processCPU(b) + redisCPU(b, c.redis)
}

// processCPU adds up the CPU time of the threads of the process, in us. Go ends no threads.
func (c *child) processCPU(b *testing.B) (us float64) {
	b.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", c.cmd.Process.Pid))
	if err != nil || len(threads) == 0 {
		b.Fatalf("no threads of process %d, error %v", c.cmd.Process.Pid, err)
	}
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		if err != nil {
			b.Fatal(err)
		}
		var ns float64
		fmt.Sscan(string(text), &ns)
		us += ns / 1000
	}
	return us
}

// rss returns the resident memory of the process, in MB.
func (c *child) rss(b *testing.B) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	var kB float64
	fmt.Sscan(rest, &kB)
	return kB / 1000
}

// figure returns a number that the server's /metrics has without labels, such as go_goroutines.
func (c *child) figure(b *testing.B, name string) (number float64) {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+c.addr+"/metrics", nil)
	if err != nil {
		b.Fatal(err)
	}
	resp, err := testkit.Client.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "\n"+name+" ")
	if _, err := fmt.Sscan(rest, &number); !found || err != nil {
		b.Fatalf("no metric %s: status %s, error %v", name, resp.Status, err)
	}
	return number
}

// baselines are the bare servers: what it takes at least to do the same work, without the promises. They listen on
// PORT.
var baselines = map[string]func() error{
	"redis":  serveBareRedis,
	"memory": serveBareMemory,
	"stream": serveBareStream,
}

// serveBaseline is a bare server until it fails, if BENCH_SERVER names one. Otherwise it returns false at once.
func serveBaseline() bool {
	serve, named := baselines[os.Getenv("BENCH_SERVER")]
	if named {
		fmt.Fprintln(os.Stderr, serve())
	}
	return named
}

// serveBareRedis is the least that net/http and go-redis do for an image: one SET, one GET. It keeps one image for a
// session, without order, expiry or count.
func serveBareRedis() error {
	rdb := redis.NewClient(&redis.Options{Addr: os.Getenv("REDIS_HOST"), PoolSize: 64, DisableIdentity: true})
	return serveBare(func(r *http.Request, image []byte) error {
		return rdb.Set(r.Context(), r.PathValue("session"), image, 0).Err()
	}, func(r *http.Request) ([]byte, error) {
		return rdb.Get(r.Context(), r.PathValue("session")).Bytes()
	})
}

// serveBareMemory is a slice of images for each session.
func serveBareMemory() error {
	var mu sync.Mutex
	sessions := map[string][][]byte{}
	return serveBare(func(r *http.Request, image []byte) error {
		id := r.PathValue("session")
		mu.Lock()
		defer mu.Unlock()
		sessions[id] = append(sessions[id], image)
		return nil
	}, func(r *http.Request) ([]byte, error) {
		id := r.PathValue("session")
		mu.Lock()
		defer mu.Unlock()
		images := sessions[id]
		if len(images) == 0 {
			return nil, errors.New("no image")
		}
		sessions[id] = images[1:]
		return images[0], nil
	})
}

// serveBare is a relay on net/http with nothing to spare: it reads the body into one buffer of its size, and answers
// in one write. Its /metrics is a side door, which has Go's figures of the process under the names that they have in
// the program.
func serveBare(push func(*http.Request, []byte) error, pop func(*http.Request) ([]byte, error)) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.Handle("GET /metrics", promhttp.Handler())
	mux.HandleFunc("POST /image/{session}", func(w http.ResponseWriter, r *http.Request) {
		image := make([]byte, r.ContentLength)
		_, err := io.ReadFull(r.Body, image)
		if err == nil {
			err = push(r, image)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("GET /image/{session}", func(w http.ResponseWriter, r *http.Request) {
		image, err := pop(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "image/jpeg")
		w.Header().Set("Content-Length", strconv.Itoa(len(image)))
		w.Write(image)
	})
	return http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), mux)
}

// bareStream writes each image that it gets to all of its viewers.
type bareStream struct {
	mu      sync.Mutex
	viewers []net.Conn
}

func serveBareStream() error {
	ln, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		return err
	}
	var s bareStream
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		go s.serve(conn)
	}
}

// serve answers the requests of a connection.
func (s *bareStream) serve(conn net.Conn) {
	in := bufio.NewReaderSize(conn, 64<<10)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		switch {
		case strings.HasPrefix(req.URL.Path, "/stream/"):
			s.view(conn)
			return
		case req.Method == http.MethodGet: // /healthz
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			conn.Close()
			return
		}
		image, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		s.show(image)
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	}
}

// The form of the program's streams. A part is sent together with the boundary that follows it.
const (
	boundary  = "boundarydonotcross"
	delimiter = "--" + boundary + "\r\n"
)

func (s *bareStream) view(conn net.Conn) {
	fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=%s\r\n\r\n%s",
		boundary, delimiter)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.viewers = append(s.viewers, conn)
}

func (s *bareStream) show(image []byte) {
	us := time.Now().UnixMicro()
	part := fmt.Appendf(make([]byte, 0, len(image)+200),
		"Content-Type: image/jpeg\r\nContent-Length: %d\r\nX-Timestamp: %d.%06d\r\n\r\n%s\r\n%s",
		len(image), us/1e6, us%1e6, image, delimiter)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, viewer := range s.viewers {
		viewer.Write(part)
	}
}
