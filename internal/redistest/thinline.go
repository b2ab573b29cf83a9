package redistest

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// ThinLine starts a proxy to target for one test, which passes bytesPerSecond at most, each way.
func ThinLine(t testing.TB, target string, bytesPerSecond int) (addr string) {
	t.Helper()
	listen, dial := net.ListenConfig{Control: shrinkReceiveBuffer}, net.Dialer{Control: shrinkReceiveBuffer}
	ln := testkit.Must(listen.Listen(t.Context(), "tcp", "127.0.0.1:0"))(t)
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			server, err := dial.Dial("tcp", target)
			if err != nil {
				client.Close()
				continue
			}
			go passSlowly(server, client, bytesPerSecond)
			go passSlowly(client, server, bytesPerSecond)
		}
	}()
	return ln.Addr().String()
}

// shrinkReceiveBuffer gives a socket a small buffer. Otherwise the proxy would take in most of an image at once.
func shrinkReceiveBuffer(_, _ string, socket syscall.RawConn) error {
	return socket.Control(func(fd uintptr) {
		syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 32<<10)
	})
}

// passSlowly passes bytes in one direction, until either end is closed.
func passSlowly(to, from net.Conn, bytesPerSecond int) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 32<<10)
	for due := time.Now(); ; {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if now := time.Now(); now.Sub(due) > 100*time.Millisecond { // the line was idle, not late
			due = now
		}
		due = due.Add(time.Duration(n) * time.Second / time.Duration(bytesPerSecond))
		time.Sleep(time.Until(due))
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}
