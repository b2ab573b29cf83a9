package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/config"
	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

func TestRunExits(t *testing.T) {
	t.Parallel()
	taken := testkit.Must(net.Listen("tcp", ":0"))(t)
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
		{
			"", []string{"PORT=x", "EXPIRE=y"}, 2, "", "PORT=x: allowed is a whole number from 0 to 65535 " +
				"(0 picks a free port)\nEXPIRE=y: allowed is a number from 0.01 to 31536000\n",
		},
		{"demo", []string{"REDIS_HOST=redis://u:hunter2@h:x"}, 2, "", "REDIS_HOST=redis://***@h:x: allowed is host"},
		{"tester", []string{"TEST_SESSION=a b"}, 2, "", "TEST_SESSION=a b: allowed is 1 to 64"},
		{"tester", []string{"TEST_SESSION=front.jpg"}, 2, "", "TEST_SESSION=front.jpg: allowed is 1 to 64"},
		{"", []string{"SESSION_SECRET=  "}, 2, "", "SESSION_SECRET=(blank): allowed is at least 16 characters"},
		{"", []string{"OPERATOR_TOKEN=\t "}, 2, "", "OPERATOR_TOKEN=(blank): allowed is at least 16 characters"},
		{"", []string{"OPERATOR_TOKEN=hunter2-hunter2-hünter2"}, 2, "", "OPERATOR_TOKEN=***: allowed is at least 16"},
		{"", []string{"CORS_ORIGINS=https://*.a.example"}, 2, "", "each host in full, without a wildcard"},
		{
			"nonsense", nil, 2, "",
			`no program "nonsense": allowed are none, demo, tester, healthcheck, key, link, version and help`,
		},
		{"demo twice", nil, 2, "", `no program "demo twice"`},
		{"", []string{"PORT=" + port}, 1, "", "listen on PORT=" + port},
		{"demo", []string{"PORT=" + port}, 1, "", "address already in use"},
		{"", []string{"PORT=" + port, "LOG_FORMAT=json"}, 1, "", `{"time":`},
		{"healthcheck", []string{"PORT=1"}, 1, "", "connection refused"},
	} {
		t.Run(row.command+" "+strings.Join(row.vars, " "), func(t *testing.T) {
			t.Parallel()
			var stdout, stderr testkit.Log
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			status := run(ctx, strings.Fields(row.command), vary(row.vars...), &stdout, &stderr)
			if status != row.status {
				t.Errorf("got status %d, want %d", status, row.status)
			}
			for name, got := range map[string]struct{ all, part string }{
				"stdout": {stdout.String(), row.stdout}, "stderr": {stderr.String(), row.stderr},
			} {
				if !strings.Contains(got.all, got.part) || (got.part == "") != (got.all == "") ||
					strings.Contains(got.all, "hunter2") {
					t.Errorf("%s: got %q, want %q in it", name, got.all, got.part)
				}
			}
		})
	}
}

// A variable of the file .env counts if no real variable has its name. The file is in the working directory, which is
// the process's: so this test runs alone.
func TestRunReadsDotenv(t *testing.T) {
	t.Chdir(t.TempDir())
	outside := func(vars ...string) config.Lookup { // only these are really set
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
		{
			"wrong in the file", "PORT=wrong\nEXPIRE = 'two'\n", nil, 2,
			"PORT=wrong: allowed is a whole number from 0 to 65535 (0 picks a free port)\nEXPIRE=two: allowed is",
		},
		{"a variable wins", "PORT=wrong # not so\nLOG_LEVEL=loud\n", []string{"PORT=3000"}, 2, "LOG_LEVEL=loud: "},
		{
			"no value", "PORT\nREDIS_HOST=redis://:hunter2@h", nil, 2,
			"image-streamer: .env is malformed: allowed are lines of NAME=value",
		},
		{"no value at the end", "EXPIRE=1\nPORT", nil, 2, ".env is malformed"},
		{"a space for the equals sign", "REDIS_HOST redis://:hunter2=@h\n", nil, 2, ".env is malformed"},
		{"open quote", "REDIS_HOST='redis://:hunter2@h\n", nil, 2, ".env is malformed"},
		{"right", "# comment\nexport PORT=1\n", nil, 1, "connection refused"},
		{"right, by an editor that marks UTF-8", "\ufeffPORT=1\r\n", nil, 1, "connection refused"},
	} {
		if err := os.WriteFile(".env", []byte(row.file), 0o600); err != nil {
			t.Fatal(err)
		}
		var stderr testkit.Log
		status := run(t.Context(), []string{"healthcheck"}, outside(row.vars...), io.Discard, &stderr)
		if got := stderr.String(); status != row.status || !strings.Contains(got, row.stderr) ||
			strings.Contains(got, "PORT=wrong") != strings.Contains(row.stderr, "PORT=wrong") ||
			strings.Contains(got, "hunter2") {
			t.Errorf("%s: got status %d, %q, want %d, %q", row.name, status, got, row.status, row.stderr)
		}
	}
}

