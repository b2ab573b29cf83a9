//go:build !unix

package httpserver

import "net"

// HungUp always returns false here: only net/http notices, a moment later.
func HungUp(*net.TCPConn) bool { return false }
