package main

import (
	"bufio"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// screen is a viewer's end of a stream, which it reads by the letter.
type screen struct {
	conn *net.TCPConn
	in   *bufio.Reader
}

// shot is one part of a stream.
type shot struct {
	kind, timestamp, image string
	at                     time.Time
}

const openingLine = "--boundarydonotcross\r\n"

// watch opens a stream and reads up to its first part.
func (s *site) watch(t testing.TB, path string) *screen {
	t.Helper()
	v := &screen{conn: s.dial(t)}
	v.in = bufio.NewReader(v.conn)
	fmt.Fprintf(v.conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
	resp := must(http.ReadResponse(v.in, nil))(t)
	if resp.StatusCode != 200 || len(resp.TransferEncoding) > 0 || resp.ContentLength != -1 {
		t.Fatalf("%s: got status %d, Transfer-Encoding %q, length %d", path, resp.StatusCode, resp.TransferEncoding, resp.ContentLength)
	}
	if line := must(v.in.ReadString('\n'))(t); line != openingLine {
		t.Fatalf("%s: begins with %q, want %q", path, line, openingLine)
	}
	return v
}

var shotForm = regexp.MustCompile(`\AContent-Type: (image/[a-z]+)\r\nContent-Length: (\d+)\r\nX-Timestamp: (\d{10}\.\d{6})\r\n\r\n\z`)

// next reads a part and the boundary behind it. It returns io.EOF only where a
// part could begin.
func (v *screen) next() (shot, error) {
	var head strings.Builder
	for line := ""; line != "\r\n"; {
		var err error
		if line, err = v.in.ReadString('\n'); err != nil {
			if head.Len()+len(line) > 0 {
				err = fmt.Errorf("%w within the head %q", io.ErrUnexpectedEOF, head.String()+line)
			}
			return shot{}, err
		}
		head.WriteString(line)
	}
	fields := shotForm.FindStringSubmatch(head.String())
	if fields == nil {
		return shot{}, fmt.Errorf("malformed head %q", head.String())
	}
	size, _ := strconv.Atoi(fields[2])
	body := make([]byte, size+len("\r\n"+openingLine))
	if _, err := io.ReadFull(v.in, body); err != nil {
		return shot{}, fmt.Errorf("body: %w", errors.Join(err, io.ErrUnexpectedEOF))
	}
	if end := string(body[size:]); end != "\r\n"+openingLine {
		return shot{}, fmt.Errorf("%q behind an image", end)
	}
	return shot{fields[1], fields[3], string(body[:size]), time.Now()}, nil
}

// want reads up to a part with an image. Others may come before it, since images
// are shown again when none comes.
func (v *screen) want(t testing.TB, image string) shot {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		if s := must(v.next())(t); s.image == image {
			return s
		}
	}
	t.Fatalf("the stream did not show %.99q", image)
	panic("not reached")
}

// all reads in the background, to know when each part came.
func (v *screen) all() <-chan shot {
	shots := make(chan shot, 1000)
	go func() {
		defer close(shots)
		for {
			s, err := v.next()
			if err != nil {
				return
			}
			shots <- s
		}
	}()
	return shots
}

// noDataShot is what a stream shows without an image, with NODATA_HEIGHT=90.
var noDataShot = sync.OnceValue(func() string { return string(noDataJPEG(160, 90)) })

func (s shot) isNoData() bool { return s.image == noDataShot() }

// The head of a stream, line by line: what viewers, caches and proxies are told.
func TestStreamHead(t *testing.T) {
	t.Parallel()
	own := []string{
		"Cache-Control: no-store, no-cache, must-revalidate, proxy-revalidate, pre-check=0, post-check=0, max-age=0",
		"Connection: close",
		"Content-Type: multipart/x-mixed-replace;boundary=boundarydonotcross",
		"Date: now",
		"Expires: Mon, 3 Jan 2000 12:34:56 GMT",
		"Pragma: no-cache",
		"X-Accel-Buffering: no",
	}
	date := regexp.MustCompile(`(?m)^Date: .+ GMT$`)
	onSites(t, func(t *testing.T, s *site) {
		want := slices.Clone(own)
		for name, values := range s.get(t, "/healthz").Header { // what every answer has
			if !slices.Contains([]string{"Cache-Control", "Content-Length", "Content-Type", "Date"}, name) {
				want = append(want, name+": "+values[0])
			}
		}
		slices.Sort(want)
		session := newSession()
		s.push(t, session, "image")
		for _, row := range []struct{ request, status string }{
			{"GET /stream/%s HTTP/1.1", "HTTP/1.1 200 OK"},
			{"GET /stream/%s?action=stream&1595805826022 HTTP/1.1\r\nConnection: keep-alive", "HTTP/1.1 200 OK"},
			{"GET /stream/%s?fps=5 HTTP/1.0", "HTTP/1.0 200 OK"},
			{"GET /stream/%s HTTP/1.0\r\nConnection: keep-alive", "HTTP/1.0 200 OK"},
			{"HEAD /stream/%s HTTP/1.1", "HTTP/1.1 200 OK"},
			{"HEAD /stream/%s?action=stream HTTP/1.0", "HTTP/1.0 200 OK"},
		} {
			conn, begun := s.dial(t), time.Now()
			fmt.Fprintf(conn, row.request+"\r\nHost: x\r\n\r\n", session)
			in := bufio.NewReader(conn)
			var head string
			for !strings.HasSuffix(head, "\r\n\r\n") {
				head += must(in.ReadString('\n'))(t)
			}
			head = date.ReplaceAllString(strings.ReplaceAll(head, "\r\n", "\n"), "Date: now")
			lines := strings.Split(strings.TrimSpace(head), "\n")
			slices.Sort(lines[1:])
			if lines[0] != row.status || !slices.Equal(lines[1:], want) {
				t.Errorf("%s: got head %q, want %q and %q", row.request, lines, row.status, want)
			}
			if strings.HasPrefix(row.request, "HEAD") {
				if rest := must(io.ReadAll(in))(t); len(rest) > 0 {
					t.Errorf("%s: got body %q", row.request, rest)
				}
			} else if got := must((&screen{in: in}).nextOf(openingLine))(t); got.image != "image" {
				t.Errorf("%s: got %q", row.request, got.image)
			}
			if took := time.Since(begun); took > 900*time.Millisecond {
				t.Errorf("%s: took %s, want it at once", row.request, took)
			}
			conn.Close()
		}
	})
}

// nextOf reads a line that has to be there, and then a part.
func (v *screen) nextOf(line string) (shot, error) {
	if got, err := v.in.ReadString('\n'); err != nil || got != line {
		return shot{}, fmt.Errorf("got line %q, error %v, want %q", got, err, line)
	}
	return v.next()
}

// The body of a stream, byte by byte: from the newest image on, each with the
// boundary behind it, and the last one again when nothing comes. Nothing is taken.
func TestStreamForm(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		session := newSession()
		conn := s.dial(t)
		part := func(image string) string {
			t.Helper()
			timestamp := s.do(t, http.MethodHead, "/snapshot/"+session, nil).Header.Get("X-Timestamp")
			return fmt.Sprintf("Content-Type: image/jpeg\r\nContent-Length: %d\r\nX-Timestamp: %s\r\n\r\n%s\r\n--boundarydonotcross\r\n",
				len(image), timestamp, image)
		}
		want := func(part string) time.Time {
			t.Helper()
			got := make([]byte, len(part))
			if n, err := io.ReadFull(conn, got); err != nil || string(got) != part {
				t.Fatalf("got %q, error %v, want %q", got[:n], err, part)
			}
			return time.Now()
		}
		newest := "\xff\xd8 \r\n\r\n--boundarydonotcross\r\n\x00" + everyByte()
		s.push(t, session, "older")
		s.push(t, session, newest)
		fmt.Fprintf(conn, "GET /stream/%s HTTP/1.1\r\nHost: x\r\n\r\n", session)
		for head := ""; !strings.HasSuffix(head, "\r\n\r\n--boundarydonotcross\r\n"); {
			b := make([]byte, 1)
			must(conn.Read(b))(t)
			head += string(b)
		}
		want(part(newest))
		want(part(newest))
		s.push(t, session, "next")
		first := want(part("next"))
		if gap := want(part("next")).Sub(first); gap < 800*time.Millisecond || gap > 2*time.Second {
			t.Errorf("shown again after %s, want about 1 s", gap)
		}
		if n := s.length(t, session); n != 3 {
			t.Errorf("%d images are left, want 3", n)
		}
	}, "MIMETYPE=image/jpg") // which viewers call image/jpeg
}

