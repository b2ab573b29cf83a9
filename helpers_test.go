package main

import (
	"context"
	"image"
	"image/png"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/image-streamer/image-streamer/internal/certtest"
	"github.com/image-streamer/image-streamer/internal/config"
	"github.com/image-streamer/image-streamer/internal/httpserver"
	"github.com/image-streamer/image-streamer/internal/logwriter"
	"github.com/image-streamer/image-streamer/internal/memqueue"
	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/queuetest"
	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

const (
	testSecret = "a secret of the tests"
	testToken  = "a token of the operator's"

	mebi = 1 << 20 // the MAX_IMAGE_BYTES of testConfig
)

// testServer is a server under test, with its own listener, its client and its queue at hand.
type testServer struct {
	*queuetest.Harness
	*relaytest.Client
	server *server
}

// testSetup is what newTestServer makes a server of. Options change it.
type testSetup struct {
	draining context.Context // its end makes the server drain
	bounds   bounds
	queue    queue.Queue // the harness, or what stands in front of it
	log      *slog.Logger
	registry *prometheus.Registry
	handler  httpserver.HandlerFunc // at every path, instead of the routes; nil: the routes
}

// testOption changes the setup of a server under test.
type testOption func(*testSetup)

// withQueue puts another queue in front of that of the harness.
func withQueue(q queue.Queue) testOption { return func(s *testSetup) { s.queue = q } }

// withBounds changes the bounds in time.
func withBounds(change func(*bounds)) testOption { return func(s *testSetup) { change(&s.bounds) } }

// withDraining makes the server drain when a context ends.
func withDraining(ctx context.Context) testOption { return func(s *testSetup) { s.draining = ctx } }

// withLog gives the server a log.
func withLog(log *slog.Logger) testOption { return func(s *testSetup) { s.log = log } }

// withHandler answers every path by a handler of the test's own, with all that stands around the server's handlers.
func withHandler(h httpserver.HandlerFunc) testOption { return func(s *testSetup) { s.handler = h } }

// testBounds are the bounds of servers under test: /stats always shows what is there now.
func testBounds() bounds {
	b := defaults()
	b.listing = 0
	return b
}

// newTestServer starts a server with settings, on the queue of a harness.
func newTestServer(t testing.TB, cfg config.Config, h *queuetest.Harness, options ...testOption) *testServer {
	t.Helper()
	setup := testSetup{
		draining: context.Background(), bounds: testBounds(), queue: h, log: slog.New(slog.DiscardHandler),
		registry: prometheus.NewRegistry(),
	}
	for _, change := range options {
		change(&setup)
	}
	s := newServer(setup.draining, cfg, setup.queue, setup.bounds, setup.registry, setup.log)
	routes := s.routes()
	if setup.handler != nil {
		routes = s.stack.Wrap(s.stack.Handle(setup.handler))
	}
	listener := httptest.NewUnstartedServer(routes)
	listener.Listener = httpserver.LimitStalls(listener.Listener, setup.bounds.answer)
	listener.Config.ConnContext = httpserver.ConnContext
	listener.Start()
	t.Cleanup(listener.Close)
	return &testServer{h, &relaytest.Client{Addr: listener.Listener.Addr().String()}, s}
}

// newMemoryServer starts a server on the embedded queue, with settings given as NAME=value.
func newMemoryServer(t testing.TB, vars ...string) *testServer {
	t.Helper()
	cfg := testConfig(t, vars...)
	return newTestServer(t, cfg, memoryHarness(t, cfg))
}

// newHarnesses make a queue of one engine each, for the settings of a server.
type newHarnesses map[string]func(testing.TB, config.Config) *queuetest.Harness

var (
	// engines are the engines as they are.
	engines = newHarnesses{"memory": memoryHarness, "redis": redisHarness}
	// clockedEngines are engines that no other test uses and whose clocks a test moves, so that no time passes by itself.
	clockedEngines = newHarnesses{"memory": memoryHarness, "redis": clockedHarness}
)

// memoryHarness makes an embedded queue, whose clock the test moves.
func memoryHarness(t testing.TB, cfg config.Config) *queuetest.Harness {
	clock := queuetest.NewClock()
	q := memqueue.New(memqueue.Options{
		TTL: cfg.Expire, MemoryLimit: cfg.Limits.MemoryBytes, Limits: queueLimits(cfg.Limits), Now: clock.Now,
		Registerer: prometheus.NewRegistry(),
	})
	t.Cleanup(q.Close)
	return &queuetest.Harness{
		Queue: q, TTL: cfg.Expire, Elapse: clock.Move,
		StepBack: func(_ string, d time.Duration) { clock.Move(-d) },
	}
}

// redisHarness makes a queue on the shared Redis. Its clock is that of the machine: StepBack is nil.
func redisHarness(t testing.TB, cfg config.Config) *queuetest.Harness {
	t.Helper()
	return harnessOn(t, cfg, redistest.Use(t))
}

// harnessOn makes a queue on a Redis.
func harnessOn(t testing.TB, cfg config.Config, r *redistest.Server) *queuetest.Harness {
	t.Helper()
	cfg.Redis = testkit.Must(config.Load(vary("REDIS_HOST=" + r.Addr)))(t).Redis
	q := testkit.Must(openQueue(cfg, prometheus.NewRegistry(), slog.New(slog.DiscardHandler)))(t)
	t.Cleanup(q.Close)
	return &queuetest.Harness{Queue: q, TTL: cfg.Expire, Elapse: time.Sleep, Remote: true}
}

// clockedHarness makes a queue on a Redis of its own, whose clock the test moves.
func clockedHarness(t testing.TB, cfg config.Config) *queuetest.Harness {
	t.Helper()
	r, clock := redistest.Clocked(t)
	h := harnessOn(t, cfg, r)
	h.Elapse = func(d time.Duration) { clock.Move(t, d) }
	return h
}

// onEngines runs a test on a server of each engine, with settings given as NAME=value.
func onEngines(t *testing.T, test func(t *testing.T, s *testServer), vars ...string) {
	t.Helper()
	engines.run(t, test, vars)
}

// onNotified calls test with a server on each engine that does not poll: what its readers learn of images, they learn
// by notifications.
func onNotified(t *testing.T, test func(t *testing.T, s *testServer), vars ...string) {
	t.Helper()
	engines.run(t, test, vars, withoutPoll)
}

// onClocked calls test with a server on each engine whose clock the test moves.
func onClocked(t *testing.T, test func(t *testing.T, s *testServer), vars ...string) {
	t.Helper()
	clockedEngines.run(t, test, vars)
}

func withoutPoll(s *testSetup) { s.bounds.poll = time.Hour }

func (engines newHarnesses) run(
	t *testing.T, test func(t *testing.T, s *testServer), vars []string, options ...testOption,
) {
	t.Helper()
	cfg := testConfig(t, vars...)
	for name, newHarness := range engines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newTestServer(t, cfg, newHarness(t, cfg), options...))
		})
	}
}

