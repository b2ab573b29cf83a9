// Package e2e tests the program as its users have it. TestMain builds the binary once; each test runs it in processes
// of its own and knows it by HTTP, by signals and by its log. Around it stand what people use with it: browsers,
// ffmpeg, curl, nginx, Prometheus and Redis. A test whose tool is missing is skipped, and fails in CI.
package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

const (
	testSecret = "a secret of the tests"
	testToken  = "a token of the operator's"

	// hangLimit ends a test whose subject hangs. It is longer than any healthy machine needs, however busy.
	hangLimit = time.Minute
)

// binary is the path of the program under test.
var binary string

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) (status int) {
	redistest.DiscardClientLog() // tests stop Redis
	dir, err := os.MkdirTemp("", "image-streamer-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "image-streamer")
	if err := build(binary); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer redistest.Stop()
	defer func() { stopBrowser() }()
	return m.Run()
}

// build builds the program, with the race detector if the tests have it.
func build(path string) error {
	args := []string{"build", "-buildvcs=false", "-o", path}
	if underRace() {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, ".")...)
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
	}
	return nil
}

// underRace reports whether the tests and the program were built for the race detector.
func underRace() bool {
	info, _ := debug.ReadBuildInfo()
	return slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// process is the program in a process of its own.
type process struct {
	relaytest.Client // Addr is known once it listens
	cmd              *exec.Cmd
	log              *testkit.Log
	ended            chan struct{} // closed when the process has ended
}

// start runs a command of the program with settings given as NAME=value, until the test ends or stops it.
func start(t testing.TB, command string, vars ...string) *process {
	t.Helper()
	return startProcess(t, exec.Command(binary, strings.Fields(command)...), vars...)
}

// startProcess starts the program in an empty directory, where no .env is. It inherits no variable. Its log is kept
// unless the command has a place for it.
func startProcess(t testing.TB, cmd *exec.Cmd, vars ...string) *process {
	t.Helper()
	p := &process{cmd: cmd, log: new(testkit.Log), ended: make(chan struct{})}
	cmd.Dir = t.TempDir()
	if cmd.Stderr == nil {
		cmd.Stderr = p.log
	}
	cmd.Env = append([]string{"PORT=0", "NODATA_HEIGHT=90"}, vars...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		cmd.Wait()
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-p.ended
		if log := p.log.String(); t.Failed() || strings.Contains(log, "WARNING: DATA RACE") {
			t.Errorf("the log of %v %q:\n%s", cmd.Args, vars, log)
		}
	})
	return p
}

// startServer starts a server on a free port and waits until it listens.
func startServer(t testing.TB, vars ...string) *process {
	t.Helper()
	return start(t, "", vars...).awaitListening(t)
}

var listening = regexp.MustCompile(`msg=listening address=\S*:(\d+) `)

func (p *process) awaitListening(t testing.TB) *process {
	t.Helper()
	testkit.Eventually(t, func() bool {
		found := listening.FindStringSubmatch(p.log.String())
		if found != nil {
			p.Addr = "127.0.0.1:" + found[1]
		}
		return found != nil
	})
	return p
}

// onQueues runs a test on a server with the embedded queue, and on one with Redis.
func onQueues(t *testing.T, test func(t *testing.T, p *process), vars ...string) {
	for name, redisHost := range map[string]func(testing.TB) string{
		"embedded": func(testing.TB) string { return "" },
		"redis":    func(t testing.TB) string { return redistest.Use(t).Addr },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, startServer(t, append(vars, "REDIS_HOST="+redisHost(t))...))
		})
	}
}

// terminate tells the process to stop.
func (p *process) terminate(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// wantExit waits for the end of the process and checks its exit status.
func (p *process) wantExit(t testing.TB, want int) {
	t.Helper()
	select {
	case <-p.ended:
		if got := p.cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("got exit status %d, want %d", got, want)
		}
	case <-time.After(hangLimit):
		t.Fatalf("did not end within %s", hangLimit)
	}
}

// figure returns a gauge of the process itself, such as go_goroutines, as /metrics shows it.
func (p *process) figure(t testing.TB, name string) float64 {
	t.Helper()
	family := p.Scrape(t)[name]
	if family == nil {
		t.Fatalf("no metric %s", name)
	}
	return family.Metric[0].GetGauge().GetValue()
}

// target lets an audit push to the server and pop from it.
func (p *process) target() relaytest.Target { return relaytest.Target{PushTo: p.Addr, PopFrom: p.Addr} }

// eventually is testkit.Eventually for a condition that is costly to look at.
func eventually(t testing.TB, holds func() bool) {
	t.Helper()
	testkit.Eventually(t, func() bool {
		ok := holds()
		if !ok {
			time.Sleep(20 * time.Millisecond)
		}
		return ok
	})
}

// tool is the path of a program that people use with the server.
type tool string

// findTool skips the test if a tool is not on PATH.
func findTool(t testing.TB, name string) tool {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		testkit.Skip(t, err)
	}
	return tool(path)
}

// run runs a tool to its end, which has to come with this exit status, and returns what it wrote. Arguments are split
// at spaces.
func (c tool) run(t testing.TB, status int, stdin io.Reader, format string, args ...any) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hangLimit)
	defer cancel()
	cmd := c.command(ctx, format, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	err := cmd.Run()
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got, err = exit.ExitCode(), nil
	}
	if err != nil || got != status {
		t.Fatalf("%v: got exit status %d, error %v, %s, want %d", cmd.Args, got, err, &stderr, status)
	}
	return stdout.Bytes()
}

