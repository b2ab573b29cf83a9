package e2e

import (
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// The server lives on when nobody reads its log any more, when its reader stands still, and when the disk is full. What
// is lost of the log is counted.
func TestLogCannotBeWritten(t *testing.T) {
	t.Parallel()
	pipe := func(t *testing.T) (r, w *os.File) {
		t.Helper()
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close(); w.Close() })
		return r, w
	}
	for name, open := range map[string]func(t *testing.T) *os.File{
		"reader gone": func(t *testing.T) *os.File {
			r, w := pipe(t)
			r.Close()
			return w
		},
		"reader stands still": func(t *testing.T) *os.File {
			_, w := pipe(t)
			return w
		},
		"disk full": func(t *testing.T) *os.File {
			full := testkit.Must(os.OpenFile("/dev/full", os.O_WRONLY, 0))(t)
			t.Cleanup(func() { full.Close() })
			return full
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := redistest.FreePort()
			cmd := exec.Command(binary)
			cmd.Stdout, cmd.Stderr = open(t), open(t)
			p := startProcess(t, cmd, "PORT="+port, "LOG_LEVEL=debug")
			p.Addr = "127.0.0.1:" + port
			defer time.AfterFunc(hangLimit, func() { cmd.Process.Kill() }).Stop()
			eventually(t, func() bool {
				conn, err := net.Dial("tcp", p.Addr)
				if err == nil {
					conn.Close()
				}
				return err == nil
			})
			id := session.New()
			p.Do(t, "POST", "/image/"+id, strings.NewReader("image")).WantStatus(t, 200)
			eventually(t, func() bool { // a pipe and the buffer before it hold some 2,000 lines
				for range 100 {
					p.Get(t, "/healthz").WantStatus(t, 200)
				}
				return p.Scrape(t).Value(t, "log_lines_lost_total") > 0
			})
			if got := p.Get(t, "/image/"+id).WantStatus(t, 200); got.Text != "image" {
				t.Errorf("got %q", got.Text)
			}
			p.terminate(t)
			p.wantExit(t, 0)
		})
	}
}

// A command whose reader has gone ends in silence. One whose output does not fit on the disk fails.
func TestOutputCannotBeWritten(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"help", "version", "key front", "link /stream/front 1h"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			r.Close()
			defer w.Close()
			full := testkit.Must(os.OpenFile("/dev/full", os.O_WRONLY, 0))(t)
			defer full.Close()
			if status, stderr := exitOf(t, command, w); status != 0 || stderr != "" {
				t.Errorf("reader gone: got exit status %d, %q, want 0 and silence", status, stderr)
			}
			if status, stderr := exitOf(t, command, full); status != 1 || !strings.Contains(stderr, "no space left") {
				t.Errorf("disk full: got exit status %d, %q, want 1 and the reason", status, stderr)
			}
		})
	}
}

// exitOf runs a command to its end.
func exitOf(t *testing.T, command string, stdout io.Writer) (status int, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, strings.Fields(command)...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = stdout, &log, t.TempDir()
	cmd.Env = []string{"SESSION_SECRET=" + testSecret}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the status tells
	return cmd.ProcessState.ExitCode(), log.String()
}
