package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// sender is one long POST under way.
type sender struct {
	*io.PipeWriter
	answer chan response
}

// send begins a POST of many images; what is written to it arrives at once.
func (s *site) send(t testing.TB, session, contentType string) *sender {
	t.Helper()
	body, in := io.Pipe()
	req := must(http.NewRequestWithContext(t.Context(), "POST", "http://"+s.addr+"/stream/"+session, body))(t)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	out := &sender{in, make(chan response, 1)}
	go func() {
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Error(err)
			close(out.answer)
			return
		}
		out.answer <- received(t, resp, "POST")
	}()
	t.Cleanup(func() { in.Close() })
	return out
}

func (s *sender) write(t testing.TB, text string) {
	t.Helper()
	if _, err := io.WriteString(s, text); err != nil {
		t.Fatal(err)
	}
}

// wantCounts ends the body and checks the answer.
func (s *sender) wantCounts(t testing.TB, want ingested) {
	t.Helper()
	s.Close()
	(<-s.answer).wantCounts(t, want)
}

func (r response) wantCounts(t testing.TB, want ingested) {
	t.Helper()
	var got ingested
	decoder := json.NewDecoder(strings.NewReader(r.wantStatus(t, 200).body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&got); err != nil || got != want {
		t.Errorf("got %s, error %v, want %+v", r.body, err, want)
	}
}

func sizedPart(image string) string {
	return fmt.Sprintf("--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n", len(image), image)
}

// Each image is there the moment its last byte was sent, in every form.
func TestIngestStoresAtOnce(t *testing.T) {
	t.Parallel()
	jpegs := []string{string(numberedJPEG(1, 32, 18)), string(numberedJPEG(2, 32, 18)), string(numberedJPEG(3, 32, 18))}
	bare := func(image string) string { return image }
	unsized := func(image string) string { return "--b\r\n\r\n" + image }
	onSites(t, func(t *testing.T, s *site) {
		for _, row := range []struct {
			name, kind string
			form       func(string) string
		}{
			{"multipart with lengths", "multipart/x-mixed-replace; boundary=b", sizedPart},
			{"multipart without", "multipart/x-mixed-replace; boundary=--b", unsized},
			{"multipart of another name", `multipart/form-data; boundary="b"`, sizedPart},
			{"multipart that does not say so", "application/octet-stream", sizedPart},
			{"JPEGs", "image/jpg", bare},
			{"JPEGs of no type", "", bare},
			{"JPEGs by curl's default", "application/x-www-form-urlencoded", bare},
		} {
			session := newSession()
			out := s.send(t, session, row.kind)
			for i, jpeg := range jpegs {
				out.write(t, row.form(jpeg))
				eventually(t, func() bool { return s.length(t, session) == i+1 })
			}
			out.wantCounts(t, ingested{session, 3, 0, 0, 3})
			for i, want := range jpegs {
				if got := s.take(t, session); string(got.data) != want {
					t.Errorf("%s, image %d: got %d bytes, want %d", row.name, i+1, len(got.data), len(want))
				}
			}
			s.wantEmpty(t, session)
		}
	})
}

// A bad part is counted, and what follows it is stored.
func TestIngestSkips(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		session := newSession()
		jpeg := string(numberedJPEG(7, 32, 18))
		body := sizedPart("first") + sizedPart(strings.Repeat("x", mebi+1)) + sizedPart("") + "--b\r\n\r\n" + jpeg[:100] + "\r\n" + sizedPart("last") + "--b--\r\n"
		for _, method := range []string{"POST", "PUT"} {
			got := s.do(t, method, "/stream/"+session, chunked(body), "Content-Type: multipart/mixed; boundary=b")
			sequence := int64(2)
			if method == "PUT" {
				sequence = 4
			}
			got.wantCounts(t, ingested{session, 2, 3, 0, sequence})
			for _, want := range []string{"first", "last"} {
				if image := s.take(t, session); string(image.data) != want {
					t.Errorf("%s: got %q, want %q", method, image.data, want)
				}
			}
		}
		s.wantEmpty(t, session)
	})
}

// A body that is cut keeps what was whole; a body without images is refused.
func TestIngestRefused(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		for _, row := range []struct {
			name, headers, body string
			cut                 bool
			status, stored      int
			text                string
		}{
			{"cut in the second image", "Content-Length: 1000", sizedPart("first") + "--b\r\nContent-Length: 10\r\n\r\nseco", true, 400, 1, "1 of its images were stored"},
			{"cut in a chunk", "Transfer-Encoding: chunked", "1000\r\n" + sizedPart("first"), true, 400, 1, "1 of its images were stored"},
			{"empty", "Content-Length: 0", "", false, 400, 0, "at least one byte"},
			{"no length", "X-None: 0", "", false, 411, 0, "chunked"},
			{"no image", "Content-Length: 5", "image", false, 415, 0, "multipart"},
			{"text of a preamble alone", "Content-Type: multipart/mixed; boundary=b\r\nContent-Length: 8", "preamble", false, 415, 0, "multipart"},
		} {
			session := newSession()
			got := s.raw(t, fmt.Sprintf("POST /stream/%s HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n%s", session, row.headers, row.body), row.cut)
			if got.StatusCode != row.status || !strings.Contains(got.body, row.text) {
				t.Errorf("%s: got status %d, %s, want %d", row.name, got.StatusCode, got.body, row.status)
			}
			if n := s.length(t, session); n != row.stored {
				t.Errorf("%s: %d images stored, want %d", row.name, n, row.stored)
			}
		}
		s.do(t, "POST", "/stream/a.b", sized("x")).wantStatus(t, 400)
	})
}

// A queue that is full costs the images it refuses, and not the stream.
func TestIngestGoesOnWhenFull(t *testing.T) {
	t.Parallel()
	p := startServer(t, "", "MEMORY_LIMIT=2000")
	session := newSession()
	out := p.send(t, session, "multipart/mixed; boundary=b")
	for i := range 4 {
		out.write(t, sizedPart(strings.Repeat(strconv.Itoa(i), 800)))
	}
	eventually(t, func() bool { return p.count(t, session) == 2 })
	for range 2 {
		p.get(t, "/image/"+session).wantStatus(t, 200)
	}
	out.write(t, sizedPart("there is room again"))
	out.wantCounts(t, ingested{session, 3, 0, 2, 3})
}

// SIGTERM ends a stream behind the image under way, and the sender learns what
// was stored.
func TestIngestStops(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, rest string
		stored     int
	}{
		{"with an image under way", "+last", 2},
		{"idle", "", 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := startServer(t, "")
			conn := p.dial(t)
			fmt.Fprintf(conn, "POST /stream/x HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Length: 100000\r\n\r\n%s", sizedPart("first"))
			if row.rest != "" {
				fmt.Fprint(conn, "--b\r\nContent-Length: 10\r\n\r\nfirst")
			}
			eventually(t, func() bool { return p.count(t, "x") == 1 })
			p.stop()
			p.log.await(t, "msg=stopping")
			fmt.Fprint(conn, row.rest)
			received(t, must(http.ReadResponse(bufio.NewReader(conn), nil))(t), "POST").
				wantCounts(t, ingested{"x", row.stored, 0, 0, int64(row.stored)})
			p.wantExit(t, 0, lastImage+2*time.Second)
		})
	}
}
