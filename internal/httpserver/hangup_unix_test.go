//go:build unix

package httpserver

import (
	"io"
	"net"
	"testing"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// A client has hung up once it has closed its connection, or its half of it, and not while it is silent or sends.
func TestHungUp(t *testing.T) {
	t.Parallel()
	ln := testkit.Must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer ln.Close()
	for name, hangUp := range map[string]func(*net.TCPConn) error{
		"close":      (*net.TCPConn).Close,
		"half close": (*net.TCPConn).CloseWrite,
		"reset":      func(c *net.TCPConn) error { c.SetLinger(0); return c.Close() },
	} {
		client := dial(t, ln.Addr().String())
		conn := testkit.Must(ln.Accept())(t).(*net.TCPConn)
		defer conn.Close()
		if HungUp(conn) {
			t.Errorf("%s: a silent client has hung up", name)
		}
		testkit.Must(io.WriteString(client, "x"))(t)
		for range 2 { // what is peeked at stays
			if HungUp(conn) {
				t.Errorf("%s: a client that sent has hung up", name)
			}
		}
		testkit.Must(io.ReadFull(conn, make([]byte, 1)))(t)
		if err := hangUp(client); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, func() bool { return HungUp(conn) })
		conn.Close()
		if !HungUp(conn) {
			t.Errorf("%s: a connection that the server closed is open", name)
		}
	}
}
