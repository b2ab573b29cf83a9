package ingest

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"time"

	"github.com/dustin/go-humanize"
)

// DataRate is how fast a body has to come.
type DataRate struct {
	Idle           time.Duration // how long the body may stand still
	Grace          time.Duration // added to the time that an image has by the least average
	BytesPerSecond int64         // the least average over an image; 0: none
}

// ImageRate is the rate of a request with one image, without a least average.
func ImageRate() DataRate { return DataRate{Idle: 30 * time.Second, Grace: 30 * time.Second} }

// StreamRate is the rate of a request with many images: between two of them its body may stand still for longer.
func StreamRate() DataRate {
	rate := ImageRate()
	rate.Idle = 2 * time.Minute
	return rate
}

// drainTime is how long a read may still take while the server stops, so that the image under way can be completed.
const drainTime = 3 * time.Second

// Body is a request body that has to come at the rate of its Upload: every read has a deadline.
type Body struct {
	body     io.Reader
	rc       http.ResponseController // not a pointer: that would be one more allocation
	upload   *Upload
	draining <-chan struct{}
}

// Body returns the body of a request. Once draining is closed, every read has a short time only. Draining may be nil.
func (u *Upload) Body(w http.ResponseWriter, r *http.Request, draining <-chan struct{}) *Body {
	u.declared = max(r.ContentLength, 0) // until the first Release, which begins each image of a stream
	return &Body{body: r.Body, rc: *http.NewResponseController(w), upload: u, draining: draining}
}

// Read implements io.Reader.
func (b *Body) Read(p []byte) (int, error) {
	now := time.Now()
	left := b.upload.timeLeft(now)
	b.rc.SetReadDeadline(now.Add(left.least())) // without a connection no deadline is needed
	// Checked after SetReadDeadline: otherwise the shorter deadline of a concurrent shutdown would be overwritten.
	select {
	case <-b.draining:
		b.ShortenDeadline()
	default:
	}
	n, err := b.body.Read(p)
	b.upload.received += int64(n)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = b.upload.missed(left)
	}
	return n, err
}

// ShortenDeadline leaves the read in flight a short time. It is to be called when draining is closed, by any goroutine:
// only later reads notice that themselves.
func (b *Body) ShortenDeadline() { b.rc.SetReadDeadline(time.Now().Add(drainTime)) }

// timeLeft is for how long no byte may come until a limit is missed.
type timeLeft struct{ idle, average, share time.Duration }

func (l timeLeft) least() time.Duration { return min(l.idle, l.average, l.share) }

// timeLeft returns the time left. The average is over the time in which the upload has held memory for an image.
func (u *Upload) timeLeft(now time.Time) timeLeft {
	const noLimit = math.MaxInt64
	left := timeLeft{u.rate.Idle, noLimit, noLimit}
	if u.pool != nil && u.rate.BytesPerSecond > 0 {
		left.average = u.rate.Grace + time.Duration(u.received/u.rate.BytesPerSecond)*time.Second - now.Sub(u.since)
	}
	if u.pool == &u.budget.share {
		left.share = shareTime - now.Sub(u.since)
	}
	return left
}

// missed returns which limit a body has missed.
func (u *Upload) missed(left timeLeft) error {
	switch left.least() {
	case left.share:
		return overBudget(u.budget.limit)
	case left.idle:
		return &rateError{fmt.Sprintf("the body stood still for %s", u.rate.Idle)}
	}
	return &rateError{fmt.Sprintf("the body came too slowly: allowed are %s a second on average after the first %s",
		humanize.IBytes(uint64(u.rate.BytesPerSecond)), u.rate.Grace)}
}
