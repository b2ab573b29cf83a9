package main

import (
	"context"
	_ "embed"
	"fmt"
	"log/slog"
	"net/http"
)

// demoSession is where the demo's images go.
const demoSession = "xyzabc"

//go:embed web/demo.html
var demoPage []byte

// runDemo runs the server, with a page that shows the pictures, and the tester.
func runDemo(ctx context.Context, cfg config, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return runServer(ctx, cfg, log, func(port int, h http.Handler) http.Handler {
		url := fmt.Sprintf("http://localhost:%d", port)
		log.Info("open " + url + "/ in a browser to see the pictures move")
		log.Info("open " + url + "/image/" + demoSession + " and reload to take them one at a time")
		cfg.testSession, cfg.testURL = demoSession, fmt.Sprintf("http://127.0.0.1:%d", port)
		go runTester(ctx, cfg, log)
		return withDemoPage(h)
	})
}

// withDemoPage adds the page at the root; everything else is the server's.
func withDemoPage(next http.Handler) http.Handler {
	return commonHeaders(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" || r.Method != http.MethodGet && r.Method != http.MethodHead {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(demoPage)
	}))
}
