package ingest

import (
	"errors"
	"fmt"
	"io"
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

	since    time.Time // copy of the upload's: received counts from then on
	received int64     // bytes
}

// Body returns the body of a request. Once draining is closed, every read has a short time only. Draining may be nil.
func (u *Upload) Body(w http.ResponseWriter, r *http.Request, draining <-chan struct{}) *Body {
	return &Body{body: r.Body, rc: *http.NewResponseController(w), upload: u, draining: draining}
}

// Read implements io.Reader.
func (b *Body) Read(p []byte) (int, error) {
	now, idle := time.Now(), b.upload.rate.Idle
	left := b.timeLeft(now)
	b.rc.SetReadDeadline(now.Add(min(idle, left))) // without a connection no deadline is needed
	// Checked after SetReadDeadline: otherwise the shorter deadline of a concurrent shutdown would be overwritten.
	select {
	case <-b.draining:
		b.ShortenDeadline()
	default:
	}
	n, err := b.body.Read(p)
	b.received += int64(n)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = b.missed(idle <= left)
	}
	return n, err
}

// ShortenDeadline leaves the read in flight a short time. It is to be called when draining is closed, by any goroutine:
// only later reads notice that themselves.
func (b *Body) ShortenDeadline() { b.rc.SetReadDeadline(time.Now().Add(drainTime)) }

// timeLeft returns for how long no byte may come until the average is missed. The average is over the time in which the
// upload has held memory for an image.
func (b *Body) timeLeft(now time.Time) time.Duration {
	rate, since := b.upload.rate, b.upload.since
	if b.since != since {
		b.since, b.received = since, 0
	}
	if since.IsZero() || rate.BytesPerSecond == 0 {
		return rate.Idle
	}
	return rate.Grace + time.Duration(b.received/rate.BytesPerSecond)*time.Second - now.Sub(since)
}

// missed returns which limit the body has missed.
func (b *Body) missed(stoodStill bool) error {
	rate := b.upload.rate
	if stoodStill {
		return &rateError{fmt.Sprintf("the body stood still for %s", rate.Idle)}
	}
	return &rateError{fmt.Sprintf("the body came too slowly: allowed are %s a second on average after the first %s",
		humanize.IBytes(uint64(rate.BytesPerSecond)), rate.Grace)}
}
