package main

import (
	"context"
	"net"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// steadyConn is a connection to Redis on which every step forward earns a new
// deadline: a large image may take its time on a thin line, as long as it moves.
type steadyConn struct{ net.Conn }

// steadySocket is one without TLS: go-redis looks whether Redis has closed it.
type steadySocket struct {
	*steadyConn
	syscall.Conn
}

// step is how much has to move, and to be left, for a new deadline.
const step = 128 << 10

// steadyDialer returns go-redis's dialer, with connections that are steady.
func steadyDialer(opt *redis.Options) func(ctx context.Context, network, addr string) (net.Conn, error) {
	dial := redis.NewDialer(opt)
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		steady := &steadyConn{conn}
		if socket, ok := conn.(syscall.Conn); ok {
			return steadySocket{steady, socket}, nil
		}
		return steady, nil
	}
}

func (c *steadyConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == nil && len(p)-n > step {
		err = c.SetReadDeadline(time.Now().Add(attemptTimeout))
	}
	return n, err
}

func (c *steadyConn) Write(p []byte) (written int, err error) {
	for {
		n, err := c.Conn.Write(p[written:min(written+step, len(p))])
		written += n
		if err != nil || written == len(p) {
			return written, err
		}
		if err := c.SetWriteDeadline(time.Now().Add(attemptTimeout)); err != nil {
			return written, err
		}
	}
}
