package redistest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

func TestMain(m *testing.M) {
	DiscardClientLog()
	status := m.Run()
	Stop()
	os.Exit(status)
}

func TestServerIsSteered(t *testing.T) {
	t.Parallel()
	s := Own(t, "--maxmemory", "7mb")
	rdb := redis.NewClient(&redis.Options{
		Addr: s.Addr, ReadTimeout: 200 * time.Millisecond, MaxRetries: -1, DialerRetries: 1,
	})
	defer rdb.Close()
	ping := func() error { return rdb.Ping(t.Context()).Err() }
	if got := testkit.Must(rdb.ConfigGet(t.Context(), "maxmemory").Result())(t); got["maxmemory"] != fmt.Sprint(7<<20) {
		t.Errorf("got %v, want the argument", got)
	}
	testkit.NoError(t, s.Pause())
	if ping() == nil {
		t.Error("a paused server answers")
	}
	testkit.NoError(t, s.Resume())
	testkit.Eventually(t, func() bool { return ping() == nil })
	testkit.NoError(t, s.Kill())
	if ping() == nil {
		t.Error("a killed server answers")
	}
	testkit.NoError(t, s.Start())
	testkit.Eventually(t, func() bool { return ping() == nil })
}

func TestUseSharesOneServer(t *testing.T) {
	t.Parallel()
	if a, b := Use(t), Use(t); a != b {
		t.Errorf("got servers at %s and %s", a.Addr, b.Addr)
	}
}

func TestCluster(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: Cluster(t)})
	defer rdb.Close()
	for i := range 100 { // in many slots
		if err := rdb.Set(t.Context(), fmt.Sprint("key", i), i, time.Minute).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := rdb.MGet(t.Context(), "key1", "key2").Err(); err == nil {
		t.Error("a command with keys in two slots was not refused")
	}
}

func TestClockIsSet(t *testing.T) {
	t.Parallel()
	s, clock := Clocked(t)
	rdb := s.Client(t)
	want := func(what string, offset time.Duration) {
		t.Helper()
		got, want := testkit.Must(rdb.Time(t.Context()).Result())(t), time.Now().Add(offset)
		if got.Sub(want).Abs() > time.Minute {
			t.Errorf("%s: got %s, want %s", what, got, want)
		}
	}
	want("at first", 0)
	clock.SetOffset(t, -100*time.Hour)
	want("set back", -100*time.Hour)
	clock.Move(t, 20*time.Hour)
	want("moved ahead", -80*time.Hour)
	clock.SetOffset(t, 100*time.Hour)
	want("set ahead", 100*time.Hour)
}

// The life of a key passes with the clock.
func TestClockExpiresKeys(t *testing.T) {
	t.Parallel()
	addrs, clock := ClockedCluster(t)
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
	defer rdb.Close()
	for _, life := range []time.Duration{time.Minute, 2 * time.Minute} {
		testkit.Must(rdb.Set(t.Context(), life.String(), "x", life).Result())(t)
	}
	clock.Move(t, time.Minute+time.Millisecond)
	if n := testkit.Must(rdb.Exists(t.Context(), "1m0s").Result())(t); n != 0 {
		t.Error("a key outlives its life")
	}
	if n := testkit.Must(rdb.Exists(t.Context(), "2m0s").Result())(t); n != 1 {
		t.Error("a key is gone before its life is over")
	}
}

// A port that was given stays claimed, though nobody listens on it: for this process and for others.
func TestFreePort(t *testing.T) {
	t.Parallel()
	given := map[string]bool{}
	for range 1000 {
		port := FreePort()
		if given[port] {
			t.Fatalf("port %s was given twice", port)
		}
		given[port] = true
		if ln, err := net.Listen("unix", "@image-streamer-test-port-"+port); err == nil {
			ln.Close()
			t.Fatalf("another process could claim port %s", port)
		}
	}
}

// greeter answers every request on a connection with one line.
func greeter(t *testing.T) (addr string) {
	t.Helper()
	ln := testkit.Must(net.Listen("tcp", "127.0.0.1:0"))(t)
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for request := make([]byte, 100); err == nil; {
					if _, err = conn.Read(request); err == nil {
						_, err = io.WriteString(conn, "answer\n")
					}
				}
			}()
		}
	}()
	return ln.Addr().String()
}

func TestFaultProxyCutsReplies(t *testing.T) {
	t.Parallel()
	for fault, want := range map[Fault]error{FIN: io.EOF, RST: syscall.ECONNRESET, Silence: os.ErrDeadlineExceeded} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			p := NewFaultProxy(t, greeter(t), fault, 1)
			conn := testkit.Must(net.Dial("tcp", p.Addr))(t)
			defer conn.Close()
			ask := func() (string, error) {
				answer := make([]byte, 100)
				io.WriteString(conn, "request\n")
				n, err := conn.Read(answer)
				return string(answer[:n]), err
			}
			if got := testkit.Must(ask())(t); got != "answer\n" {
				t.Errorf("the first answer: got %q, want it to pass", got)
			}
			p.Heal()
			if got := testkit.Must(ask())(t); got != "answer\n" || p.Cuts() != 0 {
				t.Errorf("healed: got %q, %d cuts", got, p.Cuts())
			}
			p.CutOneIn(1)
			if fault == Silence {
				conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			}
			if got, err := ask(); !errors.Is(err, want) {
				t.Errorf("got %q, error %v, want error %v", got, err, want)
			}
			testkit.Eventually(t, func() bool { return p.Cuts() == 1 }) // the deadline may pass before the cut
		})
	}
}

func TestFaultProxyRefuses(t *testing.T) {
	t.Parallel()
	p := NewFaultProxy(t, greeter(t), FIN, 0)
	ask := func() (string, error) {
		conn := testkit.Must(net.Dial("tcp", p.Addr))(t)
		defer conn.Close()
		answer := make([]byte, 100)
		io.WriteString(conn, "request\n")
		n, err := conn.Read(answer)
		return string(answer[:n]), err
	}
	p.Refuse()
	if got, err := ask(); err == nil {
		t.Errorf("got %q, want the connection closed", got)
	}
	testkit.Eventually(t, func() bool { return p.Refused() == 1 })
	p.Heal()
	if got := testkit.Must(ask())(t); got != "answer\n" || p.Refused() != 1 {
		t.Errorf("healed: got %q, %d refused", got, p.Refused())
	}
}

func TestThinLineIsSlowAndWhole(t *testing.T) {
	t.Parallel()
	ln := testkit.Must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer ln.Close()
	got := make(chan []byte)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			close(got)
			return
		}
		all, _ := io.ReadAll(conn)
		got <- all
	}()
	const rate = 4 << 20
	conn := testkit.Must(net.Dial("tcp", ThinLine(t, ln.Addr().String(), rate)))(t)
	want, begun := []byte(strings.Repeat("0123456789abcdef", rate/64)), time.Now()
	testkit.Must(conn.Write(want))(t)
	conn.Close()
	if all := <-got; !bytes.Equal(all, want) {
		t.Errorf("got %d bytes, want the %d that were sent", len(all), len(want))
	}
	if took := time.Since(begun); took < 200*time.Millisecond {
		t.Errorf("a quarter of a second's bytes took %s", took)
	}
}
