package httpserver

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
)

// connKey finds the connection of a request in its context.
type connKey struct{}

// ConnContext is the http.Server.ConnContext that Conn needs. Serve sets it.
func ConnContext(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

// Conn returns the connection of a request, below TLS if there is TLS. It returns nil if the connection is of another
// kind or not known.
func Conn(r *http.Request) *net.TCPConn {
	conn, _ := r.Context().Value(connKey{}).(net.Conn)
	if encrypted, ok := conn.(*tls.Conn); ok {
		conn = encrypted.NetConn()
	}
	if limited, ok := conn.(*progressConn); ok {
		return limited.socket
	}
	socket, _ := conn.(*net.TCPConn)
	return socket
}

// closeWrite tells the client of a request that nothing more is sent to it.
func closeWrite(r *http.Request) {
	if conn, ok := r.Context().Value(connKey{}).(interface{ CloseWrite() error }); ok {
		_ = conn.CloseWrite() // if that fails, the client is gone
	}
}
