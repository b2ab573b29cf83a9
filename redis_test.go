package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ory/dockertest/v3"
	"github.com/ory/dockertest/v3/docker"
	"github.com/redis/go-redis/v9"
)

// Where the tests find Redis, in this order:
//
//	TEST_REDIS=host:port   a given server, for the tests that only use one
//	Docker                 a container of REDIS_IMAGE, by dockertest
//	redis-server           the binary on PATH
//
// TEST_REDIS_BY=docker or binary insists on one of the last two.

// redisServer is a Redis of the tests' own, which they may kill and stop.
type redisServer struct {
	addr   string
	kill   func() error // at once, as power goes
	start  func() error // again
	pause  func() error // alive, but it does not answer
	resume func() error
}

// client returns a plain client, for looking at and for steering the server.
func (s *redisServer) client(t testing.TB) *redis.Client {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: s.addr, DisableIdentity: true})
	t.Cleanup(func() { rdb.Close() })
	return rdb
}

// sharedRedis is started by the first test that asks and ended by TestMain.
var sharedRedis = sync.OnceValues(func() (*redisServer, error) {
	if addr := os.Getenv("TEST_REDIS"); addr != "" {
		return &redisServer{addr: addr}, awaitRedis(addr)
	}
	s, stop, err := newRedisServer()
	stopSharedRedis = stop
	return s, err
})

var stopSharedRedis = func() {}

// useRedis returns the shared server: tests keep apart by session.
func useRedis(t testing.TB) *redisServer {
	t.Helper()
	s, err := sharedRedis()
	if err != nil {
		skip(t, err)
	}
	return s
}

// ownRedis starts a server for one test, with more arguments for redis-server.
func ownRedis(t testing.TB, args ...string) *redisServer {
	t.Helper()
	s, stop, err := newRedisServer(args...)
	if err != nil {
		skip(t, err)
	}
	t.Cleanup(stop)
	return s
}

// skip skips a test for want of something, which is a failure in CI.
func skip(t testing.TB, why error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("needed in CI: %v", why)
	}
	t.Skipf("skipped: %v", why)
}

func newRedisServer(args ...string) (s *redisServer, stop func(), err error) {
	by := os.Getenv("TEST_REDIS_BY")
	if by != "binary" {
		if s, stop, err = redisByDocker(args); err == nil || by == "docker" {
			return s, stop, err
		}
	}
	s, stop, binaryErr := redisByBinary(args)
	if binaryErr != nil {
		return nil, nil, fmt.Errorf("no Redis by Docker (%v) nor by redis-server (%w)", err, binaryErr)
	}
	return s, stop, nil
}

var redisArgs = []string{
	"--save", "", "--appendonly", "no", "--protected-mode", "no", "--maxmemory-policy", "noeviction",
}

func redisByDocker(args []string) (*redisServer, func(), error) {
	pool, err := dockertest.NewPool("")
	if err != nil {
		return nil, nil, err
	}
	pool.MaxWait = 30 * time.Second
	if err := pool.Client.Ping(); err != nil {
		return nil, nil, fmt.Errorf("docker does not answer: %w", err)
	}
	image := os.Getenv("REDIS_IMAGE")
	if image == "" {
		image = "redis:7.4-alpine"
	}
	colon := strings.LastIndex(image, ":")
	port := freePort()
	res, err := pool.RunWithOptions(&dockertest.RunOptions{
		Repository: image[:max(colon, 0)],
		Tag:        image[colon+1:],
		Cmd:        append(append([]string{"redis-server"}, redisArgs...), args...),
		PortBindings: map[docker.Port][]docker.PortBinding{
			"6379/tcp": {{HostIP: "127.0.0.1", HostPort: port}}, // fixed, so that it stays over a restart
		},
		ExposedPorts: []string{"6379/tcp"},
	}, func(h *docker.HostConfig) { h.RestartPolicy = docker.NeverRestart() })
	if err != nil {
		return nil, nil, fmt.Errorf("run %s: %w", image, err)
	}
	res.Expire(600) // also when the tests crash
	stop := func() { pool.Purge(res) }
	id := res.Container.ID
	s := &redisServer{
		addr:   "127.0.0.1:" + port,
		pause:  func() error { return pool.Client.PauseContainer(id) },
		resume: func() error { return pool.Client.UnpauseContainer(id) },
		kill: func() error {
			return pool.Client.KillContainer(docker.KillContainerOptions{ID: id, Signal: docker.SIGKILL})
		},
	}
	s.start = func() error {
		if err := pool.Client.StartContainer(id, nil); err != nil {
			return err
		}
		return awaitRedis(s.addr)
	}
	if err := awaitRedis(s.addr); err != nil {
		stop()
		return nil, nil, err
	}
	return s, stop, nil
}

func redisByBinary(args []string, env ...string) (*redisServer, func(), error) {
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "image-streamer-test-")
	if err != nil {
		return nil, nil, err
	}
	port := freePort()
	var cmd *exec.Cmd
	s := &redisServer{addr: "127.0.0.1:" + port}
	s.start = func() error {
		cmd = exec.Command(binary, append(append([]string{
			"--port", port, "--bind", "127.0.0.1", "--dir", dir,
		}, redisArgs...), args...)...)
		cmd.Env = append(os.Environ(), env...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			return err
		}
		return awaitRedis(s.addr)
	}
	s.kill = func() error {
		err := cmd.Process.Kill()
		cmd.Wait()
		return err
	}
	s.pause = func() error { return cmd.Process.Signal(syscall.SIGSTOP) }
	s.resume = func() error { return cmd.Process.Signal(syscall.SIGCONT) }
	stop := func() {
		s.kill()
		os.RemoveAll(dir)
	}
	if err := s.start(); err != nil {
		stop()
		return nil, nil, err
	}
	return s, stop, nil
}

// awaitRedis waits until a server answers.
func awaitRedis(addr string) error {
	rdb := redis.NewClient(&redis.Options{Addr: addr, DisableIdentity: true, MaxRetries: -1, DialerRetries: 1})
	defer rdb.Close()
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = rdb.Ping(context.Background()).Err(); err == nil {
			return nil
		}
	}
	return fmt.Errorf("redis at %s: %w", addr, err)
}

// freePort returns a TCP port that nobody listens on now.
func freePort() string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return port
}
