//go:build unix

package httpserver

import (
	"net"
	"syscall"
)

// HungUp reports whether the client has closed its connection, as far as the kernel knows. net/http learns that a
// moment later.
func HungUp(conn *net.TCPConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return true
	}
	var n int
	var peeked error
	err = raw.Control(func(fd uintptr) {
		n, _, peeked = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK) // the sockets of Go never block
	})
	nothingYet := peeked == syscall.EAGAIN || peeked == syscall.EINTR
	return err != nil || n <= 0 && !nothingYet
}
