package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// demoSession is where the demo's images go, demoPath where its page takes them.
const (
	demoSession = "xyzabc"
	demoPath    = "/image/" + demoSession
)

//go:embed web/demo.html
var demoPage []byte

// runDemo runs the server, with a page that shows the pictures, and the tester.
func runDemo(ctx context.Context, cfg config, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return runServer(ctx, cfg, log, func(port int, h http.Handler) http.Handler {
		cfg.testSession, cfg.testURL, cfg.port = demoSession, "", port
		url := cfg.ownURL("localhost", port)
		log.Info("open " + url + "/ in a browser to see the pictures move")
		if cfg.sessionSecret == "" { // else a link is needed, which no log may hold
			log.Info("open " + url + demoPath + " and reload to take them one at a time")
		}
		go runTester(ctx, cfg, log)
		return withDemoPage(cfg, h)
	})
}

// withDemoPage adds the page at the root; everything else is the server's.
func withDemoPage(cfg config, next http.Handler) http.Handler {
	return commonHeaders(newCORS(cfg.corsOrigins), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" || r.Method != http.MethodGet && r.Method != http.MethodHead {
			next.ServeHTTP(w, r)
			return
		}
		page := demoPageFor(signer{cfg.sessionSecret})
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", policyOf(page))
		w.Write(page)
	}))
}

// demoPageFor returns the page. Where there is a secret the page has a link: the
// demo's pictures are for all who open it, for a day.
func demoPageFor(signer signer) []byte {
	if !signer.exists() {
		return demoPage
	}
	return bytes.ReplaceAll(demoPage, []byte(demoPath), []byte(signer.link(demoPath, time.Now().Add(day))))
}

// policyOf lets a page run its own script and style, ask this server and show what
// it answers; nothing else, whoever may have put it into the page.
func policyOf(page []byte) string {
	return fmt.Sprintf("default-src 'none'; script-src '%s'; style-src '%s'; connect-src 'self'; img-src 'self' blob:; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'", hashOf(page, "script"), hashOf(page, "style"))
}

// hashOf names what is within an element of a page, as a policy does.
func hashOf(page []byte, element string) string {
	_, rest, _ := bytes.Cut(page, []byte("<"+element+">"))
	inside, _, _ := bytes.Cut(rest, []byte("</"+element+">"))
	sum := sha256.Sum256(inside)
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}
