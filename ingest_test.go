package main

import (
	"bufio"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// An image of a stream is stored the moment its last byte was sent, in every form of a stream.
func TestIngestStoresAtOnce(t *testing.T) {
	t.Parallel()
	jpegs := []string{string(noDataJPEG(32, 18)), string(noDataJPEG(48, 27)), string(noDataJPEG(64, 36))}
	bare := func(image string) string { return image }
	unsized := func(image string) string { return "--b\r\n\r\n" + image }
	onEngines(t, func(t *testing.T, s *testServer) {
		for _, row := range []struct {
			name, contentType string
			form              func(string) string
		}{
			{"multipart with lengths", "multipart/x-mixed-replace; boundary=b", relaytest.Part},
			{"multipart without lengths", "multipart/x-mixed-replace; boundary=--b", unsized},
			{"multipart of another name", `multipart/form-data; boundary="b"`, relaytest.Part},
			{"multipart that does not say so", "application/octet-stream", relaytest.Part},
			{"JPEGs", "image/jpg", bare},
			{"JPEGs of no type", "", bare},
			{"JPEGs by curl's default", "application/x-www-form-urlencoded", bare},
		} {
			id := session.New()
			stream := s.Send(t, id, row.contentType)
			for i, jpeg := range jpegs {
				stream.WriteText(t, row.form(jpeg))
				testkit.Eventually(t, func() bool { return s.Len(t, id) == i+1 })
			}
			stream.WantIngested(t, relaytest.Ingested{Session: id, Stored: 3, Sequence: 3})
			for i, want := range jpegs {
				if got := s.Take(t, id); string(got.Data) != want {
					t.Errorf("%s, image %d: got %d bytes, want %d", row.name, i+1, len(got.Data), len(want))
				}
			}
			s.WantEmpty(t, id)
		}
	})
}

// A part that is not an image, cut or too large is counted, and the parts after it are stored.
func TestIngestSkips(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		id, part := session.New(), relaytest.Part
		cut := "--b\r\n\r\n" + string(noDataJPEG(32, 18))[:100] + "\r\n"
		body := part("first") + part(strings.Repeat("x", mebi+1)) + part("") + cut + part("last") + "--b--\r\n"
		for i, method := range []string{"POST", "PUT"} {
			s.Do(t, method, "/stream/"+id, relaytest.Chunked(body), "Content-Type: multipart/mixed; boundary=b").
				WantIngested(t, relaytest.Ingested{Session: id, Stored: 2, Skipped: 3, Sequence: int64(2 + 2*i)})
			for _, want := range []string{"first", "last"} {
				if image := s.Take(t, id); string(image.Data) != want {
					t.Errorf("%s: got %q, want %q", method, image.Data, want)
				}
			}
		}
		s.WantEmpty(t, id)
	})
}

// Of a body that is cut the whole images are kept. A body without images is refused.
func TestIngestRefused(t *testing.T) {
	t.Parallel()
	first := relaytest.Part("first")
	onEngines(t, func(t *testing.T, s *testServer) {
		for _, row := range []struct {
			name, headers, body string
			cut                 bool
			status, stored      int
			text                string
		}{
			{
				"cut in the second image", "Content-Length: 1000", first + "--b\r\nContent-Length: 10\r\n\r\nseco",
				true, 400, 1, "1 of its images were stored",
			},
			{
				"cut in a chunk", "Transfer-Encoding: chunked", "1000\r\n" + first,
				true, 400, 1, "1 of its images were stored",
			},
			{"empty", "Content-Length: 0", "", false, 400, 0, "at least one byte"},
			{"no length", "X-None: 0", "", false, 411, 0, "chunked"},
			{"no image", "Content-Length: 5", "image", false, 415, 0, "multipart"},
			{
				"only a preamble", "Content-Type: multipart/mixed; boundary=b\r\nContent-Length: 8", "preamble",
				false, 415, 0, "multipart",
			},
		} {
			id := session.New()
			got := s.Raw(t, fmt.Sprintf("POST /stream/%s HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n%s", id, row.headers, row.body),
				row.cut)
			if got.StatusCode != row.status || !strings.Contains(got.Text, row.text) {
				t.Errorf("%s: got status %d, %s, want %d", row.name, got.StatusCode, got.Text, row.status)
			}
			if n := s.Len(t, id); n != row.stored {
				t.Errorf("%s: %d images stored, want %d", row.name, n, row.stored)
			}
		}
		s.Do(t, "POST", "/stream/a+b", sized("x")).WantStatus(t, 400)
	})
}

// A full queue costs the images that it refuses, and not the stream.
func TestIngestGoesOnWhenFull(t *testing.T) {
	t.Parallel()
	p, id := startServer(t, "", "MEMORY_LIMIT=2000"), session.New()
	stream := p.Send(t, id, "multipart/mixed; boundary=b")
	for i := range 4 {
		stream.WriteText(t, relaytest.Part(strings.Repeat(strconv.Itoa(i), 800)))
	}
	testkit.Eventually(t, func() bool { return p.Scrape(t).Value(t, "refused_images_total") == 2 })
	if n := p.StatsLen(t, id); n != 2 {
		t.Errorf("got %d images in the stats, want 2", n)
	}
	for range 2 {
		p.Get(t, "/image/"+id).WantStatus(t, 200)
	}
	stream.WriteText(t, relaytest.Part("there is room again"))
	stream.WantIngested(t, relaytest.Ingested{Session: id, Stored: 3, Refused: 2, Sequence: 3})
}

// SIGTERM ends a stream after the image under way, and the sender learns what was stored.
func TestIngestStops(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, begun, rest string  // of the second image
		held              float64 // bytes, when its begin was read
		stored            int
	}{
		{"with an image under way", "--b\r\nContent-Length: 10\r\n\r\nfirst", "+last", 10, 2},
		{"idle", "", "", 0, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := startServer(t, "")
			conn := p.Dial(t)
			fmt.Fprint(conn, "POST /stream/x HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/mixed; boundary=b\r\n"+
				"Content-Length: 100000\r\n\r\n"+relaytest.Part("first")+row.begun)
			testkit.Eventually(t, func() bool {
				return p.StatsLen(t, "x") == 1 && p.Scrape(t).Value(t, "upload_bytes") == row.held
			})
			p.stop()
			p.log.Await(t, "msg=stopping")
			fmt.Fprint(conn, row.rest)
			answer := testkit.Must(http.ReadResponse(bufio.NewReader(conn), nil))(t)
			relaytest.Received(t, answer, "POST").
				WantIngested(t, relaytest.Ingested{Session: "x", Stored: row.stored, Sequence: int64(row.stored)})
			p.wantExit(t, 0, time.Minute)
		})
	}
}
