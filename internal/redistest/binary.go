package redistest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
)

// errEnded says that redis-server ended before it answered.
var errEnded = errors.New("redis-server has ended")

// process is a redis-server, or what is left of one between Kill and Start.
type process struct {
	binary, addr string
	args, env    []string
	cmd          *exec.Cmd
	ended        chan struct{} // closed when cmd has ended
}

// runBinary starts the redis-server on PATH, with more environment variables. If another process takes the port first,
// redis-server ends, and runBinary tries another port.
func runBinary(args []string, env ...string) (s *Server, err error) {
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, err
	}
	for range 3 {
		if s, err = runOnFreePort(binary, args, env); !errors.Is(err, errEnded) {
			break
		}
	}
	return s, err
}

func runOnFreePort(binary string, args, env []string) (*Server, error) {
	dir, err := os.MkdirTemp("", "image-streamer-test-")
	if err != nil {
		return nil, err
	}
	port := FreePort()
	own := []string{"--port", port, "--bind", "127.0.0.1", "--dir", dir}
	p := &process{binary: binary, addr: "127.0.0.1:" + port, args: slices.Concat(own, serverArgs, args), env: env}
	s := &Server{
		Addr:   p.addr,
		Kill:   p.kill,
		Start:  p.start,
		Pause:  func() error { return p.cmd.Process.Signal(syscall.SIGSTOP) },
		Resume: func() error { return p.cmd.Process.Signal(syscall.SIGCONT) },
		stop: func() {
			p.kill()
			os.RemoveAll(dir)
		},
	}
	if err := p.start(); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (p *process) start() error {
	cmd, ended := exec.Command(p.binary, p.args...), make(chan struct{})
	cmd.Env = append(os.Environ(), p.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		defer close(ended)
		cmd.Wait()
	}()
	p.cmd, p.ended = cmd, ended
	return await(p.addr, ended)
}

func (p *process) kill() error {
	if p.cmd == nil {
		return nil
	}
	err := p.cmd.Process.Kill()
	<-p.ended
	return err
}

// FreePort returns a TCP port that nobody listens on. The port is below the range from which the kernel gives ports to
// outgoing connections, so it stays free while a server restarts. It is also low enough for a Cluster, whose bus uses
// the port 10,000 above. No other call returns it, in this process or another, until this process ends.
func FreePort() string {
	for {
		port := fmt.Sprint(10_000 + rand.IntN(10_000))
		claim, err := net.Listen("unix", "@image-streamer-test-port-"+port)
		if err != nil {
			continue
		}
		if ln, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			ln.Close()
			claims.Store(port, claim)
			return port
		}
		claim.Close()
	}
}

// claims has what keeps a port for this process: a listener in the kernel's abstract namespace, which other processes
// see and which ends with the process, however it ends.
var claims sync.Map
