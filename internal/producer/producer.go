// Package producer is the test producer: it sends numbered pictures to one session, so that a server has images to
// show without a camera.
//
// Run gets a session from the server unless one is given, logs it as "SESSION: <id>", and then sends picture 1, 2, 3
// and so on until its context ends. What fails is tried again for as long as that takes: Run waits for a server that
// is not up yet, and sends a picture that was refused again.
package producer

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/image-streamer/image-streamer/internal/session"
)

// requestTimeout bounds a request if the Client has no Timeout.
const requestTimeout = 10 * time.Second

// Options are what Run needs. URL, Interval, Width, Height and Log are required.
type Options struct {
	URL      string         // of the server, without a slash at the end
	Client   *http.Client   // nil: http.DefaultClient; redirects are not followed, whatever it says
	Session  string         // empty: the server is asked for one
	Signer   session.Signer // makes the publish key, unless the server gives one; disabled: there is no key
	Token    string         // of the operator, to be given a session; empty: none
	Interval time.Duration  // between two pictures
	Width    int            // of the pictures, in pixels
	Height   int
	Log      *slog.Logger
}

// Run sends pictures until ctx ends, and returns nil then. Nothing else ends it.
func Run(ctx context.Context, o Options) error {
	p := &producer{url: o.URL, client: newClient(o.Client), log: o.Log}
	to, err := p.target(ctx, o)
	if err != nil {
		return nil // ctx has ended
	}
	o.Log.Info("SESSION: " + to.Session)

	ticker := time.NewTicker(o.Interval)
	defer ticker.Stop()
	for number := 1; ; number++ {
		picture := numberedJPEG(number, o.Width, o.Height)
		if p.retry(ctx, "send an image", func() error { return p.send(ctx, to, picture) }) != nil {
			return nil
		}
		o.Log.Info("sent", "image", number, "bytes", len(picture))
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// producer talks to one server.
type producer struct {
	url    string
	client *http.Client
	log    *slog.Logger
}

// target is where pictures go.
type target struct {
	Session string
	Key     string // empty: none is known
}

// newClient returns a copy of a client, or of the default one for nil, that bounds a request and follows no redirect:
// a POST that is redirected could become a GET, which takes an image.
func newClient(given *http.Client) *http.Client {
	client := *cmp.Or(given, http.DefaultClient)
	if client.Timeout == 0 {
		client.Timeout = requestTimeout
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}

// target returns the session to send to and its key. An error says that ctx has ended.
func (p *producer) target(ctx context.Context, o Options) (target, error) {
	to := target{Session: o.Session}
	if to.Session == "" {
		err := p.retry(ctx, "get a session", func() (err error) {
			to, err = p.askSession(ctx, o.Token)
			return err
		})
		if err != nil {
			return target{}, err
		}
	}
	if to.Key == "" && o.Signer.Enabled() {
		to.Key = o.Signer.Key(to.Session)
	}
	return to, nil
}

// retry calls try until it succeeds. It returns an error only when ctx ends before.
func (p *producer) retry(ctx context.Context, what string, try func() error) error {
	for wait := 250 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			p.log.Warn("could not "+what+", trying again", "error", err, "wait", wait)
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// pause waits, or returns the error of a context that ends first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// askSession gets a session, and its publish key if the server has publish keys.
func (p *producer) askSession(ctx context.Context, token string) (target, error) {
	body, err := p.do(ctx, http.MethodGet, "/session", token, nil)
	if err != nil {
		return target{}, err
	}
	var issued target
	if err := json.Unmarshal(body, &issued); err != nil || !session.Valid(issued.Session) {
		return target{}, errors.New("GET /session answered no session id") // the answer may hold a key: never quote it
	}
	return issued, nil
}

func (p *producer) send(ctx context.Context, to target, picture []byte) error {
	_, err := p.do(ctx, http.MethodPost, "/image/"+to.Session, to.Key, picture)
	return err
}

// do sends a request, with a token if there is one, and returns the body of a 200.
func (p *producer) do(ctx context.Context, method, path, token string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, p.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "image/jpeg")
	} else {
		req.Header.Set("Accept", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token) // replaces a password in the URL
	}
	resp, err := p.client.Do(req)
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
