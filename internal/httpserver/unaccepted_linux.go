package httpserver

import (
	"net"

	"golang.org/x/sys/unix"
)

// unaccepted returns how many bytes of what was written the kernel still holds, because the client has not acknowledged
// them.
func unaccepted(socket *net.TCPConn) (bytes int) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) { bytes, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return bytes
}
