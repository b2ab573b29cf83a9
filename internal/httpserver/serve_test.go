package httpserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/certtest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// served is a call of Serve under way.
type served struct {
	addr  string
	log   *testkit.Log
	stop  context.CancelFunc
	ended chan error
}

// serve calls Serve until the test ends or stops it.
func serve(t testing.TB, h http.HandlerFunc, o ServeOptions) *served {
	t.Helper()
	ln := testkit.Must(net.Listen("tcp", "127.0.0.1:0"))(t)
	ctx, stop := context.WithCancel(context.Background())
	s := &served{addr: ln.Addr().String(), log: new(testkit.Log), stop: stop, ended: make(chan error, 1)}
	o.Log = slog.New(slog.NewJSONHandler(s.log, nil))
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ended <- Serve(ctx, ln, h, o)
	}()
	t.Cleanup(func() { stop(); <-done })
	return s
}

// wantEnd waits for the end of Serve. It checks the log: how long requests in flight had, and whether they were cut.
func (s *served) wantEnd(t testing.TB, grace time.Duration, cut bool) {
	t.Helper()
	if err := <-s.ended; err != nil {
		t.Errorf("got %v, want nil", err)
	}
	stopping, cuts := s.log.JSON(t, "stopping"), s.log.JSON(t, "requests still in flight were cut")
	if len(stopping) != 1 || stopping[0]["grace"] != float64(grace) || (len(cuts) == 1) != cut {
		t.Errorf("got log %s, want a grace of %s, and requests cut: %v", s.log, grace, cut)
	}
}

// When the context ends nothing new is accepted, and what is in flight is finished.
func TestServeFinishesRequests(t *testing.T) {
	t.Parallel()
	reading := make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		close(reading)
		body := testkit.Must(io.ReadAll(r.Body))(t)
		w.Write(body)
	}, ServeOptions{})
	conn := dial(t, s.addr)
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nfirst")
	<-reading
	s.stop()
	testkit.Eventually(t, func() bool {
		late, err := net.Dial("tcp", s.addr)
		if err == nil {
			late.Close()
		}
		return err != nil
	})
	select {
	case err := <-s.ended:
		t.Fatalf("ended with %v while a request was in flight", err)
	default:
	}
	fmt.Fprint(conn, "+last")
	resp := testkit.Must(http.ReadResponse(bufio.NewReader(conn), nil))(t)
	if body := testkit.Must(io.ReadAll(resp.Body))(t); string(body) != "first+last" {
		t.Errorf("got %q, want first+last", body)
	}
	s.wantEnd(t, 8*time.Second, false)
}

// A request that outlasts the grace is cut. Serve returns when its handler has returned too, because the handler may
// still give back what it took.
func TestServeCutsWhatHangs(t *testing.T) {
	t.Parallel()
	const grace = 100 * time.Millisecond
	reading, gaveBack := make(chan struct{}), atomic.Bool{}
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		close(reading)
		io.ReadAll(r.Body)
		time.Sleep(50 * time.Millisecond)
		gaveBack.Store(true)
	}, ServeOptions{Grace: grace})
	conn := dial(t, s.addr)
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nfirst")
	<-reading
	stopped := time.Now()
	s.stop()
	s.wantEnd(t, grace, true)
	if took := time.Since(stopped); took < grace || !gaveBack.Load() {
		t.Errorf("ended after %s with a grace of %s, handler at its end: %v", took, grace, gaveBack.Load())
	}
	if got, err := io.ReadAll(conn); len(got) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %q, error %v, want the end of the connection", got, err)
	}
}

// A listener that fails ends Serve with the reason.
// The end of an HTTP/2 connection does not end its handlers. Serve waits for them all the same.
func TestServeWaitsForHandlersOfHTTP2(t *testing.T) {
	t.Parallel()
	files := certtest.New(t)
	certificate := testkit.Must(LoadCertificate(files.Cert, files.Key, slog.New(slog.DiscardHandler)))(t)
	began, proceed := make(chan struct{}), make(chan struct{})
	var ended atomic.Bool
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done() // the client has hung up
		<-proceed
		ended.Store(true)
	}, ServeOptions{TLS: &tls.Config{GetCertificate: certificate.Get}})
	ctx, hangUp := context.WithCancel(t.Context())
	client := files.Client(t, true)
	r := testkit.Must(http.NewRequestWithContext(ctx, http.MethodGet, "https://"+s.addr, nil))(t)
	go client.Do(r)
	<-began
	hangUp()
	client.CloseIdleConnections()
	s.stop()
	testkit.Eventually(t, func() bool { return len(s.log.JSON(t, "stopping")) == 1 })
	select {
	case <-s.ended:
		t.Error("Serve ended before a handler")
	case <-time.After(100 * time.Millisecond): // more would only make the test sharper
		close(proceed)
		if err := <-s.ended; err != nil || !ended.Load() {
			t.Errorf("got error %v, handler ended: %v", err, ended.Load())
		}
	}
}

func TestServeFails(t *testing.T) {
	t.Parallel()
	ln := testkit.Must(net.Listen("tcp", "127.0.0.1:0"))(t)
	ln.Close()
	err := Serve(t.Context(), ln, http.NotFoundHandler(), ServeOptions{Log: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, net.ErrClosed) || !strings.HasPrefix(err.Error(), "serve: ") {
		t.Errorf("got %v, want a closed listener", err)
	}
}

// Headers that do not end hold a connection for a while only.
func TestSlowHeaders(t *testing.T) {
	t.Parallel()
	s := serve(t, http.NotFound, ServeOptions{HeaderTimeout: 200 * time.Millisecond})
	conn := dial(t, s.addr)
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	go func() {
		for _, err := conn.Write([]byte("x")); err == nil; _, err = conn.Write([]byte("x")) {
			time.Sleep(20 * time.Millisecond)
		}
	}()
	if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection is still open")
	}
	for given, want := range map[time.Duration]time.Duration{0: 10 * time.Second, time.Minute: time.Minute} {
		o := ServeOptions{Log: slog.New(slog.DiscardHandler), HeaderTimeout: given}
		if got := newServer(nil, o).ReadHeaderTimeout; got != want {
			t.Errorf("got %s of the option %s, want %s", got, given, want)
		}
	}
}

