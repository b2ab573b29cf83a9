//go:build linux || darwin || freebsd || netbsd || openbsd

package main

import (
	"net"
	"syscall"
)

// hungUp tells whether a client has closed its connection, as far as the kernel
// knows: net/http learns that a moment later.
func hungUp(conn *net.TCPConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return true
	}
	var n int
	var peeked error
	err = raw.Control(func(fd uintptr) {
		n, _, peeked = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	nothingYet := peeked == syscall.EAGAIN || peeked == syscall.EINTR
	return err != nil || n <= 0 && !nothingYet
}
