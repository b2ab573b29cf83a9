// Package redistest gives the tests of every package a Redis, and networks between them and Redis that misbehave.
//
// Use returns a server that the tests of a package share: they keep apart by session. Own starts a server for one
// test, which may kill or pause it, and OwnTLS one that speaks TLS. Cluster returns a Cluster that is shared like the
// server of Use, and Clocked starts a server whose clock can be set. TestMain of a package that uses any of them has to
// call Stop at the end.
//
// FaultProxy cuts connections after Redis ran what was asked, and ThinLine passes bytes on slowly.
//
// The tests find Redis in this order:
//
//	TEST_REDIS=host:port   a given server, for Use
//	Docker                 a container of REDIS_IMAGE, by dockertest
//	redis-server           the program on PATH
//
// TEST_REDIS_BY=docker or TEST_REDIS_BY=binary insists on one of the last two.
package redistest

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// Server is a Redis that tests may kill and pause. The functions are nil if the server was given by TEST_REDIS.
type Server struct {
	Addr   string
	Kill   func() error // at once, as in a power failure
	Start  func() error // again, after Kill
	Pause  func() error // the server lives, and does not answer
	Resume func() error

	stop func() // ends the server and removes what it leaves
}

// Client returns a plain client of the server, which ends with the test.
func (s *Server) Client(t testing.TB) *redis.Client {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr, DisableIdentity: true})
	t.Cleanup(func() { rdb.Close() })
	return rdb
}

// Use returns the shared server, which the first test that asks starts.
func Use(t testing.TB) *Server {
	t.Helper()
	s, err := sharedServer()
	if err != nil {
		testkit.Skip(t, err)
	}
	return s
}

var sharedServer = sync.OnceValues(func() (*Server, error) {
	if addr := os.Getenv("TEST_REDIS"); addr != "" {
		return &Server{Addr: addr}, await(addr, nil)
	}
	s, err := newServer()
	if err == nil {
		share(s.stop)
	}
	return s, err
})

// Own starts a server for one test, with more arguments for redis-server.
func Own(t testing.TB, args ...string) *Server {
	t.Helper()
	s, err := newServer(args...)
	if err != nil {
		testkit.Skip(t, err)
	}
	t.Cleanup(s.stop)
	return s
}

// OwnTLS starts a server for one test, with the certificate in two files, that lets in only clients with a certificate
// that clientCA signed. The server also listens without TLS, for the test itself: at addr it speaks TLS.
func OwnTLS(t testing.TB, cert, key, clientCA string) (addr string) {
	t.Helper()
	port := FreePort()
	s, err := runBinary([]string{
		"--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key,
		"--tls-ca-cert-file", clientCA, "--tls-auth-clients", "yes",
	})
	if err != nil {
		testkit.Skip(t, err)
	}
	t.Cleanup(s.stop)
	return "127.0.0.1:" + port
}

// shared has the functions that end what the tests of a package share.
var shared struct {
	mu    sync.Mutex
	stops []func()
}

func share(stop func()) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	shared.stops = append(shared.stops, stop)
}

// Stop ends the shared servers that were started, and removes what they left.
func Stop() {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	for _, stop := range shared.stops {
		stop()
	}
	shared.stops = nil
}

// DiscardClientLog silences go-redis in tests that stop Redis.
func DiscardClientLog() { redis.SetLogger(discard{}) }

type discard struct{}

func (discard) Printf(context.Context, string, ...any) {}

func newServer(args ...string) (s *Server, err error) {
	by := os.Getenv("TEST_REDIS_BY")
	if by != "binary" {
		if s, err = runContainer(args); err == nil || by == "docker" {
			return s, err
		}
	}
	s, binaryErr := runBinary(args)
	if binaryErr != nil {
		return nil, fmt.Errorf("no Redis by Docker (%v) nor by redis-server (%w)", err, binaryErr)
	}
	return s, nil
}

// serverArgs are the arguments of every server.
var serverArgs = []string{
	"--save", "", "--appendonly", "no", "--protected-mode", "no", "--maxmemory-policy", "noeviction",
}

// await waits until a server answers, or its process has ended.
func await(addr string, ended <-chan struct{}) error {
	rdb := redis.NewClient(&redis.Options{Addr: addr, DisableIdentity: true, MaxRetries: -1, DialerRetries: 1})
	defer rdb.Close()
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		if err = rdb.Ping(context.Background()).Err(); err == nil {
			return nil
		}
		select {
		case <-ended:
			return errEnded
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("redis at %s: %w", addr, err)
}
