package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// uploadSize is the size of the image that each of many clients sends slowly.
const uploadSize = 5_000_000

// slowUploads are many uploads at once, and how they end.
type slowUploads struct {
	clients sync.WaitGroup
	faster  chan struct{} // closed when the clients no longer have to be slow

	mu      sync.Mutex
	answers map[int]int // by status
	wrong   []string    // refusals that are not as they should be, and failures
}

// startSlowUploads opens uploads of uploadSize. Each sends the first bytes as fast as the server reads them, and goes
// on at 50 KB a second.
func startSlowUploads(t *testing.T, p *process, clients, first int, chunked bool) *slowUploads {
	t.Helper()
	u := &slowUploads{faster: make(chan struct{}), answers: map[int]int{}}
	framing, end := fmt.Sprintf("Content-Length: %d\r\n\r\n", uploadSize), ""
	if chunked {
		framing, end = fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", uploadSize), "\r\n0\r\n\r\n"
	}
	for i := range clients {
		conn := p.Dial(t)
		u.clients.Go(func() {
			go u.send(conn, fmt.Sprintf("POST /image/slow-%d HTTP/1.1\r\nHost: x\r\n%s", i, framing), first, end)
			u.receive(conn)
		})
	}
	return u
}

func (u *slowUploads) send(conn net.Conn, head string, first int, end string) {
	_, err := io.WriteString(conn, head)
	piece := make([]byte, 5_000)
	for sent := 0; err == nil && sent < uploadSize; sent += len(piece) {
		if sent >= first {
			select {
			case <-time.After(100 * time.Millisecond):
			case <-u.faster:
			}
		}
		_, err = conn.Write(piece)
	}
	io.WriteString(conn, end)
}

func (u *slowUploads) receive(conn net.Conn) {
	defer conn.Close()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	var body []byte
	if err == nil {
		body, err = io.ReadAll(resp.Body)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if err != nil {
		u.wrong = append(u.wrong, err.Error())
		return
	}
	u.answers[resp.StatusCode]++
	limited := resp.Header.Get("Retry-After") == "1" && bytes.Contains(body, []byte("allowed are 67108864 bytes"))
	if resp.StatusCode == 503 && !limited {
		u.wrong = append(u.wrong, fmt.Sprint(resp.Header, string(body)))
	}
}

// answered returns how many clients got a status.
func (u *slowUploads) answered(status int) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.answers[status]
}

// However many clients upload slowly, 20 of 20 pushes of small images get through beside them, unless the machine is so
// busy that these come slowly themselves.
func TestSlowUploadsLeaveRoom(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]string{
		"sized":   "POST /image/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n",
		"chunked": "POST /image/slow HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n989680\r\n",
		"form": "POST /imageForm/slow HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n" +
			"Content-Length: 10000000\r\n\r\n--b\r\nContent-Disposition: form-data; name=f; filename=x.jpg\r\n\r\n",
		"stream": "POST /stream/slow HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/x-mixed-replace; boundary=b\r\n" +
			"Content-Length: 1000000000\r\n\r\n--b\r\nContent-Length: 10000000\r\n\r\n",
	} {
		for clients, limit := range map[int]string{6: "64 MiB", 400: "16 MiB"} {
			t.Run(fmt.Sprintf("%d %s", clients, name), func(t *testing.T) {
				t.Parallel()
				p, stopwatch := startServer(t, "UPLOAD_LIMIT="+limit), testkit.StartStopwatch(t)
				conns := make([]net.Conn, clients)
				for i := range conns {
					conns[i] = p.Dial(t)
					testkit.Must(io.WriteString(conns[i], head))(t)
				}
				for second := range 5 {
					time.Sleep(time.Second) // the slow uploads go on by the clock
					for _, conn := range conns {
						conn.Write(make([]byte, 4300)) // refused uploads have no connection any more
					}
					for pushed := 0; pushed < 4; pushed++ {
						lap := stopwatch.Lap()
						got := p.Do(t, "POST", "/image/small", bytes.NewReader(make([]byte, 50_000)))
						switch wasDelayed := stopwatch.Lap().DelayedSince(lap) > 200*time.Millisecond; {
						case got.StatusCode == 503 && wasDelayed: // so the image came slowly
							pushed--
						case got.StatusCode != 200:
							t.Fatalf("after %d seconds: got status %d, %s", second+1, got.StatusCode, got.Text)
						}
					}
				}
			})
		}
	}
}

