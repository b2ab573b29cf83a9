package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// program is run() under way, as a process would be.
type program struct {
	site // addr alone, once it listens
	log  *logBuffer
	stop context.CancelFunc // SIGTERM
	exit chan int
}

// logBuffer takes lines from several goroutines.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *logBuffer) lines() []string { return strings.Split(strings.TrimSpace(b.String()), "\n") }

func (b *logBuffer) await(t testing.TB, what string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(b.String(), what); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the log has no %q: %s", what, b)
		}
	}
}

// start runs a program with settings given as NAME=value, until the test ends or
// stops it.
func start(t testing.TB, command string, vars ...string) *program {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	p := &program{log: new(logBuffer), stop: stop, exit: make(chan int, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.exit <- run(ctx, strings.Fields(command), vary(vars...), io.Discard, p.log)
	}()
	t.Cleanup(func() { stop(); <-ended })
	return p
}

var listening = regexp.MustCompile(`msg=listening address=\S*:(\d+)`)

// startServer runs a server, or a demo, on a free port and waits until it listens.
func startServer(t testing.TB, command string, vars ...string) *program {
	t.Helper()
	p := start(t, command, append([]string{"PORT=0", "NODATA_HEIGHT=90"}, vars...)...)
	p.log.await(t, "msg=listening")
	p.addr = "127.0.0.1:" + listening.FindStringSubmatch(p.log.String())[1]
	return p
}

func (p *program) wantExit(t testing.TB, want int, within time.Duration) {
	t.Helper()
	select {
	case got := <-p.exit:
		if got != want {
			t.Errorf("got exit status %d, want %d: %s", got, want, p.log)
		}
	case <-time.After(within):
		t.Fatalf("did not end within %s: %s", within, p.log)
	}
}

func TestRunExits(t *testing.T) {
	t.Parallel()
	taken := must(net.Listen("tcp", ":0"))(t)
	t.Cleanup(func() { taken.Close() }) // after the parallel subtests
	port := fmt.Sprint(taken.Addr().(*net.TCPAddr).Port)
	for _, row := range []struct {
		command        string
		vars           []string
		status         int
		stdout, stderr string // parts of the output
	}{
		{"help", nil, 0, "NODATA_ASPECT_RATIO  0.5625", ""},
		{"--help", []string{"PORT=wrong"}, 0, "image-streamer healthcheck", ""},
		{"-h", nil, 0, "Settings", ""},
		{"version", nil, 0, "image-streamer ", ""},
		{"--version", []string{"PORT=wrong"}, 0, "go1.", ""},
		{"", []string{"PORT=x", "EXPIRE=y"}, 2, "", "PORT=x: allowed is a whole number from 0 to 65535 (0 picks a free port)\nEXPIRE=y: allowed is a number from 0.01 to 31536000\n"},
		{"demo", []string{"REDIS_HOST=redis://u:hunter2@h:x"}, 2, "", "REDIS_HOST=redis://***@h:x: allowed is host"},
		{"tester", []string{"TEST_SESSION=a b"}, 2, "", "TEST_SESSION=a b: allowed is 1 to 64"},
		{"nonsense", nil, 2, "", `no program "nonsense": allowed are none, demo, tester, healthcheck, key, link, version and help`},
		{"demo twice", nil, 2, "", `no program "demo twice"`},
		{"", []string{"PORT=" + port}, 1, "", "listen on PORT=" + port},
		{"demo", []string{"PORT=" + port}, 1, "", "address already in use"},
		{"", []string{"PORT=" + port, "LOG_FORMAT=json"}, 1, "", `{"time":`},
		{"healthcheck", []string{"PORT=1"}, 1, "", "connection refused"},
	} {
		t.Run(row.command+" "+strings.Join(row.vars, " "), func(t *testing.T) {
			t.Parallel()
			var stdout, stderr logBuffer
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			status := run(ctx, strings.Fields(row.command), vary(row.vars...), &stdout, &stderr)
			if status != row.status {
				t.Errorf("got status %d, want %d", status, row.status)
			}
			for name, got := range map[string]struct{ all, part string }{
				"stdout": {stdout.String(), row.stdout}, "stderr": {stderr.String(), row.stderr},
			} {
				if !strings.Contains(got.all, got.part) || (got.part == "") != (got.all == "") || strings.Contains(got.all, "hunter2") {
					t.Errorf("%s: got %q, want %q in it", name, got.all, got.part)
				}
			}
		})
	}
}

// The file .env counts where no real variable does. It is looked for in the
// working directory, so this test runs alone.
func TestRunReadsDotenv(t *testing.T) {
	t.Chdir(t.TempDir())
	outside := func(vars ...string) lookup { // only these are really set
		return func(name string) (string, bool) {
			value, _ := vary(vars...)(name)
			return value, value != ""
		}
	}
	for _, row := range []struct {
		name, file string
		vars       []string
		status     int
		stderr     string
	}{
		{"wrong in the file", "PORT=wrong\nEXPIRE = 'two'\n", nil, 2, "PORT=wrong: allowed is a whole number from 0 to 65535 (0 picks a free port)\nEXPIRE=two: allowed is"},
		{"a variable wins", "PORT=wrong # not so\nLOG_LEVEL=loud\n", []string{"PORT=3000"}, 2, "LOG_LEVEL=loud: "},
		{"no value", "PORT\nREDIS_HOST=redis://:hunter2@h", nil, 2, "image-streamer: .env is malformed: allowed are lines of NAME=value"},
		{"no value at the end", "EXPIRE=1\nPORT", nil, 2, ".env is malformed"},
		{"a space for the equals sign", "REDIS_HOST redis://:hunter2=@h\n", nil, 2, ".env is malformed"},
		{"open quote", "REDIS_HOST='redis://:hunter2@h\n", nil, 2, ".env is malformed"},
		{"right", "# comment\nexport PORT=1\n", nil, 1, "connection refused"},
	} {
		if err := os.WriteFile(".env", []byte(row.file), 0o600); err != nil {
			t.Fatal(err)
		}
		var stderr logBuffer
		status := run(t.Context(), []string{"healthcheck"}, outside(row.vars...), io.Discard, &stderr)
		if got := stderr.String(); status != row.status || !strings.Contains(got, row.stderr) ||
			strings.Contains(got, "PORT=wrong") != strings.Contains(row.stderr, "PORT=wrong") || strings.Contains(got, "hunter2") {
			t.Errorf("%s: got status %d, %q, want %d, %q", row.name, status, got, row.status, row.stderr)
		}
	}
}

func TestHealthcheck(t *testing.T) {
	t.Parallel()
	p := startServer(t, "")
	_, port, _ := net.SplitHostPort(p.addr)
	var out logBuffer
	if status := run(t.Context(), []string{"healthcheck"}, vary("PORT="+port), &out, &out); status != 0 || out.String() != "" {
		t.Errorf("got status %d, %q, want 0 and silence", status, out.String())
	}
	sick := http.Server{Handler: http.NotFoundHandler()}
	ln := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	go sick.Serve(ln)
	defer sick.Close()
	port = strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
	if status := run(t.Context(), []string{"healthcheck"}, vary("PORT="+port), &out, &out); status != 1 || !strings.Contains(out.String(), "404") {
		t.Errorf("of a server that is not this one: got status %d, %q, want 1", status, out.String())
	}
}

func TestDemo(t *testing.T) {
	t.Parallel()
	p := startServer(t, "demo", "TEST_INTERVAL=0.02", "TEST_SESSION=ignored")
	_, port, _ := net.SplitHostPort(p.addr)
	lines := p.log.lines()
	for i, url := range []string{"http://localhost:" + port + "/ ", "http://localhost:" + port + "/image/xyzabc "} {
		if len(lines) <= i || !strings.Contains(lines[i], url) {
			t.Errorf("log line %d: got %q, want %q in it", i, lines[i:], url)
		}
	}
	page := p.get(t, "/?_cb=1").wantStatus(t, 200)
	if !strings.HasPrefix(page.Header.Get("Content-Type"), "text/html") || !strings.Contains(page.body, "/image/xyzabc") {
		t.Errorf("got page %s, %.99q", page.Header.Get("Content-Type"), page.body)
	}
	if got, want := page.Header.Get("Content-Security-Policy"), policyOf(demoPage); got != want || strings.Contains(got, "unsafe") {
		t.Errorf("got policy %q, want %q", got, want)
	}
	p.do(t, http.MethodHead, "/", nil).wantStatus(t, 200)
	p.do(t, http.MethodPost, "/", strings.NewReader("image")).wantStatus(t, 404)
	for want := 1; want <= 3; { // the tester's images come, in order
		if got := p.get(t, "/image/xyzabc").wantStatus(t, 200); !got.isNoData() {
			if got.Header.Get("X-Sequence") != strconv.Itoa(want) {
				t.Errorf("got X-Sequence %s, want %d", got.Header.Get("X-Sequence"), want)
			}
			want++
		}
		time.Sleep(5 * time.Millisecond)
	}
	p.log.await(t, `"SESSION: xyzabc"`)
	p.stop()
	p.wantExit(t, 0, 10*time.Second)
}

// SIGTERM: nothing new is accepted, and what is in flight is finished.
func TestStopFinishesUpload(t *testing.T) {
	t.Parallel()
	p := startServer(t, "")
	conn := p.dial(t)
	fmt.Fprint(conn, "POST /image/x HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\nContent-Length: 10\r\n\r\nfirst")
	time.Sleep(50 * time.Millisecond) // the request is being read: nothing outside shows that
	p.stop()
	p.log.await(t, "msg=stopping")
	eventually(t, func() bool {
		late, err := net.Dial("tcp", p.addr)
		if err == nil {
			late.Close()
		}
		return err != nil
	})
	fmt.Fprint(conn, "+last")
	got := received(t, must(http.ReadResponse(bufio.NewReader(conn), nil))(t), "POST").wantStatus(t, 200)
	if want := `{"session":"x","sequence":1,"queued":1}` + "\n"; got.body != want {
		t.Errorf("got %q, want %q", got.body, want)
	}
	p.wantExit(t, 0, 5*time.Second)
}

// An upload that does not end holds the server for ten seconds, and no longer.
func TestStopCutsWhatHangs(t *testing.T) {
	t.Parallel()
	p := startServer(t, "")
	conn := p.dial(t)
	fmt.Fprint(conn, "POST /image/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nfirst")
	time.Sleep(50 * time.Millisecond)
	p.stop()
	begun := time.Now()
	p.wantExit(t, 0, graceLimit+2*time.Second)
	if took := time.Since(begun); took < graceLimit-time.Second {
		t.Errorf("ended after %s, the upload had %s", took, graceLimit)
	}
}