// Without an image a stream shows No Data as JPEG, whatever the images are, and
// again when the newest has expired: also to a viewer that comes just then.
func TestStreamNoData(t *testing.T) {
	t.Parallel()
	onPrograms(t, func(t *testing.T, p *program) {
		const ttl = 500 * time.Millisecond
		session := newSession()
		v := p.watch(t, "/stream/"+session+"?nodata=404")
		first := must(v.next())(t)
		picture := must(jpeg.Decode(strings.NewReader(first.image)))(t)
		if size := picture.Bounds().Size(); size != image.Pt(100, 50) || first.kind != "image/jpeg" {
			t.Errorf("got %s of %v, want a JPEG of 100 x 50", first.kind, size)
		}
		p.do(t, "POST", "/image/"+session, strings.NewReader("image")).wantStatus(t, 200)
		over := time.Now().Add(ttl)
		if s := v.want(t, "image"); s.kind != "image/png" {
			t.Errorf("got an image of type %s, want image/png", s.kind)
		}
		shots := v.all()
		time.Sleep(time.Until(over))
		for i, shots := range []<-chan shot{shots, p.watch(t, "/stream/"+session).all()} {
			s := <-shots
			for i == 0 && s.image == "image" && s.at.Before(over.Add(300*time.Millisecond)) { // it was sent in time
				s = <-shots
			}
			if late := s.at.Sub(over); s.image != first.image || late > 2*time.Second {
				t.Errorf("viewer %d, %s after expiry: got %.20q, want No Data", i, late, s.image)
			}
			again := <-shots
			if gap := again.at.Sub(s.at); again.image != first.image || gap < 500*time.Millisecond || gap > 2*time.Second {
				t.Errorf("viewer %d: got %.20q after %s, want No Data again after a second", i, again.image, gap)
			}
		}
	}, "EXPIRE=0.5", "NODATA_HEIGHT=50", "NODATA_ASPECT_RATIO=1/2", "MIMETYPE=image/png")
}

