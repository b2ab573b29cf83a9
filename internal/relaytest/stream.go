package relaytest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// Viewer is the client's end of a stream. It accepts the exact format of a stream and nothing else.
type Viewer struct {
	Conn *net.TCPConn
	in   *bufio.Reader
}

// Frame is one part of a stream.
type Frame struct {
	Type, Timestamp, Image string
	At                     time.Time // when it had arrived whole
}

// OpeningLine is the delimiter with which every stream begins.
const OpeningLine = "--boundarydonotcross\r\n"

// Watch opens a stream and reads up to its first part.
func (c *Client) Watch(t testing.TB, path string) *Viewer {
	t.Helper()
	v := &Viewer{Conn: c.Dial(t)}
	v.in = bufio.NewReader(v.Conn)
	fmt.Fprintf(v.Conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
	resp := testkit.Must(http.ReadResponse(v.in, nil))(t)
	if resp.StatusCode != 200 || len(resp.TransferEncoding) > 0 || resp.ContentLength != -1 {
		t.Fatalf("%s: got status %d, Transfer-Encoding %q, length %d",
			path, resp.StatusCode, resp.TransferEncoding, resp.ContentLength)
	}
	if line := testkit.Must(v.in.ReadString('\n'))(t); line != OpeningLine {
		t.Fatalf("%s: begins with %q, want %q", path, line, OpeningLine)
	}
	return v
}

var partHead = regexp.MustCompile(`\AContent-Type: (image/[a-z]+)\r\nContent-Length: (\d+)\r\n` +
	`X-Timestamp: (\d{10}\.\d{6})\r\n\r\n\z`)

// Next reads a part and the delimiter after it. It returns io.EOF only where a part could begin.
func (v *Viewer) Next() (Frame, error) {
	var head strings.Builder
	for line := ""; line != "\r\n"; {
		var err error
		if line, err = v.in.ReadString('\n'); err != nil {
			if head.Len()+len(line) > 0 {
				err = fmt.Errorf("%w within the head %q", io.ErrUnexpectedEOF, head.String()+line)
			}
			return Frame{}, err
		}
		head.WriteString(line)
	}
	fields := partHead.FindStringSubmatch(head.String())
	if fields == nil {
		return Frame{}, fmt.Errorf("malformed head %q", head.String())
	}
	size, _ := strconv.Atoi(fields[2])
	body := make([]byte, size+len("\r\n"+OpeningLine))
	if _, err := io.ReadFull(v.in, body); err != nil {
		return Frame{}, fmt.Errorf("body: %w", errors.Join(err, io.ErrUnexpectedEOF))
	}
	if end := string(body[size:]); end != "\r\n"+OpeningLine {
		return Frame{}, fmt.Errorf("%q after an image", end)
	}
	return Frame{fields[1], fields[3], string(body[:size]), time.Now()}, nil
}

// Want reads up to a part with an image. Others may come before it, because frames are repeated.
func (v *Viewer) Want(t testing.TB, image string) Frame {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		if f := testkit.Must(v.Next())(t); f.Image == image {
			return f
		}
	}
	t.Fatalf("the stream did not show %.99q", image)
	panic("not reached")
}

// All reads in the background, so that each frame has the time at which it came. The channel is closed at the end of
// the stream.
func (v *Viewer) All() <-chan Frame {
	frames := make(chan Frame, 1000)
	go func() {
		defer close(frames)
		for {
			f, err := v.Next()
			if err != nil {
				return
			}
			frames <- f
		}
	}()
	return frames
}