// testConfig checks settings as the program does. A setting that is not given is small or has its default; the limits
// of a session and of their number are off, because tests share a Redis.
func testConfig(t testing.TB, vars ...string) config.Config {
	t.Helper()
	return testkit.Must(config.Load(vary(append([]string{
		"NODATA_HEIGHT=90", "MAX_IMAGE_BYTES=1MiB", "MEMORY_LIMIT=64MiB", "EXPIRE=60",
		"MAX_IMAGES=0", "MAX_SESSION_BYTES=0", "MAX_SESSIONS=0",
	}, vars...)...)))(t)
}

// vary is an environment of its own: a setting that is not given is empty, so that no variable and no file of the
// developer's counts.
func vary(vars ...string) config.Lookup {
	return func(name string) (value string, ok bool) {
		for _, v := range vars {
			if rest, found := strings.CutPrefix(v, name+"="); found {
				value = rest
			}
		}
		return value, true
	}
}

// awaitViewers waits until the server has so many streams and so many waiting readers.
func (s *testServer) awaitViewers(t testing.TB, viewers, waiting int) {
	t.Helper()
	testkit.Eventually(t, func() bool {
		m := s.Scrape(t)
		return m.Value(t, "viewers") == float64(viewers) && m.Value(t, "waiting_readers") == float64(waiting)
	})
}

// awaitUploads waits until so many uploads hold so many bytes.
func (s *testServer) awaitUploads(t testing.TB, uploads int, bytes int64) {
	t.Helper()
	testkit.Eventually(t, func() bool {
		m := s.Scrape(t)
		return m.Value(t, "uploads") == float64(uploads) && m.Value(t, "upload_bytes") == float64(bytes)
	})
}

