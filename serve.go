package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	headerLimit = 10 * time.Second  // to send the headers of a request
	quietLimit  = 120 * time.Second // between two requests of a connection
	graceLimit  = 10 * time.Second  // for what is in flight when the server stops

	// connWindow is what HTTP/2 takes from a connection before a handler reads it:
	// that is in no budget.
	connWindow = 256 << 10
)

// connKey finds the connection of a request in its context.
type connKey struct{}

// connOf returns the connection of a request, under its encryption, or nil where
// that is of another kind.
func connOf(r *http.Request) *net.TCPConn {
	conn, _ := r.Context().Value(connKey{}).(net.Conn)
	if encrypted, ok := conn.(*tls.Conn); ok {
		conn = encrypted.NetConn()
	}
	socket, _ := conn.(*net.TCPConn)
	return socket
}

// serve answers on a listener until ctx ends, then finishes what is in flight. Over
// TLS, if it is given, it speaks HTTP/2 too.
func serve(ctx context.Context, ln net.Listener, secure *tls.Config, h http.Handler, log *slog.Logger) error {
	var handlers sync.WaitGroup
	srv := newHTTPServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handlers.Add(1)
		defer handlers.Done()
		h.ServeHTTP(w, r)
	}), log)
	srv.TLSConfig = secure
	failed := make(chan error, 1)
	go func() {
		if secure == nil {
			failed <- srv.Serve(ln)
			return
		}
		failed <- srv.ServeTLS(ln, "", "") // the pair is that of TLSConfig
	}()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	log.Info("stopping", "grace", graceLimit)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), graceLimit)
	defer cancel()
	if err := srv.Shutdown(grace); errors.Is(err, context.DeadlineExceeded) {
		log.Warn("requests still in flight were cut")
		srv.Close()
		handlers.Wait() // what they took goes back before the engine closes
	}
	return nil
}

// newHTTPServer bounds what a connection may cost before a handler sees it.
func newHTTPServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerLimit,
		IdleTimeout:       quietLimit,
		MaxHeaderBytes:    16 << 10, // net/http allows 4 KiB more
		HTTP2:             &http.HTTP2Config{MaxReceiveBufferPerConnection: connWindow, MaxReceiveBufferPerStream: connWindow / 2},
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, conn)
		},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