// Headers may take 16 KiB and what net/http adds. Longer ones are refused before they are read.
func TestLongHeaders(t *testing.T) {
	t.Parallel()
	var handled atomic.Int64
	s := serve(t, func(http.ResponseWriter, *http.Request) { handled.Add(1) }, ServeOptions{})
	for size, want := range map[int]int{15 << 10: 200, 24 << 10: 431, 1 << 20: 431} {
		conn := dial(t, s.addr)
		go fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nX-Long: %s\r\n\r\nimage",
			strings.Repeat("x", size))
		if got := testkit.Must(http.ReadResponse(bufio.NewReader(conn), nil))(t); got.StatusCode != want {
			t.Errorf("%d bytes: got status %d, want %d", size, got.StatusCode, want)
		}
	}
	if n := handled.Load(); n != 1 {
		t.Errorf("%d requests were handled, want 1", n)
	}
}

// Over TLS clients have the choice of HTTP/1.1 and HTTP/2, and a handler finds the connection below the encryption.
func TestServeTLS(t *testing.T) {
	t.Parallel()
	files := certtest.New(t)
	certificate := testkit.Must(LoadCertificate(files.Cert, files.Key, slog.New(slog.DiscardHandler)))(t)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, Conn(r).LocalAddr())
	}, ServeOptions{TLS: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate.Get}})
	for http2, proto := range map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"} {
		resp := testkit.Must(files.Client(t, http2).Get("https://" + s.addr))(t)
		body := testkit.Must(io.ReadAll(resp.Body))(t)
		resp.Body.Close()
		if resp.Proto != proto || string(body) != s.addr {
			t.Errorf("got %s and connection %q, want %s and %q", resp.Proto, body, proto, s.addr)
		}
	}
	plain := testkit.Must(testkit.Client.Get("http://" + s.addr))(t)
	plain.Body.Close()
	if plain.StatusCode != http.StatusBadRequest {
		t.Errorf("plain HTTP: got status %d, want 400", plain.StatusCode)
	}
}

// Streams of HTTP/2 have deadlines of their own: a body that stands still delays no other request of its connection.
func TestUnreadBodyOverHTTP2(t *testing.T) {
	t.Parallel()
	files := certtest.New(t)
	certificate := testkit.Must(LoadCertificate(files.Cert, files.Key, slog.New(slog.DiscardHandler)))(t)
	endpoints := newTestServer(t, Options{BodyIdle: time.Hour}, endpoints{
		"/ok":      succeeds,
		"/refused": fails(Errorf(http.StatusBadRequest, "no")),
	})
	s := serve(t, endpoints.handler.ServeHTTP, ServeOptions{TLS: &tls.Config{GetCertificate: certificate.Get}})
	client := files.Client(t, true)
	body, still := io.Pipe()
	defer still.Close()
	refused := testkit.Must(client.Post("https://"+s.addr+"/refused", "image/jpeg", body))(t)
	received(t, refused, "POST").wantStatus(t, 400)
	for range 3 {
		received(t, testkit.Must(client.Get("https://"+s.addr+"/ok"))(t), "GET").wantStatus(t, 200)
	}
}

// A request of another server, or over another kind of connection, has no connection that Conn knows.
func TestConn(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest("GET", "/", nil)
	if conn := Conn(r); conn != nil {
		t.Errorf("got %v of a request without a connection", conn)
	}
	pipe, _ := net.Pipe()
	if conn := Conn(r.WithContext(ConnContext(t.Context(), pipe))); conn != nil {
		t.Errorf("got %v of a pipe", conn)
	}
	ln := testkit.Must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer ln.Close()
	socket := dial(t, ln.Addr().String())
	for _, conn := range []net.Conn{socket, tls.Server(socket, &tls.Config{})} {
		if got := Conn(r.WithContext(ConnContext(t.Context(), conn))); got != socket {
			t.Errorf("%T: got %v, want the socket", conn, got)
		}
	}
}

// net/http itself answers what is no request, without the headers that every other answer has. README.md names these
// statuses.
func TestNoRequestReachesEndpoints(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	ln := testkit.Must(net.Listen("tcp", "127.0.0.1:0"))(t)
	s := newTestServer(t, Options{}, endpoints{})
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, ln, s.handler, ServeOptions{Log: slog.New(slog.DiscardHandler)}) }()
	for request, want := range map[string]int{
		"nothing\r\n\r\n":                                   400,
		"GET / HTTP/1.1\r\n\r\n":                            400, // without Host
		"GET / HTTP/3.0\r\n\r\n":                            505,
		"GET / HTTP/1.1\r\nHost: x\r\nExpect: more\r\n\r\n": 417,
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n":           501,
		"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("x", 30<<10) + "\r\n\r\n": 431,
	} {
		conn := dial(t, ln.Addr().String())
		io.WriteString(conn, request)
		resp := testkit.Must(http.ReadResponse(bufio.NewReader(conn), nil))(t)
		if resp.StatusCode != want || resp.Header.Get("Cache-Control") != "" {
			t.Errorf("%.60q: got status %d, headers %v, want %d of net/http", request, resp.StatusCode, resp.Header, want)
		}
		conn.Close()
	}
	stop()
	testkit.NoError(t, <-served)
}