// isNoData reports whether a frame is the No Data image of a server with NODATA_HEIGHT=90.
func isNoData(f relaytest.Frame) bool { return f.Image == string(noDataJPEG(160, 90)) }

// lateQueue hands out images only after their consumer has hung up.
type lateQueue struct{ queue.Queue }

func (q lateQueue) PopAtMost(ctx context.Context, id string, size int) (queue.Delivery, error) {
	d, err := q.Queue.PopAtMost(ctx, id, size)
	<-ctx.Done()
	return d, err
}

// wantPNG decodes an image and checks its size.
func wantPNG(t testing.TB, data string, width, height int) image.Image {
	t.Helper()
	picture := testkit.Must(png.Decode(strings.NewReader(data)))(t)
	if got := picture.Bounds().Size(); got != image.Pt(width, height) {
		t.Errorf("got an image of %v, want %d x %d", got, width, height)
	}
	return picture
}

// connection stands for the connection of a handler that runs without one: it takes deadlines.
type connection struct{ *httptest.ResponseRecorder }

func (connection) SetReadDeadline(time.Time) error  { return nil }
func (connection) SetWriteDeadline(time.Time) error { return nil }

// program is run() under way, as a process would be.
type program struct {
	relaytest.Client // Addr is known once it listens
	log              *testkit.Log
	stop             context.CancelFunc // SIGTERM
	exit             chan int
}

// start runs the program with settings given as NAME=value, until the test ends or stops it.
func start(t testing.TB, command string, vars ...string) *program {
	return launch(t, func(ctx context.Context, log *testkit.Log) int {
		return run(ctx, strings.Fields(command), vary(vars...), io.Discard, log)
	})
}

// launch calls main, which returns an exit status, until the test ends or stops it.
func launch(t testing.TB, main func(ctx context.Context, log *testkit.Log) int) *program {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	p := &program{log: new(testkit.Log), stop: stop, exit: make(chan int, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.exit <- main(ctx, p.log)
	}()
	t.Cleanup(func() { stop(); <-ended })
	return p
}

// listening matches the log line, text or JSON, that has the server's port.
var listening = regexp.MustCompile(`\blistening\b.*?\baddress[^ ,]*:(\d+)`)

// startServer runs a server, or a demo, on a free port and waits until it listens.
func startServer(t testing.TB, command string, vars ...string) *program {
	t.Helper()
	return start(t, command, append([]string{"PORT=0", "NODATA_HEIGHT=90"}, vars...)...).awaitListening(t)
}

// startBounded runs a server like startServer, with other bounds in time.
func startBounded(t testing.TB, change func(*bounds), vars ...string) *program {
	t.Helper()
	cfg := testConfig(t, append([]string{"PORT=0"}, vars...)...)
	return launch(t, func(ctx context.Context, log *testkit.Log) int {
		b := testBounds()
		change(&b)
		lines := logwriter.New(log)
		defer lines.Close(time.Minute)
		in := invocation{cfg: cfg, log: newLogger(lines, cfg.Log), lines: lines}
		if err := serve(ctx, in, b, func(_ int, h http.Handler) http.Handler { return h }); err != nil {
			in.log.Error("stopped", "error", err)
			return 1
		}
		return 0
	}).awaitListening(t)
}

func (p *program) awaitListening(t testing.TB) *program {
	t.Helper()
	p.log.Await(t, "listening")
	p.Addr = "127.0.0.1:" + listening.FindStringSubmatch(p.log.String())[1]
	return p
}

// wantExit waits for the end of the program and checks its exit status.
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

// onPrograms runs a test on the whole program, with the embedded queue and on Redis.
func onPrograms(t *testing.T, test func(t *testing.T, p *program), vars ...string) {
	for name, redisHost := range map[string]func(testing.TB) string{
		"embedded": func(testing.TB) string { return "" },
		"redis":    func(t testing.TB) string { return redistest.Use(t).Addr },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, startServer(t, "", append([]string{"REDIS_HOST=" + redisHost(t)}, vars...)...))
		})
	}
}

// smallJPEG returns what has the structure of a JPEG, with a text as the data of its picture.
func smallJPEG(text string) string {
	return "\xff\xd8\xff\xdb\x00\x08tables\xff\xda\x00\x06scan" + text + "\xff\xd9"
}

// secureServer is a program that speaks HTTPS, with a client that trusts its certificate.
type secureServer struct {
	*program
	files  certtest.Pair
	client *http.Client
}

