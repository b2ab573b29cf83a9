package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// floodImage is what each of many senders sends slowly.
const floodImage = 5_000_000

// flood is many uploads at once, and how they end.
type flood struct {
	senders sync.WaitGroup
	faster  chan struct{} // closed when they need not be slow any more

	mu      sync.Mutex
	answers map[int]int // by status
	wrong   []string    // refusals that are not as they should be, and failures
}

// startFlood opens uploads that send a part of their image at once, as far as they
// are read, and go on at 50 KB a second.
func startFlood(t *testing.T, s *site, senders, first int, chunked bool) *flood {
	t.Helper()
	f := &flood{faster: make(chan struct{}), answers: map[int]int{}}
	framing, end := fmt.Sprintf("Content-Length: %d\r\n\r\n", floodImage), ""
	if chunked {
		framing, end = fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", floodImage), "\r\n0\r\n\r\n"
	}
	for i := range senders {
		conn := s.dial(t)
		f.senders.Go(func() {
			go f.send(conn, fmt.Sprintf("POST /image/flood-%d HTTP/1.1\r\nHost: x\r\n%s", i, framing), first, end)
			f.receive(conn)
		})
	}
	return f
}

func (f *flood) send(conn net.Conn, head string, first int, end string) {
	_, err := io.WriteString(conn, head)
	piece := make([]byte, 5_000)
	for sent := 0; err == nil && sent < floodImage; sent += len(piece) {
		if sent >= first {
			select {
			case <-time.After(100 * time.Millisecond):
			case <-f.faster:
			}
		}
		_, err = conn.Write(piece)
	}
	io.WriteString(conn, end)
}

func (f *flood) receive(conn net.Conn) {
	defer conn.Close()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	var body []byte
	if err == nil {
		body, err = io.ReadAll(resp.Body)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err != nil:
		f.wrong = append(f.wrong, err.Error())
		return
	case resp.StatusCode == 503 && (resp.Header.Get("Retry-After") != "1" || !bytes.Contains(body, []byte("allowed are 67108864 bytes"))):
		f.wrong = append(f.wrong, fmt.Sprint(resp.Header, string(body)))
	}
	f.answers[resp.StatusCode]++
}

func (f *flood) answered(status int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.answers[status]
}

// However many upload slowly, the memory of the server stays within its budget: some
// are refused, the others go on, and small images of others get through. When all
// have ended, all of the budget is free.
func TestUploadLimitHoldsMemory(t *testing.T) {
	t.Parallel()
	const limit, senders, mebibyte = 64 << 20, 200, 1.048576
	for _, row := range []struct {
		framing string
		refused int // at least
		stored  int // at least
	}{
		{"with length", senders - limit/floodImage, limit / floodImage},
		{"chunked", senders - 2*limit/floodImage, limit / (2*floodImage + 2*blockSize)},
	} {
		t.Run(row.framing, func(t *testing.T) {
			t.Parallel()
			self, port, side := must(os.Executable())(t), freePort(), freePort()
			server := launch(t, exec.Command(self), port, side, "BENCH_SERVER=ours", "BENCH_SIDE_PORT="+side, "LOG_LEVEL=error", fmt.Sprint("UPLOAD_LIMIT=", limit))
			s := &site{addr: server.addr}
			f := startFlood(t, s, senders, 2_000_000, row.framing == "chunked")
			eventually(t, func() bool { return f.answered(503) >= row.refused })
			if row.framing == "with length" {
				s.do(t, "POST", "/image/small", strings.NewReader("small image")).wantStatus(t, 200)
			}
			time.Sleep(500 * time.Millisecond)
			if peak, most := server.memory(t, "VmHWM:"), (2.2*limit/(1<<20)+30)*mebibyte; peak > most && !underRace() {
				t.Errorf("the server took %.0f MB, want %.0f at most", peak, most)
			}
			close(f.faster)
			f.senders.Wait()
			if stored := f.answered(200); stored < row.stored || stored+f.answered(503) != senders || len(f.wrong) > 0 {
				t.Errorf("got answers %v, wrong %q, want %d images stored at least, and the rest refused", f.answers, f.wrong, row.stored)
			}
			var all sync.WaitGroup
			for range limit / (10 << 20) {
				all.Go(func() {
					if got := s.do(t, "POST", "/image/large", bytes.NewReader(make([]byte, 10<<20))); got.StatusCode != 200 {
						t.Errorf("not all is free again: got status %d, %s", got.StatusCode, got.body)
					}
				})
			}
			all.Wait()
		})
	}
}

// underRace tells whether this binary is one for the race detector, which takes
// memory of its own.
func underRace() bool {
	info, _ := debug.ReadBuildInfo()
	return slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
