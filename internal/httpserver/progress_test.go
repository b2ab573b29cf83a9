package httpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/certtest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// written is how the writing of a large answer has ended.
type written struct {
	err  error
	took time.Duration
}

// largeAnswer is more than the kernel and the windows of HTTP/2 take without a reader.
const largeAnswer = 16 << 20

// onProtocols runs a test over each kind of connection, in parallel: with a client, the URL of an answer of a size that
// is cut after a while, 0 for never, and how its writing ends. A client may accept nothing for idle.
func onProtocols(
	t *testing.T, idle, end time.Duration, size int,
	test func(t *testing.T, client *http.Client, url string, ended <-chan written),
) {
	t.Parallel()
	files := certtest.New(t)
	certificate := testkit.Must(LoadCertificate(files.Cert, files.Key, slog.New(slog.DiscardHandler)))(t)
	encrypted := &tls.Config{GetCertificate: certificate.Get}
	plain := &http.Client{Transport: &http.Transport{}}
	for _, row := range []struct {
		name, scheme string
		tls          *tls.Config
		client       *http.Client
	}{
		{"plain", "http", nil, plain},
		{"TLS", "https", encrypted, files.Client(t, false)},
		{"HTTP2", "https", encrypted, files.Client(t, true)},
	} {
		row.client.Transport.(*http.Transport).DialContext = dialSmall
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			ended := make(chan written, 1)
			server := newTestServer(t, Options{AnswerIdle: idle}, endpoints{
				"/large": func(w http.ResponseWriter, _ *http.Request) error {
					begun, until := time.Now(), time.Time{}
					if end > 0 {
						until = begun.Add(end)
					}
					err := WriteBodyUntil(w, http.StatusOK, "image/jpeg", make([]byte, size), until)
					ended <- written{err, time.Since(begun)}
					return err
				},
				"/small": succeeds,
			})
			s := serve(t, server.handler.ServeHTTP, ServeOptions{TLS: row.tls, AnswerIdle: idle})
			test(t, row.client, row.scheme+"://"+s.addr, ended)
		})
	}
}

// dialSmall opens a connection whose client side holds little. A large buffer tells the server only now and then that
// the client goes on.
func dialSmall(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err == nil {
		err = conn.(*net.TCPConn).SetReadBuffer(128 << 10)
	}
	return conn, err
}

// get begins to read an answer.
func get(t *testing.T, client *http.Client, url string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	r := testkit.Must(http.NewRequestWithContext(ctx, http.MethodGet, url, nil))(t)
	resp := testkit.Must(client.Do(r))(t)
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// readSlowly reads so many bytes, or to the end, at a rate. It returns how many there were.
func readSlowly(r io.Reader, bytes, perSecond int) (n int, err error) {
	piece := make([]byte, perSecond/50)
	for begun := time.Now(); err == nil && n < bytes; {
		var got int
		got, err = r.Read(piece[:min(len(piece), bytes-n)])
		n += got
		time.Sleep(time.Until(begun.Add(time.Duration(n) * time.Second / time.Duration(perSecond))))
	}
	return n, err
}

// An answer of which the client accepts nothing is cut. Over HTTP/2 the other streams of the connection go on.
func TestStalledAnswerIsCut(t *testing.T) {
	const idle = 300 * time.Millisecond
	onProtocols(t, idle, 0, largeAnswer, func(t *testing.T, client *http.Client, url string, ended <-chan written) {
		resp := get(t, client, url+"/large")
		got := <-ended
		if !errors.Is(got.err, ErrAborted) || got.took < idle {
			t.Errorf("got error %v after %s, want an answer cut after %s", got.err, got.took, idle)
		}
		received(t, get(t, client, url+"/small"), "GET").wantStatus(t, 200)
		if n, err := io.Copy(io.Discard, resp.Body); err == nil {
			t.Errorf("the client got %d bytes, and does not know that these are not all", n)
		}
	})
}

// An answer that moves slowly is not cut, also while a full send buffer hides that it moves: the kernel takes more only
// when a third of its buffer is free. The buffer is large behind a client that was fast before.
func TestSlowAnswerIsNotCut(t *testing.T) {
	const idle, rate, slowly = time.Second, 500_000, 3 * time.Second
	const size = 2 * largeAnswer
	onProtocols(t, idle, 0, size, func(t *testing.T, client *http.Client, url string, ended <-chan written) {
		body := get(t, client, url+"/large").Body
		fast := testkit.Must(io.CopyN(io.Discard, body, size/2))(t)
		slow, _ := readSlowly(body, rate*int(slowly/time.Second), rate)
		if len(ended) > 0 {
			t.Fatalf("writing ended with %v while %d of %d bytes were read", (<-ended).err, int(fast)+slow, size)
		}
		rest, err := io.Copy(io.Discard, body)
		if got := <-ended; int(fast+rest)+slow != size || err != nil || got.err != nil {
			t.Errorf("the client got %d of %d bytes, error %v; writing ended with %v",
				int(fast+rest)+slow, size, err, got.err)
		}
	})
}

// An answer that moves is cut at its end.
func TestAnswerIsCutAtItsEnd(t *testing.T) {
	const idle, end, rate = time.Hour, 300 * time.Millisecond, 8 << 20
	onProtocols(t, idle, end, largeAnswer, func(t *testing.T, client *http.Client, url string, ended <-chan written) {
		if n, err := readSlowly(get(t, client, url+"/large").Body, largeAnswer, rate); err == nil {
			t.Errorf("the client got %d bytes, and does not know that these are not all", n)
		}
		if got := <-ended; !errors.Is(got.err, ErrAborted) || got.took < end {
			t.Errorf("writing ended with %v after %s, want an answer cut after %s", got.err, got.took, end)
		}
	})
}

// The deadline of the layers above ends a write that is under way, and none after it was taken away.
func TestDeadlineOfConnection(t *testing.T) {
	t.Parallel()
	plain := testkit.Must(net.Listen("tcp", "127.0.0.1:0"))(t)
	ln := LimitStalls(plain, time.Hour)
	defer ln.Close()
	client := dial(t, ln.Addr().String())
	conn := testkit.Must(ln.Accept())(t)
	defer conn.Close()
	ended := make(chan error, 1)
	go func() {
		_, err := conn.Write(make([]byte, largeAnswer))
		ended <- err
	}()
	testkit.Must(io.ReadFull(client, make([]byte, 1)))(t)
	conn.SetDeadline(time.Now().Add(time.Hour))
	conn.SetDeadline(time.Now())
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got error %v, want a timeout", err)
	}
	go io.Copy(io.Discard, client)
	if _, err := conn.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: got error %v, want a timeout", err)
	}
	conn.SetDeadline(time.Time{})
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Errorf("without a deadline: got error %v", err)
	}
}

// Serve and Stack use the time that README promises.
func TestAnswerIdle(t *testing.T) {
	t.Parallel()
	plain := testkit.Must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer plain.Close()
	for given, want := range map[time.Duration]time.Duration{0: 10 * time.Second, time.Minute: time.Minute} {
		if got := LimitStalls(plain, given).(progressListener).idle; got != want {
			t.Errorf("a connection has %s with the option %s, want %s", got, given, want)
		}
		if got := newTestServer(t, Options{AnswerIdle: given}, nil).answerIdle; got != want {
			t.Errorf("a stream of HTTP/2 has %s with the option %s, want %s", got, given, want)
		}
	}
}