func TestHealthcheck(t *testing.T) {
	t.Parallel()
	p := startServer(t, "")
	_, port, _ := net.SplitHostPort(p.Addr)
	var out testkit.Log
	status := run(t.Context(), []string{"healthcheck"}, vary("PORT="+port), &out, &out)
	if status != 0 || out.String() != "" {
		t.Errorf("got status %d, %q, want 0 and silence", status, out.String())
	}
	sick := http.Server{Handler: http.NotFoundHandler()}
	ln := testkit.Must(net.Listen("tcp", "127.0.0.1:0"))(t)
	go sick.Serve(ln)
	defer sick.Close()
	port = strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
	status = run(t.Context(), []string{"healthcheck"}, vary("PORT="+port), &out, &out)
	if status != 1 || !strings.Contains(out.String(), "404") {
		t.Errorf("of a server that is not this one: got status %d, %q, want 1", status, out.String())
	}
}

func TestDemo(t *testing.T) {
	t.Parallel()
	p := startServer(t, "demo", "TEST_INTERVAL=0.02", "TEST_SESSION=ignored")
	_, port, _ := net.SplitHostPort(p.Addr)
	lines := p.log.Lines()
	for i, url := range []string{"http://localhost:" + port + "/ ", "http://localhost:" + port + "/image/xyzabc "} {
		if len(lines) <= i || !strings.Contains(lines[i], url) {
			t.Errorf("log line %d: got %q, want %q in it", i, lines[i:], url)
		}
	}
	page := p.Get(t, "/?_cb=1").WantStatus(t, 200)
	if !strings.HasPrefix(page.Header.Get("Content-Type"), "text/html") || !strings.Contains(page.Text, "/image/xyzabc") {
		t.Errorf("got page %s, %.99q", page.Header.Get("Content-Type"), page.Text)
	}
	got, want := page.Header.Get("Content-Security-Policy"), policyOf(demoPage)
	if got != want || strings.Contains(got, "unsafe") {
		t.Errorf("got policy %q, want %q", got, want)
	}
	p.Do(t, http.MethodHead, "/", nil).WantStatus(t, 200)
	p.Do(t, http.MethodPost, "/", strings.NewReader("image")).WantStatus(t, 404)
	for want := 1; want <= 3; { // the tester's images come, in order
		if got := p.Get(t, "/image/xyzabc").WantStatus(t, 200); !got.IsNoData() {
			if got.Header.Get("X-Sequence") != strconv.Itoa(want) {
				t.Errorf("got X-Sequence %s, want %d", got.Header.Get("X-Sequence"), want)
			}
			want++
		}
		time.Sleep(5 * time.Millisecond)
	}
	p.log.Await(t, `"SESSION: xyzabc"`)
	p.stop()
	p.wantExit(t, 0, time.Minute)
}

// After SIGTERM no connection is accepted, and requests in flight are finished.
func TestStopFinishesUpload(t *testing.T) {
	t.Parallel()
	p := startServer(t, "")
	conn := p.Dial(t)
	fmt.Fprint(conn, "POST /image/x HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\nContent-Length: 10\r\n\r\nfirst")
	testkit.Eventually(t, func() bool { return p.Scrape(t).Value(t, "uploads") == 1 })
	p.stop()
	p.log.Await(t, "msg=stopping")
	testkit.Eventually(t, func() bool {
		late, err := net.Dial("tcp", p.Addr)
		if err == nil {
			late.Close()
		}
		return err != nil
	})
	fmt.Fprint(conn, "+last")
	got := relaytest.Received(t, testkit.Must(http.ReadResponse(bufio.NewReader(conn), nil))(t), "POST").WantStatus(t, 200)
	if want := `{"session":"x","sequence":1,"queued":1}` + "\n"; got.Text != want {
		t.Errorf("got %q, want %q", got.Text, want)
	}
	p.wantExit(t, 0, time.Minute)
}

// An upload that does not end holds the server for the grace time, and no longer.
func TestStopCutsWhatHangs(t *testing.T) {
	t.Parallel()
	if got := defaults().grace; got != 8*time.Second {
		t.Errorf("got a grace of %s, README says 8 seconds", got)
	}
	const grace = time.Second
	p := startBounded(t, func(b *bounds) { b.grace = grace })
	conn := p.Dial(t)
	fmt.Fprint(conn, "POST /image/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nfirst")
	testkit.Eventually(t, func() bool { return p.Scrape(t).Value(t, "uploads") == 1 })
	p.stop()
	begun := time.Now()
	p.wantExit(t, 0, time.Minute)
	if took := time.Since(begun); took < grace*9/10 {
		t.Errorf("ended after %s, the upload had %s", took, grace)
	}
}
