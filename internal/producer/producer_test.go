package producer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/image-streamer/image-streamer/internal/session"
)

// A picture that was refused is sent again, not passed over. A password in the URL stays out of the log.
func TestRepeats(t *testing.T) {
	t.Parallel()
	got := make(chan string, 100)
	refuse := true
	url := serve(t, func(w http.ResponseWriter, r request) {
		if user, password, _ := r.BasicAuth(); user != "u" || password != "hunter2" || r.URL.Path != "/relay/image/abc" {
			t.Errorf("got %s from %s, %s", r.URL.Path, user, password)
		}
		if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "image/jpeg" {
			t.Errorf("got %s of %s", r.Method, r.Header.Get("Content-Type"))
		}
		if refuse {
			refuse = false
			http.Error(w, "not now", http.StatusInsufficientStorage)
			return
		}
		select {
		case got <- r.body:
		default:
		}
	})
	url = strings.Replace(url, "http://", "http://u:hunter2@", 1) + "/relay"
	log, stop := start(t, Options{URL: url, Session: "abc", Interval: 20 * time.Millisecond})
	for number := 1; number <= 2; number++ {
		if <-got != string(numberedJPEG(number, 28, 16)) {
			t.Errorf("got another picture than %d", number)
		}
	}
	log.Await(t, "msg=sent image=2 bytes=")
	if err := stop(); err != nil {
		t.Errorf("got error %v", err)
	}
	if s := log.String(); !strings.Contains(s, "507") || strings.Contains(s, "hunter2") ||
		strings.Count(s, `msg="could not send an image, trying again"`) != 1 ||
		!strings.Contains(s, `msg="SESSION: abc"`) {
		t.Errorf("got log %s, want the session, the 507 and no password", s)
	}
}

const (
	token  = "the operator's token, long enough"
	secret = "a secret that is long enough"
)

// Without a session the producer asks for one until it gets it: with the token, and for the publish key.
func TestAsksForSession(t *testing.T) {
	t.Parallel()
	id := session.New()
	for name, row := range map[string]struct {
		signer            session.Signer
		issued, authorize string
	}{
		"with a key": {session.NewSigner(secret), `{"session":"` + id + `","key":"issued"}`, "Bearer issued"},
		"without":    {session.NewSigner(""), `{"session":"` + id + `"}`, ""},
		"same secret": {
			session.NewSigner(secret), `{"session":"` + id + `"}`, "Bearer " + session.NewSigner(secret).Key(id),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := false
			url := serve(t, func(w http.ResponseWriter, r request) {
				authorization := r.Header.Get("Authorization")
				switch {
				case r.Method == http.MethodGet && r.URL.Path == "/session":
					if authorization != "Bearer "+token || r.Header.Get("Accept") != "application/json" {
						t.Errorf("asked for a session with %v", r.Header)
					}
					if !up {
						up = true
						http.Error(w, "starting", http.StatusServiceUnavailable)
						return
					}
					io.WriteString(w, row.issued)
				case r.Method != http.MethodPost || r.URL.Path != "/image/"+id || authorization != row.authorize:
					t.Errorf("got %s %s, Authorization %q", r.Method, r.URL.Path, authorization)
				}
			})
			log, stop := start(t, Options{URL: url, Signer: row.signer, Token: token, Interval: time.Millisecond})
			log.Await(t, "image=3")
			stop()
			s := log.String()
			if strings.Count(s, "SESSION: ") != 1 || !strings.Contains(s, `msg="SESSION: `+id+`"`) ||
				!strings.Contains(s, `msg="could not get a session, trying again"`) {
				t.Errorf("got log %s, want one session, after an attempt", s)
			}
			for _, hidden := range []string{token, secret, "issued", session.NewSigner(secret).Key(id)} {
				if strings.Contains(s, hidden) {
					t.Errorf("got log %s, want no secrets", s)
				}
			}
		})
	}
}

// With a secret the producer has the key of a session of its choice.
func TestSendsKey(t *testing.T) {
	t.Parallel()
	signer := session.NewSigner(secret)
	url := serve(t, func(w http.ResponseWriter, r request) {
		if got, want := r.Header.Get("Authorization"), "Bearer "+signer.Key("abc"); got != want {
			t.Errorf("got Authorization %q, want %q", got, want)
		}
	})
	log, _ := start(t, Options{URL: url, Session: "abc", Signer: signer, Token: token, Interval: time.Millisecond})
	log.Await(t, "image=3")
}

// A useless answer is not quoted: it may hold a key.
func TestIsAnsweredNonsense(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{`{"session":"no id","key":"hunter2"}`, `{"key":"hunter2"}`, "hunter2", ""} {
		t.Run(answer, func(t *testing.T) {
			t.Parallel()
			url := serve(t, func(w http.ResponseWriter, _ request) { io.WriteString(w, answer) })
			log, _ := start(t, Options{URL: url, Interval: time.Millisecond})
			log.Await(t, "GET /session answered no session id")
			if s := log.String(); strings.Contains(s, "hunter2") {
				t.Errorf("got log %s, want no key", s)
			}
		})
	}
}

// A producer whose context ends while it waits stops at once, without an error.
func TestStops(t *testing.T) {
	t.Parallel()
	log, stop := start(t, Options{URL: "http://127.0.0.1:1", Interval: time.Hour})
	log.Await(t, "trying again")
	if err := stop(); err != nil {
		t.Errorf("before it has a session: got error %v", err)
	}
	url := serve(t, func(http.ResponseWriter, request) {})
	log, stop = start(t, Options{URL: url, Session: "abc", Interval: time.Hour})
	log.Await(t, "image=1")
	if err := stop(); err != nil {
		t.Errorf("between two pictures: got error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := pause(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("pause: got error %v, want canceled", err)
	}
}

// A producer that is redirected says so, whatever its client would do. Its POST could become a GET, which takes an
// image.
func TestFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			target := serve(t, func(_ http.ResponseWriter, r request) {
				t.Errorf("followed to %s %s", r.Method, r.URL.Path)
			})
			front := serve(t, func(w http.ResponseWriter, r request) {
				http.Redirect(w, r.Request, target+r.URL.Path, status)
			})
			client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}
			log, _ := start(t, Options{URL: front, Client: client, Session: "abc", Interval: 20 * time.Millisecond})
			log.Await(t, "trying again")
			if s := log.String(); !strings.Contains(s, fmt.Sprint("answered ", status)) || strings.Contains(s, "image=1") {
				t.Errorf("got log %s, want the %d in it", s, status)
			}
		})
	}
}

// transport is a server without a network.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Attempts come at growing distances, pictures at the interval. A request that is not answered counts as a failure.
func TestTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		begun := time.Now()
		var sent []time.Duration
		client := &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			sent = append(sent, time.Since(begun))
			switch len(sent) {
			case 1, 2, 3, 4, 5:
				return nil, errors.New("no route")
			case 6:
				<-r.Context().Done()
				return nil, r.Context().Err()
			case 9:
				stop()
			}
			return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(new(bytes.Buffer))}, nil
		})}
		err := Run(ctx, Options{
			Client: client, Session: "abc", Interval: time.Minute, Width: 28, Height: 16, Log: slog.New(slog.DiscardHandler),
		})
		const s, ms = time.Second, time.Millisecond
		want := []time.Duration{0, 250 * ms, 750 * ms, 1750 * ms, 3750 * ms, 7750 * ms, 22750 * ms, 60 * s, 120 * s}
		if err != nil || !slices.Equal(sent, want) {
			t.Errorf("sent after %v, then error %v, want %v", sent, err, want)
		}
	})
}
