package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"net/http"
	"time"

	"github.com/image-streamer/image-streamer/internal/httpserver"
	"github.com/image-streamer/image-streamer/internal/producer"
	"github.com/image-streamer/image-streamer/internal/session"
)

// The demo has one session. Its page takes the images from demoPath.
const (
	demoSession = "xyzabc"
	demoPath    = "/image/" + demoSession
)

//go:embed web/demo.html
var demoPage []byte

// runDemo runs the server with a page that shows the images, and the test producer.
func runDemo(ctx context.Context, in invocation) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return serve(ctx, in, defaults(), func(port int, h http.Handler) http.Handler {
		url := localURL(in.cfg.TLS, "localhost", port)
		in.log.Info("open " + url + "/ in a browser to see the pictures move")
		if in.cfg.Access.SessionSecret == "" { // with a secret the URL needs a link, which no log may hold
			in.log.Info("open " + url + demoPath + " and reload to take them one at a time")
		}
		sending := producerOptions(in, demoSession, "", port)
		go func() { _ = producer.Run(ctx, sending) }() // it ends with ctx, without an error
		page := demoPageFor(session.NewSigner(in.cfg.Access.SessionSecret))
		return withPage(page, httpserver.NewCORS(in.cfg.Access.CORSOrigins), allowedHosts(in.cfg.Access), h)
	})
}

// withPage adds a page at the root, for those who may ask by the host of their request: it may hold a link. All else is
// the server's.
func withPage(page func() []byte, cors httpserver.CORS, hosts httpserver.Hosts, next http.Handler) http.Handler {
	return httpserver.CommonHeaders(cors, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" || r.Method != http.MethodGet && r.Method != http.MethodHead || !hosts.Allow(r) {
			next.ServeHTTP(w, r)
			return
		}
		html := page()
		w.Header().Set("Content-Security-Policy", policyOf(html))
		_ = httpserver.WriteBody(w, http.StatusOK, "text/html; charset=utf-8", html) // if that fails, the client is gone
	}))
}

// demoPageFor returns the page. If there is a secret, each page gets a link of its own, good for a day: everybody who
// opens the page may see the images of the demo.
func demoPageFor(signer session.Signer) func() []byte {
	if !signer.Enabled() {
		return func() []byte { return demoPage }
	}
	return func() []byte {
		return bytes.ReplaceAll(demoPage, []byte(demoPath), []byte(signer.Link(demoPath, time.Now().Add(day))))
	}
}

// policyOf returns a Content-Security-Policy that lets a page run its own script and style, ask this server and show
// its answers, and nothing else.
func policyOf(page []byte) string {
	return fmt.Sprintf("default-src 'none'; script-src '%s'; style-src '%s'; connect-src 'self'; img-src 'self' blob:; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'", hashOf(page, "script"), hashOf(page, "style"))
}

// hashOf returns the hash of an element's content, in the form of a Content-Security-Policy.
func hashOf(page []byte, element string) string {
	_, rest, _ := bytes.Cut(page, []byte("<"+element+">"))
	inside, _, _ := bytes.Cut(rest, []byte("</"+element+">"))
	sum := sha256.Sum256(inside)
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}
