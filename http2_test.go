package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/certtest"
	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// shows reports whether a gauge of the server has a value.
func (s *secureServer) shows(t testing.TB, gauge string, value int) bool {
	t.Helper()
	page := s.Do(t, "GET", "/metrics", nil).WantStatus(t, 200).Text
	return strings.Contains(page, fmt.Sprintf("\n%s_%s %d\n", relaytest.Namespace, gauge, value))
}

// One connection of HTTP/2 carries a stream out, a stream in and waiting reads.
func TestStreamsOverHTTP2(t *testing.T) {
	t.Parallel()
	s := startHTTPS(t, true)
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	var dialed atomic.Int32
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		dialed.Add(1)
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	s.client.Transport.(*http.Transport).DialContext = dial
	s.Do(t, "GET", "/healthz", nil).WantStatus(t, 200) // later requests find the connection
	resp := s.request(ctx, t, "GET", "/stream/x", nil)
	next := partsOf(t, resp)
	next() // No Data

	body, in := io.Pipe()
	ingested := s.DoLater(t, "POST", "/stream/x", body)
	last := ""
	for n := 1; n <= 5; n++ {
		snapshot := s.DoLater(t, "GET", "/snapshot/x?wait=60", nil)
		testkit.Eventually(t, func() bool { return s.shows(t, "waiting_readers", 1) })
		picture := smallJPEG(fmt.Sprint("picture ", n))
		testkit.Must(io.WriteString(in, picture))(t)
		for got := ""; got != picture; {
			got = strings.TrimSuffix(next(), "\r\n")
			if got != picture && got != last && n > 1 { // the last one may be repeated
				t.Fatalf("picture %d: got %d bytes that are no picture", n, len(got))
			}
		}
		if got, _ := snapshot.Answer(t); got.WantStatus(t, 200).Text != picture {
			t.Errorf("picture %d: the waiting snapshot got %d bytes, X-Sequence %s",
				n, len(got.Text), got.Header.Get("X-Sequence"))
		}
		last = picture
	}
	in.Close()
	stored, _ := ingested.Answer(t)
	stored.WantIngested(t, relaytest.Ingested{Session: "x", Stored: 5, Sequence: 5})
	if resp.ProtoMajor != 2 || dialed.Load() != 1 {
		t.Errorf("got HTTP/%d and %d connections, want HTTP/2 on one", resp.ProtoMajor, dialed.Load())
	}
	stopwatch := testkit.StartStopwatch(t)
	s.stop() // the stream must not hold it up
	s.wantExit(t, 0, time.Minute)
	if took := stopwatch.Elapsed(); took > 5*time.Second {
		t.Errorf("ended after %s, want at most 5 s", took)
	}
}

// A viewer that accepts nothing is cut off, and holds up no other request of its connection.
func TestStalledViewerOverHTTP2(t *testing.T) {
	t.Parallel()
	const idle = time.Second
	pair := certtest.New(t)
	p := startBounded(t, func(b *bounds) { b.answer = idle }, append(tlsVars(pair), "MAX_IMAGE_BYTES=4MiB")...)
	s := &secureServer{p, pair, pair.Client(t, true)}
	ctx, giveUp := context.WithTimeout(t.Context(), time.Minute)
	defer giveUp()
	begun := time.Now()
	resp := s.request(ctx, t, "GET", "/stream/x", nil)
	defer resp.Body.Close()
	picture := bytes.Repeat([]byte("\xff\xd8 picture"), 200<<10) // two of them fill the window of a stream
	testkit.Eventually(t, func() bool {
		s.Do(t, "POST", "/image/x", bytes.NewReader(picture)).WantStatus(t, 200)
		if got := s.Do(t, "GET", "/image/x", nil).WantStatus(t, 200); got.Text != string(picture) {
			t.Fatalf("got %d bytes, want %d", len(got.Text), len(picture))
		}
		time.Sleep(idle / 10)
		return s.shows(t, "viewers", 0)
	})
	if took := time.Since(begun); took < idle {
		t.Errorf("cut off after %s, want at least %s", took, idle)
	}
	if n, err := io.Copy(io.Discard, resp.Body); err == nil || ctx.Err() != nil {
		t.Errorf("got %d bytes and error %v, want a stream that was cut", n, err)
	}
}

// A consumer that hangs up, while it waits or while it reads, costs no image.
func TestConsumerHangsUpOverHTTP2(t *testing.T) {
	t.Parallel()
	s := startHTTPS(t, true, "MAX_IMAGE_BYTES=64MiB", "MEMORY_LIMIT=256MiB")
	big := bytes.Repeat([]byte("\xff\xd8 image"), 4<<20) // more than the windows hold
	waiting, stopWaiting := context.WithCancel(t.Context())
	defer stopWaiting()
	ended := make(chan error, 1)
	req := testkit.Must(http.NewRequestWithContext(waiting, "GET", "https://"+s.Addr+"/image/x?wait=60", nil))(t)
	go func() {
		resp, err := s.client.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		ended <- err
	}()
	testkit.Eventually(t, func() bool { return s.shows(t, "waiting_readers", 1) })
	stopWaiting()
	if err := <-ended; err == nil {
		t.Fatal("got an answer of an empty queue")
	}
	s.Do(t, "POST", "/image/x", bytes.NewReader(big)).WantStatus(t, 200)

	reading, stopReading := context.WithCancel(t.Context())
	resp := s.request(reading, t, "GET", "/image/x", nil)
	testkit.Must(io.ReadFull(resp.Body, make([]byte, 64<<10)))(t)
	stopReading()
	resp.Body.Close()
	testkit.Eventually(t, func() bool { return !s.Do(t, "HEAD", "/image/x", nil).IsNoData() })
	got := s.Do(t, "GET", "/image/x", nil).WantStatus(t, 200)
	if got.Text != string(big) || got.Header.Get("X-Sequence") != "1" {
		t.Errorf("next consumer: got %d bytes, X-Sequence %s", len(got.Text), got.Header.Get("X-Sequence"))
	}
}
