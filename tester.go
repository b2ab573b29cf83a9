package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"
)

// tester is the test producer: it sends numbered images to one session.
type tester struct {
	cfg     config
	url     string
	session string
	key     string // of the session, if it is known
	client  *http.Client
	log     *slog.Logger
}

// runTester sends images 1, 2, 3 ... until ctx ends.
func runTester(ctx context.Context, cfg config, log *slog.Logger) error {
	client := &http.Client{
		Timeout: 10 * time.Second,
		// A POST that is redirected could become a GET, which takes an image.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t := &tester{cfg: cfg, url: cfg.testURL, session: cfg.testSession, client: client, log: log}
	if t.url == "" {
		t.url, client.Transport = cfg.ownURL("127.0.0.1", cfg.port), ownTransport()
	}
	if t.session == "" && t.persist(ctx, "get a session", func() error { return t.askSession(ctx) }) != nil {
		return nil // told to stop
	}
	if signer := (signer{cfg.sessionSecret}); t.key == "" && signer.exists() {
		t.key = signer.key(t.session)
	}
	log.Info("SESSION: " + t.session)

	ticker := time.NewTicker(cfg.testInterval)
	defer ticker.Stop()
	for number := 1; ; number++ {
		picture := numberedJPEG(number, cfg.width(), cfg.height)
		if t.persist(ctx, "send an image", func() error { return t.send(ctx, picture) }) != nil {
			return nil
		}
		log.Info("sent", "image", number, "bytes", len(picture))
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// persist tries until it works; only the end of ctx ends it before. A server
// that is not up yet is waited for.
func (t *tester) persist(ctx context.Context, what string, try func() error) error {
	for wait := 250 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			t.log.Warn("could not "+what+", trying again", "error", err, "wait", wait)
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// askSession gets a session, and its publish key if the server has such.
func (t *tester) askSession(ctx context.Context) error {
	body, err := t.do(ctx, http.MethodGet, "/session", t.cfg.operatorToken, nil)
	if err != nil {
		return err
	}
	var issued struct{ Session, Key string }
	if err := json.Unmarshal(body, &issued); err != nil || !validSession(issued.Session) {
		return errors.New("GET /session answered no session id") // and what it did answer may be a key
	}
	t.session, t.key = issued.Session, issued.Key
	return nil
}

func (t *tester) send(ctx context.Context, picture []byte) error {
	_, err := t.do(ctx, http.MethodPost, "/image/"+t.session, t.key, picture)
	return err
}

// do sends a request, with a token if there is one, and returns the body of a 200.
func (t *tester) do(ctx context.Context, method, path, token string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, t.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "image/jpeg")
	} else {
		req.Header.Set("Accept", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token) // in the place of a password in the URL
	}
	resp, err := t.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s %s answered %s: %s", method, req.URL.Redacted(), resp.Status, bytes.TrimSpace(answer))
	}
	return answer, nil
}

// numberedJPEG draws a number on a ground whose colour changes with it.
func numberedJPEG(number, width, height int) []byte {
	picture := image.NewRGBA(image.Rect(0, 0, width, height))
	draw.Draw(picture, picture.Rect, image.NewUniform(ground(number)), image.Point{}, draw.Src)
	drawCentred(picture, strconv.Itoa(number), image.White, 0.5)
	var out bytes.Buffer
	if err := jpeg.Encode(&out, picture, &jpeg.Options{Quality: 85}); err != nil {
		panic(err) // a buffer takes everything
	}
	return out.Bytes()
}

// ground walks around the colour circle in steps that keep neighbours apart,
// dark enough for white ink.
func ground(number int) color.Color {
	const step, circle = 55, 240
	return color.YCbCr{Y: 80, Cb: 128 + wave(number*step%circle), Cr: 128 + wave((number*step+circle/4)%circle)}
}

// wave is a triangle between -60 and 60 over a circle of 240.
func wave(at int) uint8 {
	if at < 120 {
		return uint8(at - 60)
	}
	return uint8(180 - at)
}
