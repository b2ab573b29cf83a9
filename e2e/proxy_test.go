package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// nginxBlock is the configuration of nginx in README.md.
var nginxBlock = regexp.MustCompile("(?s)```nginx\n(.*?)```")

// startNginx starts nginx before a server, with the configuration that README.md gives.
func startNginx(t testing.TB, p *process) *relaytest.Client {
	t.Helper()
	nginx := findTool(t, "nginx")
	found := nginxBlock.FindSubmatch(testkit.Must(os.ReadFile("../README.md"))(t))
	if found == nil {
		t.Fatal("README.md has no configuration of nginx")
	}
	dir, addr := t.TempDir(), freeAddress(t)
	block := strings.NewReplacer("127.0.0.1:3000", p.Addr, "/var/log/nginx", dir,
		"server {", "server {\nlisten "+addr+";").Replace(string(found[1]))
	temporary := ""
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temporary += fmt.Sprintf("%s_temp_path %s;\n", kind, filepath.Join(dir, kind))
	}
	config := fmt.Sprintf("daemon off;\nmaster_process off;\npid %s/pid;\nerror_log stderr warn;\n"+
		"events {}\nhttp {\n%s%s}\n", dir, temporary, block)
	file := filepath.Join(dir, "nginx.conf")
	testkit.NoError(t, os.WriteFile(file, []byte(config), 0o600))

	log := new(testkit.Log)
	cmd := exec.Command(string(nginx), "-p", dir, "-c", file)
	cmd.Stderr, cmd.SysProcAttr = log, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	testkit.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("the log of nginx:\n%s", log)
		}
	})
	testkit.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return &relaytest.Client{Addr: addr}
}

// freeAddress returns an address of this machine on which nothing listens.
func freeAddress(t testing.TB) string {
	t.Helper()
	ln := testkit.Must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer ln.Close()
	return ln.Addr().String()
}

// refusals are requests that are refused, most of them before their body is read.
var refusals = []struct {
	status                    int
	method, path, contentType string
	largest                   int // body that gets this status; 0: any
	vars                      []string
}{
	{400, "POST", "/image/a%20session", "image/jpeg", 0, nil},
	{400, "POST", "/imageForm/a", "multipart/form-data", 10 << 20, nil},
	{401, "POST", "/image/a", "image/jpeg", 0, []string{"SESSION_SECRET=" + testSecret, "REQUIRE_KEY=true"}},
	{401, "POST", "/stream/a", "image/jpeg", 0, []string{"SESSION_SECRET=" + testSecret, "REQUIRE_KEY=true"}},
	{403, "PUT", "/image/a", "image/jpeg", 0, []string{"SESSION_SECRET=" + testSecret}},
	{404, "POST", "/nothing", "image/jpeg", 0, nil},
	{405, "DELETE", "/image/a", "image/jpeg", 0, nil},
	{413, "POST", "/image/a", "image/jpeg", 0, []string{"MAX_IMAGE_BYTES=100k"}},
	{415, "POST", "/imageForm/a", "image/jpeg", 10 << 20, nil},
	{415, "POST", "/image/a", "image/jpeg", 10 << 20, []string{"CHECK_IMAGES=true"}},
	{429, "POST", "/image/new", "image/jpeg", 10 << 20, []string{"MAX_SESSIONS=1"}},
	{507, "POST", "/image/a", "image/jpeg", 3 << 20, []string{"MEMORY_LIMIT=3MiB"}},
}

// The true status of a refusal reaches the client while megabytes of the request are still on their way, also through a
// proxy that passes the request on as it comes.
func TestRefusalArrives(t *testing.T) {
	t.Parallel()
	for _, row := range refusals {
		t.Run(fmt.Sprint(row.status, row.path, row.vars), func(t *testing.T) {
			t.Parallel()
			p := startServer(t, row.vars...)
			p.Do(t, "POST", "/image/first", bytes.NewReader(make([]byte, 3_000_000)))
			for name, c := range map[string]*relaytest.Client{"direct": &p.Client, "nginx": startNginx(t, p)} {
				for _, size := range []int{500_000, 2_000_000, 20_000_000} {
					if row.largest > 0 && size > row.largest {
						continue
					}
					body := bytes.Repeat([]byte("x"), size)
					for n := range min(20, 200_000_000/size) {
						sent := io.Reader(bytes.NewReader(body))
						if n%2 == 1 {
							sent = relaytest.Chunked(string(body))
						}
						got := c.Do(t, row.method, row.path, sent, "Content-Type: "+row.contentType, "Connection: close")
						if got.StatusCode != row.status {
							t.Fatalf("%s, %d bytes, chunked %v: got status %d, %.200s",
								name, size, n%2 == 1, got.StatusCode, got.Text)
						}
					}
				}
			}
		})
	}
}