// fps bounds what one viewer gets, and nobody else; and the newest comes last.
func TestStreamFPS(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		const fps, images = 10, 40
		session := newSession()
		shots := map[string]*[]shot{}
		done := make(chan error, 2)
		for _, query := range []string{"", "?fps=10"} {
			v, all := s.watch(t, "/stream/"+session+query), new([]shot)
			must(v.next())(t)
			shots[query] = all
			go func() {
				var s shot
				var err error
				for err == nil && s.image != fmt.Sprint("image ", images-1) {
					s, err = v.next()
					*all = append(*all, s)
				}
				done <- err
			}()
		}
		begun := time.Now()
		for i := range images {
			s.push(t, session, fmt.Sprint("image ", i))
			time.Sleep(20 * time.Millisecond)
		}
		for range shots {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		bounded, free := *shots["?fps=10"], *shots[""]
		took := bounded[len(bounded)-1].at.Sub(begun)
		if most := int(took.Seconds()*fps) + 2; len(bounded) > most || len(free) < images/2 {
			t.Errorf("with fps=10: %d frames in %s, want at most %d; without: %d of %d", len(bounded), took, most, len(free), images)
		}
	})
}

// Old devices keep a connection only when they are told so in so many words.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	s := newSite(t, testConfig(t), memoryFixture(t, time.Minute))
	for _, row := range []struct {
		version, asked, answered string
		kept                     bool
	}{
		{"1.1", "keep-alive", "keep-alive", true},
		{"1.1", "Keep-Alive", "keep-alive", true},
		{"1.1", "", "", true},
		{"1.1", "close", "close", false},
		{"1.0", "keep-alive", "keep-alive", true},
		{"1.0", "", "", false},
	} {
		conn := s.dial(t)
		in := bufio.NewReader(conn)
		for i, request := range []string{"POST /image/x HTTP/%s\r\nContent-Length: 5\r\n", "GET /image/x HTTP/%s\r\n", "GET /session HTTP/%s\r\n"} {
			if row.asked != "" {
				request += "Connection: " + row.asked + "\r\n"
			}
			_, err := fmt.Fprintf(conn, request+"Host: x\r\n\r\n", row.version)
			if i == 0 {
				fmt.Fprint(conn, "image")
			}
			var resp *http.Response
			if err == nil {
				resp, err = http.ReadResponse(in, nil)
			}
			if i > 0 && !row.kept {
				if err == nil {
					t.Errorf("HTTP/%s, asked for %q: the connection was kept", row.version, row.asked)
				}
				break
			}
			connection := must(resp, err)(t).Header.Get("Connection")
			if resp.Close && row.asked == "close" {
				connection = "close" // net/http takes that header away
			}
			if received(t, resp, "GET"); resp.StatusCode != 200 || connection != row.answered {
				t.Errorf("HTTP/%s, asked for %q: got status %d, Connection %q, want %q", row.version, row.asked, resp.StatusCode, connection, row.answered)
			}
		}
		conn.Close()
	}
}

// Devices send a line break or two behind the image: it belongs to nothing.
func TestLineBreaksAfterBody(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		for _, method := range []string{"POST", "PUT"} {
			for _, rest := range []string{"\r\n", "\r\n\r\n"} {
				session := newSession()
				conn := s.dial(t)
				in := bufio.NewReader(conn)
				rounds := 3
				if method == "PUT" {
					rounds = 1 // and then the device hangs up
				}
				for i := range rounds {
					fmt.Fprintf(conn, "%s /image/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nimage%s", method, session, rest)
					received(t, must(http.ReadResponse(in, nil))(t), method).wantStatus(t, 200)
					if f := s.take(t, session); string(f.data) != "image" || f.sequence != int64(i+1) {
						t.Errorf("%s with %q: got %q, sequence %d", method, rest, f.data, f.sequence)
					}
				}
				if method == "POST" {
					fmt.Fprintf(conn, "GET /image/%s HTTP/1.1\r\nHost: x\r\n\r\n", session)
					if got := received(t, must(http.ReadResponse(in, nil))(t), "GET").wantStatus(t, 200); !got.isNoData() {
						t.Errorf("then got %.99q", got.body)
					}
				}
				conn.Close()
			}
		}
	})
}
