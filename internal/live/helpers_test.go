package live

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/image-streamer/image-streamer/internal/httpserver"
	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// pollPeriod is the period of the poll in all tests, as in production.
const pollPeriod = time.Second

// withFakeTime runs a test in parallel, and in a bubble whose clock goes on only when everybody waits. So times are
// exact, and none of them is spent.
func withFakeTime(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, test)
}

// fakeQueue is a queue.Reader that finds the newest image of each session, and loads also older ones.
type fakeQueue struct {
	subscribers *queue.Subscribers
	ttl         time.Duration
	delay       time.Duration // of each call
	deaf        bool          // subscribers are not informed

	mu    sync.Mutex
	all   map[string][]queue.Image
	loads int   // calls of Load that returned an image
	err   error // of every call, if set

	released int // calls of Release
}

func newFakeQueue() *fakeQueue {
	none := func(string) {}
	return &fakeQueue{subscribers: queue.NewSubscribers(none, none), ttl: time.Hour, all: map[string][]queue.Image{}}
}

// push stores an image and informs the subscribers, and waits until every goroutine has done with it what it can.
func (q *fakeQueue) push(session, data string) queue.Image {
	image := q.store(session, data)
	if !q.deaf {
		q.subscribers.Pushed(image.Ref)
	}
	synctest.Wait()
	return image
}

func (q *fakeQueue) store(session, data string) queue.Image {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	sequence := int64(len(q.all[session]) + 1)
	image := queue.Image{
		Ref:     queue.Ref{Session: session, Sequence: sequence, Arrived: now, Size: len(data)},
		Data:    []byte(data),
		Expires: now.Add(q.ttl),
	}
	q.all[session] = append(q.all[session], image)
	return image
}

// move makes the bytes of an image move away: it cannot be loaded any more.
func (q *fakeQueue) move(image queue.Image) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.all[image.Session][image.Sequence-1].Data = nil
}

// forget makes the sequence of a session start again.
func (q *fakeQueue) forget(session string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.all, session)
}

// fail makes every call fail, until it is called with nil.
func (q *fakeQueue) fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.err = err
}

func (q *fakeQueue) loaded() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.loads
}

func (q *fakeQueue) Find(_ context.Context, session string, which queue.Query) (queue.Ref, error) {
	time.Sleep(q.delay)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return queue.Ref{}, q.err
	}
	if which != queue.Newest {
		return queue.Ref{}, fmt.Errorf("asked for %+v", which)
	}
	all := q.all[session]
	if len(all) == 0 || !time.Now().Before(all[len(all)-1].Expires) {
		return queue.Ref{}, queue.ErrEmpty
	}
	return all[len(all)-1].Ref, nil
}

func (q *fakeQueue) Load(_ context.Context, ref queue.Ref) (queue.Image, error) {
	time.Sleep(q.delay)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return queue.Image{}, q.err
	}
	all := q.all[ref.Session]
	if ref.Sequence > int64(len(all)) || all[ref.Sequence-1].Data == nil {
		return queue.Image{}, queue.ErrEmpty
	}
	q.loads++
	return all[ref.Sequence-1], nil
}

func (q *fakeQueue) Release(queue.Image) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.released++
}

func (q *fakeQueue) Subscribe(session string, s queue.Subscriber) (cancel func()) {
	return q.subscribers.Add(session, s)
}

// noData stands for the No Data image.
const noData = "No Data"

func newTestHub(q queue.Reader) *Hub { return newTightHub(q, 0) }

// newTightHub returns a hub whose frames have so many bytes together; 0: any number.
func newTightHub(q queue.Reader, bytes int64) *Hub {
	return NewHub(Options{
		Reader:  q,
		Budget:  httpserver.NewSendBudget(httpserver.SendBudgetOptions{Bytes: bytes}),
		Poll:    queue.NewPoll(pollPeriod),
		Encoder: Encoder{Type: "image/webp", NoData: func() []byte { return []byte(noData) }},
		Log:     slog.New(slog.DiscardHandler),
	})
}

// pipeWriter is a response that goes through a net.Pipe. A Write takes until the viewer has read all of it.
type pipeWriter struct {
	net.Conn
	header http.Header
}

