package e2e

import (
	"bytes"
	"fmt"
	"image/jpeg"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// readmeBlock returns the first block of code in a language behind a text of README.
func readmeBlock(t testing.TB, behind, language string) string {
	t.Helper()
	_, rest, _ := strings.Cut(readFile(t, "README.md"), behind)
	_, rest, _ = strings.Cut(rest, "```"+language+"\n")
	block, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatalf("README has no block of %s behind %q", language, behind)
	}
	return block
}

// The first block of README can be pasted whole: it needs no picture, waits for its server, and leaves none behind.
func TestReadmeFirstBlock(t *testing.T) {
	t.Parallel()
	findTool(t, "curl")
	bash, dir, port := findTool(t, "bash"), t.TempDir(), redistest.FreePort()
	builds := fmt.Sprintf("go() { cp %q .; }\n", binary) // the program was built before
	block := builds + strings.ReplaceAll(readmeBlock(t, "## Use", "sh"), ":3000", ":"+port)
	cmd := exec.CommandContext(t.Context(), string(bash), "-e", "-u", "-c", block)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "PORT="+port, "no_proxy=*")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	taken := testkit.Must(os.ReadFile(filepath.Join(dir, "taken.jpg")))(t)
	sent := testkit.Must(os.ReadFile(filepath.Join(dir, "photo.jpg")))(t)
	if !bytes.Equal(taken, sent) {
		t.Errorf("took %d bytes, sent %d", len(taken), len(sent))
	}
	testkit.Must(jpeg.Decode(bytes.NewReader(sent)))(t)
	testkit.Must(net.Listen("tcp", "127.0.0.1:"+port))(t).Close()
}

// The <img> of README that takes one image after another goes on when the server was restarted. It asks for the next
// image only when the last one was painted: otherwise Chromium may never paint the first one behind an error.
func TestReadmeImageSurvivesRestart(t *testing.T) {
	t.Parallel()
	id, port := session.New(), redistest.FreePort()
	p := startServer(t, "PORT="+port, "LOG_LEVEL=debug")
	_, element, _ := strings.Cut(readmeBlock(t, "In a page:", "html"), "\n") // the first line is a stream
	element = strings.NewReplacer("localhost:3000", p.Addr, "SESSION", id).Replace(element)
	page := openForeignPage(t, "") // the image comes later, because navigation would wait for it
	evaluate[string](t, page, fmt.Sprintf("document.body.innerHTML = %q", element))
	for n := 1; n <= 3; n++ {
		p.Do(t, "POST", "/image/"+id, bytes.NewReader(picture(t, n))).WantStatus(t, 200)
		eventually(t, func() bool { return pictureOnScreen(t, page, "img") == n })
		p.terminate(t)
		p.wantExit(t, 0)
		p = startServer(t, "PORT="+port, "LOG_LEVEL=debug")
	}
}
