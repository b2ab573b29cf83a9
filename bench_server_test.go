package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	_ "net/http/pprof" // on the side door of the servers under load
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// The servers under load are processes of their own: this test binary once more,
// told by BENCH_SERVER what to be.
func init() {
	serve, ok := map[string]func(){
		"ours":        main, // on Redis or embedded, as REDIS_HOST says
		"bare-redis":  serveBareRedis,
		"bare-memory": serveBareMemory,
		"bare-stream": serveBareStream,
	}[os.Getenv("BENCH_SERVER")]
	if !ok {
		return
	}
	go http.ListenAndServe("127.0.0.1:"+os.Getenv("BENCH_SIDE_PORT"), sideDoor())
	serve()
	os.Exit(0)
}

// sideDoor tells what the process has allocated and runs, and serves pprof.
func sideDoor() http.Handler {
	http.HandleFunc("/goroutines", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, runtime.NumGoroutine()) })
	http.HandleFunc("/allocated", func(w http.ResponseWriter, _ *http.Request) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		fmt.Fprint(w, m.TotalAlloc)
	})
	return http.DefaultServeMux
}

// serveBareRedis is what net/http and go-redis do at least for an image: one SET,
// one GET. It keeps one image for a session, and keeps no order, no expiry, no
// count, and no promise.
func serveBareRedis() {
	rdb := redis.NewClient(&redis.Options{Addr: os.Getenv("REDIS_HOST"), PoolSize: connections, DisableIdentity: true})
	serveBare(func(r *http.Request, image []byte) error {
		return rdb.Set(r.Context(), r.PathValue("session"), image, 0).Err()
	}, func(r *http.Request) ([]byte, error) {
		return rdb.Get(r.Context(), r.PathValue("session")).Bytes()
	})
}

// serveBareMemory is a slice of images per session.
func serveBareMemory() {
	var mu sync.Mutex
	images := map[string][][]byte{}
	serveBare(func(r *http.Request, image []byte) error {
		session := r.PathValue("session")
		mu.Lock()
		defer mu.Unlock()
		images[session] = append(images[session], image)
		return nil
	}, func(r *http.Request) ([]byte, error) {
		session := r.PathValue("session")
		mu.Lock()
		defer mu.Unlock()
		queue := images[session]
		if len(queue) == 0 {
			return nil, errEmpty
		}
		images[session] = queue[1:]
		return queue[0], nil
	})
}

// serveBare is a relay on net/http with nothing to spare: the body in one buffer
// of its size, one write.
func serveBare(push func(*http.Request, []byte) error, pop func(*http.Request) ([]byte, error)) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
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
	http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), mux)
}

// child is a server under load.
type child struct {
	pid        int
	addr, side string
}

// startChild starts one of the servers of init and waits until it answers.
func startChild(b *testing.B, what, redisAddr string, vars ...string) *child {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	port, side := freePort(), freePort()
	return launch(b, exec.Command(self), port, side,
		append(vars, "BENCH_SERVER="+what, "REDIS_HOST="+redisAddr, "BENCH_SIDE_PORT="+side)...)
}

// launch starts a server in an empty directory, where no .env is.
func launch(b testing.TB, cmd *exec.Cmd, port, side string, env ...string) *child {
	b.Helper()
	cmd.Dir, cmd.Stderr = b.TempDir(), os.Stderr
	cmd.Env = append([]string{"PORT=" + port, "LOG_LEVEL=warn"}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	c := &child{pid: cmd.Process.Pid, addr: "127.0.0.1:" + port, side: "127.0.0.1:" + side}
	c.awaitAnswer(b)
	return c
}

// awaitAnswer asks again and again, without a pause, until the server answers.
func (c *child) awaitAnswer(b testing.TB) {
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

// cpu returns the CPU time that the threads of the process have used, in us. Go
// ends no threads.
func (c *child) cpu(b *testing.B) (us float64) {
	b.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", c.pid))
	if err != nil || len(threads) == 0 {
		b.Fatalf("no threads of process %d, error %v", c.pid, err)
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
func (c *child) rss(b testing.TB) float64 { return c.memory(b, "VmRSS:") }

// memory returns a figure of the process's memory, in MB.
func (c *child) memory(b testing.TB, name string) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), name)
	var kB float64
	fmt.Sscan(rest, &kB)
	return kB / 1000
}

// descriptors returns how many file descriptors the process has open.
func (c *child) descriptors(b *testing.B) float64 {
	b.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.pid))
	if err != nil {
		b.Fatal(err)
	}
	return float64(len(open))
}

// allocated returns the bytes the process has allocated since its start.
func (c *child) allocated(b *testing.B) float64 { return c.ask(b, "/allocated") }

func (c *child) goroutines(b *testing.B) float64 { return c.ask(b, "/goroutines") }

// ask asks the side door for a number.
func (c *child) ask(b *testing.B, path string) (number float64) {
	b.Helper()
	req, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+c.side+path, nil)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Fscan(resp.Body, &number)
	return number
}
