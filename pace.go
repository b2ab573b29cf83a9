package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/dustin/go-humanize"
)

// pace is how fast a body has to come.
type pace struct {
	idle  time.Duration // how long it may stand still
	grace time.Duration // what an image has beyond
	least int           // bytes a second on average
}

// imagePace is that of a request with one image: as slow as the worst radio, but not
// byte by byte, since it holds memory that others wait for.
func imagePace() pace { return pace{idle: 30 * time.Second, grace: 30 * time.Second, least: 4 << 10} }

// streamPace is that of a request with many: between two of them it may be silent.
func streamPace() pace {
	p := imagePace()
	p.idle = 2 * time.Minute
	return p
}

// lastImage is what a sender of many has for the image under way when the server
// stops.
const lastImage = 3 * time.Second

// pacedBody is a body with a deadline on every read.
type pacedBody struct {
	io.Reader
	rc       *http.ResponseController
	upload   *upload
	stopping context.Context // the body must come to its end soon after this one's

	since    time.Time // what is counted began then
	received int
}

// paced returns the request's body.
func (u *upload) paced(w http.ResponseWriter, r *http.Request) *pacedBody {
	return &pacedBody{Reader: r.Body, rc: http.NewResponseController(w), upload: u, stopping: context.Background()}
}

func (b *pacedBody) Read(p []byte) (int, error) {
	now, idle := time.Now(), b.upload.pace.idle
	left := b.left(now)
	b.rc.SetReadDeadline(now.Add(min(idle, left))) // where there is no connection, no deadline is needed
	if b.stopping.Err() != nil {                   // looked at last: hurry may have run just before
		b.hurry()
	}
	n, err := b.Reader.Read(p)
	b.received += n
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = b.late(idle <= left)
	}
	return n, err
}

// left returns for how long nothing may come until the average is missed. That
// counts while the upload holds memory for an image.
func (b *pacedBody) left(now time.Time) time.Duration {
	p, held := b.upload.pace, b.upload.since
	if b.since != held {
		b.since, b.received = held, 0
	}
	if held.IsZero() {
		return p.idle
	}
	return p.grace + time.Duration(b.received/p.least)*time.Second - now.Sub(held)
}

// late returns which of the limits a body has missed.
func (b *pacedBody) late(stood bool) error {
	p := b.upload.pace
	if stood {
		return &tooSlow{fmt.Sprintf("the body stood still for %s", p.idle)}
	}
	return &tooSlow{fmt.Sprintf("the body came too slowly: allowed are %s a second on average after the first %s", humanize.IBytes(uint64(p.least)), p.grace)}
}

// tooSlow says that a body did not keep its pace.
type tooSlow struct{ what string }

func (e *tooSlow) Error() string { return e.what }

// hurry leaves a read a short time.
func (b *pacedBody) hurry() { b.rc.SetReadDeadline(time.Now().Add(lastImage)) }