// However many clients upload slowly, the memory of the server stays within UPLOAD_LIMIT: some uploads are refused, the
// others go on, and small images of other clients get through. When all uploads have ended, the whole limit is free.
func TestUploadLimitHoldsMemory(t *testing.T) {
	t.Parallel()
	const (
		limit, clients = 64 << 20, 200
		chunk          = 32 << 10  // by which the memory of an image grows
		share          = limit / 8 // of small images
	)
	for _, row := range []struct {
		framing string
		refused int // at least
		stored  int // at least
	}{
		{"with length", clients - limit/uploadSize, (limit - share - clients*2*chunk) / uploadSize},
		{"chunked", clients - 2*limit/uploadSize, (limit - share) / (2*uploadSize + 2*chunk)},
	} {
		t.Run(row.framing, func(t *testing.T) {
			t.Parallel()
			p := startServer(t, fmt.Sprint("UPLOAD_LIMIT=", limit))
			u := startSlowUploads(t, p, clients, 2_000_000, row.framing == "chunked")
			testkit.Eventually(t, func() bool { return u.answered(503) >= row.refused })
			if row.framing == "with length" {
				p.Do(t, "POST", "/image/small", strings.NewReader("small image")).WantStatus(t, 200)
			}
			time.Sleep(500 * time.Millisecond)
			// The collector lets the heap grow to somewhat more than twice what is in use.
			if peak, most := peakMemory(t, p), 2.2*limit+30<<20; peak > most && !underRace() {
				t.Errorf("the server took %.0f MiB, want %.0f at most", peak/(1<<20), most/(1<<20))
			}
			close(u.faster)
			u.clients.Wait()
			stored, refused := u.answered(200), u.answered(503)
			if stored < row.stored || stored+refused != clients || len(u.wrong) > 0 {
				t.Errorf("got answers %v, wrong %q, want %d images stored at least, and the rest refused",
					u.answers, u.wrong, row.stored)
			}
			wantAllFree(t, p, limit)
		})
	}
}

// A part of a form whose header does not end costs no memory: its request is refused after a few kilobytes.
func TestEndlessPartHeaders(t *testing.T) {
	t.Parallel()
	p := startServer(t, "UPLOAD_LIMIT=16MiB")
	const clients, most = 60, 16 << 20
	before := peakMemory(t, p)
	line := "X: " + strings.Repeat("x", 64<<10)
	var all sync.WaitGroup
	for i := range clients {
		conn := p.Dial(t)
		all.Go(func() {
			fmt.Fprintf(conn, "POST /imageForm/%d HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"+
				"Transfer-Encoding: chunked\r\n\r\n5\r\n--b\r\n\r\n", i)
			go func() { // until the server closes the connection
				var err error
				for sent := 0; err == nil && sent < uploadSize; sent += len(line) {
					_, err = fmt.Fprintf(conn, "%x\r\n%s\r\n", len(line), line)
				}
			}()
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || answer.StatusCode != http.StatusBadRequest {
				t.Errorf("got %v, error %v, want status 400", answer, err)
			}
		})
	}
	all.Wait()
	if more := peakMemory(t, p) - before; more > most && !underRace() {
		t.Errorf("the server took %.0f MiB more, want %d at most", more/(1<<20), most>>20)
	}
}

// peakMemory returns the most memory that a process has had resident, in bytes.
func peakMemory(t testing.TB, p *process) (bytes float64) {
	t.Helper()
	status := testkit.Must(os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid)))(t)
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	testkit.Must(fmt.Sscan(rest, &bytes))(t)
	return bytes * 1024
}

// wantAllFree checks that uploads may take the whole limit.
func wantAllFree(t *testing.T, p *process, limit int) {
	t.Helper()
	const size = 10 << 20
	var all []*relaytest.Pending
	for range limit / size {
		all = append(all, p.DoLater(t, "POST", "/image/large", bytes.NewReader(make([]byte, size))))
	}
	for _, one := range all {
		if got, _ := one.Answer(t); got.StatusCode != 200 {
			t.Errorf("not the whole limit is free again: got status %d, %s", got.StatusCode, got.Text)
		}
	}
}
