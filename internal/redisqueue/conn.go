package redisqueue

import (
	"context"
	"net"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// progressConn is a connection to Redis whose deadline moves with its progress: a large image may take long on a thin
// line, as long as it moves.
type progressConn struct{ net.Conn }

// progressSocket is a progressConn without TLS. go-redis uses the syscall.Conn to notice that Redis has closed the
// connection.
type progressSocket struct {
	*progressConn
	syscall.Conn
}

// progressStep is how much has to move for a new deadline: a write gets one after each step, and a read gets one after
// each part that leaves more than a step to read.
const progressStep = 128 << 10

// progressDialer returns go-redis's dialer, made to return connections whose deadline moves with their progress.
func progressDialer(opt *redis.Options) func(ctx context.Context, network, addr string) (net.Conn, error) {
	dial := redis.NewDialer(opt)
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		progress := &progressConn{conn}
		if socket, ok := conn.(syscall.Conn); ok {
			return progressSocket{progress, socket}, nil
		}
		return progress, nil
	}
}

func (c *progressConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == nil && len(p)-n > progressStep {
		err = c.SetReadDeadline(time.Now().Add(attemptTimeout))
	}
	return n, err
}

func (c *progressConn) Write(p []byte) (written int, err error) {
	for {
		n, err := c.Conn.Write(p[written:min(written+progressStep, len(p))])
		written += n
		if err != nil || written == len(p) {
			return written, err
		}
		if err := c.SetWriteDeadline(time.Now().Add(attemptTimeout)); err != nil {
			return written, err
		}
	}
}