// startHTTPS runs a server with a certificate of its own. Its client speaks HTTP/2 or HTTP/1.1.
func startHTTPS(t testing.TB, http2 bool, vars ...string) *secureServer {
	t.Helper()
	files := certtest.New(t)
	p := startServer(t, "", append(tlsVars(files), vars...)...)
	return &secureServer{p, files, files.Client(t, http2)}
}

// tlsVars returns the settings for a certificate.
func tlsVars(p certtest.Pair) []string { return []string{"TLS_CERT=" + p.Cert, "TLS_KEY=" + p.Key} }

// request sends a request over HTTPS and returns the answer unread. The caller closes its body.
func (s *secureServer) request(
	ctx context.Context, t testing.TB, method, path string, body io.Reader,
) *http.Response {
	t.Helper()
	req := testkit.Must(http.NewRequestWithContext(ctx, method, "https://"+s.Addr+path, body))(t)
	return testkit.Must(s.client.Do(req))(t)
}

// Do sends a request over HTTPS.
func (s *secureServer) Do(t testing.TB, method, path string, body io.Reader) relaytest.Response {
	t.Helper()
	return relaytest.Received(t, s.request(t.Context(), t, method, path, body), method)
}

// DoLater is Do in the background.
func (s *secureServer) DoLater(t testing.TB, method, path string, body io.Reader) *relaytest.Pending {
	t.Helper()
	req := testkit.Must(http.NewRequestWithContext(t.Context(), method, "https://"+s.Addr+path, body))(t)
	return relaytest.SendLater(s.client.Transport, req)
}

// partsOf returns a function that reads the next part of an MJPEG stream.
func partsOf(t testing.TB, resp *http.Response) (next func() string) {
	t.Helper()
	_, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("got status %d, Content-Type %q, %v", resp.StatusCode, resp.Header.Get("Content-Type"), err)
	}
	parts := multipart.NewReader(resp.Body, params["boundary"])
	return func() string {
		t.Helper()
		return string(testkit.Must(io.ReadAll(testkit.Must(parts.NextRawPart())(t)))(t))
	}
}

// idCharacters are the characters of session ids and keys.
const idCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func containsAny(s string, parts ...string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(s, part) })
}

// drain takes all images of a session.
func (s *testServer) drain(t testing.TB, id string) {
	t.Helper()
	for s.Len(t, id) > 0 {
		s.Take(t, id)
	}
}

// accessServer is a server on the embedded queue. The test sets the clock by which links expire.
type accessServer struct {
	*testServer
	clock *queuetest.Clock
}

// newAccessServer starts a server with settings given as NAME=value. Its clock shows a whole second, as links do.
func newAccessServer(t testing.TB, vars ...string) *accessServer {
	t.Helper()
	cfg, clock := testConfig(t, vars...), queuetest.NewClock()
	s := newTestServer(t, cfg, memoryHarness(t, cfg), withBounds(func(b *bounds) { b.now = clock.Now }))
	a := &accessServer{s, clock}
	a.setTime(clock.Now().Truncate(time.Second))
	return a
}

func (s *accessServer) setTime(at time.Time) { s.clock.Move(at.Sub(s.clock.Now())) }

// linkQuery returns the query of a link that opens a path for a time.
func (s *accessServer) linkQuery(path string, validity time.Duration) string {
	path, _ = canonicalPath(path)
	_, query, _ := strings.Cut(s.server.signer.Link(path, s.clock.Now().Add(validity)), "?")
	return query
}

// status sends a request, with an image where the route takes one, and returns the status. It does not wait for the
// end of the answer.
func (s *accessServer) status(t testing.TB, method, path, query string, headers ...string) int {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var body io.Reader
	switch {
	case strings.HasPrefix(strings.ToLower(path), "/imageform/"):
		body = strings.NewReader(relaytest.Form("image"))
		headers = append(headers, "Content-Type: "+relaytest.FormType)
	case method == "POST" && !strings.HasSuffix(strings.TrimSuffix(path, "/"), "/pop") || method == "PUT":
		body = strings.NewReader(smallJPEG("image"))
	}
	req := s.NewRequest(t, method, path, body, headers...).WithContext(ctx)
	req.URL.RawQuery = strings.Trim(req.URL.RawQuery+"&"+query, "&")
	resp := testkit.Must(testkit.Client.Transport.RoundTrip(req))(t)
	defer resp.Body.Close()
	challenge := map[bool]string{true: "Bearer"}[resp.StatusCode == 401]
	if got := resp.Header.Get("WWW-Authenticate"); got != challenge {
		t.Errorf("status %d: got WWW-Authenticate %q, want %q", resp.StatusCode, got, challenge)
	}
	if resp.StatusCode >= 400 && method != http.MethodHead {
		relaytest.Received(t, resp, method)
	}
	return resp.StatusCode
}