func (c tool) command(ctx context.Context, format string, args ...any) *exec.Cmd {
	cmd := exec.CommandContext(ctx, string(c), strings.Fields(fmt.Sprintf(format, args...))...)
	cmd.Env = append(os.Environ(), "no_proxy=*")
	return cmd
}

// sharedBrowser is started by the first test that asks and ended by TestMain.
var sharedBrowser = sync.OnceValues(func() (context.Context, error) {
	path := ""
	for _, name := range []string{"google-chrome", "chromium-browser", "chromium"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
		}
	}
	if path == "" {
		return nil, errors.New("no chromium on PATH")
	}
	starter, end := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(800, 600),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.WSURLReadTimeout(hangLimit))...)
	ignore := chromedp.WithErrorf(func(string, ...any) {}) // chromedp reports events that it does not know
	browser, _ := chromedp.NewContext(starter, ignore)
	stopBrowser = func() {
		grace, cancel := context.WithTimeout(browser, 5*time.Second)
		defer cancel()
		chromedp.Cancel(grace)
		end()
	}
	if err := chromedp.Do(browser); err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return browser, nil
})

var stopBrowser = func() {}

// openPage opens a page in a window without cookies or cache.
func openPage(t testing.TB, url string) context.Context {
	t.Helper()
	browser, err := sharedBrowser()
	if err != nil {
		testkit.Skip(t, err)
	}
	page, shut := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(shut)
	page, cancel := context.WithTimeout(page, hangLimit)
	t.Cleanup(cancel)
	if err := chromedp.Do(page, chromedp.Navigate(url)); err != nil {
		t.Fatal(err)
	}
	return page
}

// openForeignPage opens a page of another origin than the server's.
func openForeignPage(t testing.TB, body string) context.Context {
	t.Helper()
	return openPage(t, foreignSite(t, body))
}

// foreignSite serves a page, with headers given as "Name: value", at an origin of its own, which it returns.
func foreignSite(t testing.TB, body string, headers ...string) (origin string) {
	t.Helper()
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for _, h := range append(headers, "Content-Type: text/html; charset=utf-8") {
			name, value, _ := strings.Cut(h, ": ")
			w.Header().Set(name, value)
		}
		io.WriteString(w, "<!doctype html>\n"+body)
	}))
	t.Cleanup(site.Close)
	return site.URL
}

// evaluate runs a script on a page and returns its value.
func evaluate[T any](t testing.TB, page context.Context, script string, options ...chromedp.EvaluateOption) T {
	t.Helper()
	return testkit.Must(chromedp.Run(page, chromedp.Evaluate[T](script, options...)))(t)
}

// startProducer starts the test producer. Its picture n has the ground n, and is the image n of its session.
func startProducer(t testing.TB, server *process, id string, interval time.Duration) *process {
	t.Helper()
	return start(t, "tester", "TEST_URL=http://"+server.Addr, "TEST_SESSION="+id,
		fmt.Sprint("TEST_INTERVAL=", interval.Seconds()))
}

// grounds is how many different grounds the pictures of the test producer have, one after another.
const grounds = 48

// ground returns the colour behind the number on a picture of the test producer.
func ground(number int) color.Color {
	const step, circle = 55, 240
	wave := func(at int) uint8 { return uint8(188 - abs(at%circle-circle/2)) }
	return color.YCbCr{Y: 80, Cb: wave(number * step), Cr: wave(number*step + circle/4)}
}

func abs(n int) int { return max(n, -n) }

// numberOf returns the number of the picture with a ground, from 1 to grounds, or 0 if it is the ground of none.
// Codecs change colours a little.
func numberOf(c color.Color) int {
	number, least := 0, 15<<8
	r, g, b, _ := c.RGBA()
	for n := 1; n <= grounds; n++ {
		r2, g2, b2, _ := ground(n).RGBA()
		distance := abs(int(r)-int(r2)) + abs(int(g)-int(g2)) + abs(int(b)-int(b2))
		if distance < least {
			number, least = n, distance
		}
	}
	return number
}

// picture returns a JPEG of the size of the test producer's, with the ground of a number and nothing on it.
func picture(t testing.TB, number int) []byte {
	t.Helper()
	canvas := image.NewRGBA(image.Rect(0, 0, 160, 90))
	draw.Draw(canvas, canvas.Rect, image.NewUniform(ground(number)), image.Point{}, draw.Src)
	var out bytes.Buffer
	if err := jpeg.Encode(&out, canvas, nil); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// wantRising checks that at least least different pictures were shown, in their order. A picture may be shown again
// before the next one.
func wantRising(t testing.TB, numbers []int, least int) {
	t.Helper()
	different := slices.Compact(slices.Clone(numbers))
	if len(different) < least {
		t.Errorf("got pictures %v, want %d different ones", numbers, least)
	}
	for i, n := range different {
		if n == 0 || i > 0 && (n-different[i-1]+grounds)%grounds > grounds/2 {
			t.Errorf("got pictures %v, want numbers that rise", numbers)
			return
		}
	}
}