func (w *pipeWriter) Header() http.Header { return w.header }
func (w *pipeWriter) WriteHeader(int)     {}
func (w *pipeWriter) FlushError() error   { return nil }

// screen is the viewer's end of a stream, which it reads by the letter.
type screen struct {
	conn     net.Conn
	in       *bufio.Reader
	draining chan struct{}
	leave    context.CancelFunc // the viewer hangs up
	ended    chan error         // gets what Show returned
}

// watch opens a stream and reads up to its first part.
func watch(t *testing.T, h *Hub, session string, o ViewerOptions) *screen {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	server, client := net.Pipe()
	s := &screen{
		conn:     client,
		in:       bufio.NewReaderSize(client, 16), // reads hardly ahead, so that a frame nobody reads stays in its write
		draining: make(chan struct{}),
		leave:    cancel,
		ended:    make(chan error, 1),
	}
	t.Cleanup(func() { cancel(); client.Close() })
	feed, leave := h.Join(session)
	go func() {
		defer server.Close()
		defer leave()
		if err := feed.Ready(ctx); err != nil {
			s.ended <- err
			return
		}
		s.ended <- Show(ctx, s.draining, &pipeWriter{server, http.Header{}}, feed, o)
	}()
	if line := testkit.Must(s.in.ReadString('\n'))(t); line != openingLine {
		t.Fatalf("the stream begins with %q, want %q", line, openingLine)
	}
	return s
}

const openingLine = "--boundarydonotcross\r\n"

// shot is one part of a stream.
type shot struct {
	contentType, timestamp, image string
	at                            time.Time
}

var partHead = regexp.MustCompile(`\AContent-Type: (image/[a-z]+)\r\n` +
	`Content-Length: (\d+)\r\nX-Timestamp: (\d+\.\d{6})\r\n\r\n\z`)

// next reads a part and the boundary behind it. It returns io.EOF only where a part could begin.
func (s *screen) next() (shot, error) {
	var head strings.Builder
	for line := ""; line != "\r\n"; {
		var err error
		if line, err = s.in.ReadString('\n'); err != nil {
			if head.Len()+len(line) > 0 {
				err = fmt.Errorf("%w within the head %q", io.ErrUnexpectedEOF, head.String()+line)
			}
			return shot{}, err
		}
		head.WriteString(line)
	}
	fields := partHead.FindStringSubmatch(head.String())
	if fields == nil {
		return shot{}, fmt.Errorf("malformed head %q", head.String())
	}
	size, _ := strconv.Atoi(fields[2])
	body := make([]byte, size+len("\r\n"+openingLine))
	if _, err := io.ReadFull(s.in, body); err != nil {
		return shot{}, fmt.Errorf("body: %w", errors.Join(err, io.ErrUnexpectedEOF))
	}
	if end := string(body[size:]); end != "\r\n"+openingLine {
		return shot{}, fmt.Errorf("%q behind an image", end)
	}
	return shot{fields[1], fields[3], string(body[:size]), time.Now()}, nil
}

// want reads the next part, which has to show an image.
func (s *screen) want(t *testing.T, image string) shot {
	t.Helper()
	got := testkit.Must(s.next())(t)
	if got.image != image {
		t.Fatalf("%s: got image %.99q, want %q", time.Now().Format(time.StampMilli), got.image, image)
	}
	return got
}

// wantAt is want for a part that has to come at a time.
func (s *screen) wantAt(t *testing.T, image string, at time.Time) {
	t.Helper()
	if got := s.want(t, image); !got.at.Equal(at) {
		t.Errorf("%.99q came %s late", image, got.at.Sub(at))
	}
}

// wantEnd waits for what Show returns. No part may be left to read, nor a piece of one.
func (s *screen) wantEnd(t *testing.T, want error) {
	t.Helper()
	if rest := testkit.Must(io.ReadAll(s.in))(t); len(rest) > 0 {
		t.Errorf("%.99q came before the end", rest)
	}
	if err := <-s.ended; !errors.Is(err, want) {
		t.Errorf("Show returned %v, want %v", err, want)
	}
}

// errorsAre reports whether an error wraps all of the others.
func errorsAre(err error, all ...error) bool {
	return !slices.ContainsFunc(all, func(one error) bool { return !errors.Is(err, one) })
}