// sized is a body that is sent with its length.
func sized(body string) io.Reader { return strings.NewReader(body) }

// waysToSend are requests with the body of one image.
var waysToSend = []struct {
	name, path, contentType string
	framed                  func(body string) io.Reader
	body                    func(image string) string
}{
	{"sized", "/image/", "image/jpeg", sized, func(image string) string { return image }},
	{"chunked", "/image/", "image/jpeg", relaytest.Chunked, func(image string) string { return image }},
	{"form", "/imageForm/", relaytest.FormType, sized, relaytest.Form},
	{"form, chunked", "/imageForm/", relaytest.FormType, relaytest.Chunked, relaytest.Form},
	{"stream of parts", "/stream/", relaytest.MixedType, relaytest.Chunked, relaytest.Part},
	{
		"stream of parts without lengths", "/stream/", relaytest.MixedType, relaytest.Chunked,
		func(image string) string { return "--b\r\n\r\n" + image + "\r\n--b--\r\n" },
	},
	{"stream of JPEGs", "/stream/", "", relaytest.Chunked, func(image string) string { return image }},
}

// latencies measures how long things take, less the delays of a busy machine: see testkit.Stopwatch.
type latencies struct {
	stopwatch *testkit.Stopwatch
	begun     testkit.Lap
}

func newLatencies(t testing.TB) *latencies {
	t.Helper()
	return &latencies{stopwatch: testkit.StartStopwatch(t)}
}

// begin begins a measurement.
func (l *latencies) begin() { l.begun = l.stopwatch.Lap() }

// elapsed returns the time since begin.
func (l *latencies) elapsed() time.Duration { return l.stopwatch.Lap().Since(l.begun) }

// wantAlike checks that GET and HEAD answer alike: with an image or, for "", with No Data. Images have the type
// image/webp.
func (s *testServer) wantAlike(t testing.TB, path, image string, sequence, behind int) {
	t.Helper()
	got := s.Get(t, path).WantStatus(t, 200)
	head := s.Do(t, http.MethodHead, path, nil).WantStatus(t, 200)
	want := map[string]string{
		"Content-Type": "image/webp", "Content-Length": strconv.Itoa(len(image)), "X-No-Data": "",
		"X-Sequence": strconv.Itoa(sequence), "X-Queue-Length": strconv.Itoa(behind),
		"X-Timestamp": head.Header.Get("X-Timestamp"),
	}
	if image == "" {
		var kind string
		image, kind = noDataAt(path)
		want = map[string]string{
			"Content-Type": kind, "Content-Length": strconv.Itoa(len(image)), "X-No-Data": "true",
			"X-Sequence": "", "X-Queue-Length": "0", "X-Timestamp": "",
		}
	}
	if got.Text != image || head.Text != "" {
		t.Errorf("%s: got %.99q, and %q by HEAD, want %.99q", path, got.Text, head.Text, image)
	}
	for name, want := range want {
		if got, head := got.Header.Get(name), head.Header.Get(name); got != want || head != want {
			t.Errorf("%s: got %s %q, and %q by HEAD, want %q", path, name, got, head, want)
		}
	}
}

// noDataAt returns the No Data image that a reader gets at a path, and its type. The reader accepts everything, and the
// server has NODATA_HEIGHT=90.
func noDataAt(path string) (image, contentType string) {
	if strings.Contains(path, ".jp") || strings.Contains(path, "action=snapshot") {
		return string(noDataJPEG(160, 90)), "image/jpeg"
	}
	return string(noDataPNG(160, 90)), "image/png"
}

// tryGet returns the image at a path and its sequence, or "" for every answer without an image. Unlike Get it may be
// called in any goroutine.
func (s *testServer) tryGet(path string) (image string, sequence int) {
	resp, err := testkit.Client.Get(s.URL(path))
	if err != nil {
		return "", 0
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || resp.Header.Get("X-No-Data") != "" {
		return "", 0
	}
	sequence, _ = strconv.Atoi(resp.Header.Get("X-Sequence"))
	return string(body), sequence
}
