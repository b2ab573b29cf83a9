package httpserver

import (
	"cmp"
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
	headerTimeout  = 10 * time.Second  // for the headers of a request
	idleTimeout    = 120 * time.Second // between two requests of a connection
	grace          = 8 * time.Second   // for requests in flight when the server stops: docker kills after 10 s
	maxHeaderBytes = 16 << 10          // net/http adds 4 KiB

	// http2Window is how much of the uploads of an HTTP/2 connection net/http buffers before a handler reads it. No
	// memory budget knows of these bytes.
	http2Window = 256 << 10
)

// ServeOptions are the options of Serve. Log is required.
type ServeOptions struct {
	Log *slog.Logger
	TLS *tls.Config // nil: plain HTTP

	Grace         time.Duration // for requests in flight once the context has ended; 0 means 8 s
	HeaderTimeout time.Duration // for the headers of a request; 0 means 10 s
	AnswerIdle    time.Duration // a client may accept nothing of an answer; 0 means 10 s
}

// Serve answers on a listener, which it closes, until ctx ends. It then finishes the requests in flight, cuts those
// that outlast Grace, and returns nil when no handler runs any more. Over TLS it speaks HTTP/2 too.
func Serve(ctx context.Context, ln net.Listener, h http.Handler, o ServeOptions) error {
	var handlers sync.WaitGroup
	ln = LimitStalls(ln, o.AnswerIdle)
	srv := newServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handlers.Add(1)
		defer handlers.Done()
		h.ServeHTTP(w, r)
	}), o)
	failed := make(chan error, 1)
	go func() {
		if o.TLS == nil {
			failed <- srv.Serve(ln)
			return
		}
		failed <- srv.ServeTLS(ln, "", "") // TLS has the certificate
	}()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	limit := cmp.Or(o.Grace, grace)
	o.Log.Info("stopping", "grace", limit)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	if err := srv.Shutdown(ctx); errors.Is(err, context.DeadlineExceeded) {
		o.Log.Warn("requests still in flight were cut")
		srv.Close()
	}
	handlers.Wait() // a handler of HTTP/2 can outlive its connection; the caller closes what handlers use
	return nil
}

// newServer bounds what a connection can cost before a handler sees it.
func newServer(h http.Handler, o ServeOptions) *http.Server {
	return &http.Server{
		Handler:           h,
		TLSConfig:         o.TLS.Clone(), // net/http adds its protocols to it
		ReadHeaderTimeout: cmp.Or(o.HeaderTimeout, headerTimeout),
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerConnection: http2Window,
			MaxReceiveBufferPerStream:     http2Window / 2,
		},
		ConnContext: ConnContext,
		ErrorLog:    slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
}
