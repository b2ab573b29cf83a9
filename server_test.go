package main

import (
	"context"
	"sync/atomic"
	"testing"
	"time"
)

// A function that runs when the server begins to stop has ended when its cancellation returns: it uses the connection
// of a request, which is gone when the handler has returned.
func TestAfterFunc(t *testing.T) {
	t.Parallel()
	ctx, end := context.WithCancel(t.Context())
	began, proceed := make(chan struct{}), make(chan struct{})
	var ended atomic.Bool
	cancel := afterFunc(ctx, func() {
		close(began)
		<-proceed
		ended.Store(true)
	})
	end()
	<-began
	time.AfterFunc(20*time.Millisecond, func() { close(proceed) })
	cancel()
	if !ended.Load() {
		t.Error("the function was still running when its cancellation returned")
	}

	ctx, end = context.WithCancel(t.Context())
	cancel = afterFunc(ctx, func() { t.Error("a canceled function ran") })
	cancel()
	end()
}
