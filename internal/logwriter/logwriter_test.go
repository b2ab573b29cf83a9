package logwriter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// All lines are written, in order, when the Writer is closed.
func TestCloseWritesAll(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := New(&out)
	var want strings.Builder
	for i := range 1000 {
		fmt.Fprintln(w, "line", i)
		fmt.Fprintln(&want, "line", i)
	}
	w.Close(time.Minute)
	if out.String() != want.String() || w.Lost() != 0 {
		t.Errorf("got %q, %d lines lost", &out, w.Lost())
	}
}

// A log that stands still delays nobody. When it goes on it gets what found room in the buffer; the rest is counted.
// Close does not wait for it forever.
func TestStuckLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in, out := io.Pipe()
		w := New(out)
		begun, log := time.Now(), slog.New(slog.NewTextHandler(w, nil))
		const lines = 10_000
		for range lines {
			log.Info(strings.Repeat("x", 100))
		}
		if took := time.Since(begun); took > 0 {
			t.Errorf("%d lines took %s", lines, took)
		}
		w.Close(time.Second)
		if took := time.Since(begun); took != time.Second {
			t.Errorf("Close took %s, want a second", took)
		}
		log.Info("after the end")
		go func() {
			<-w.done
			out.Close()
		}()
		got := bytes.Count(mustRead(t, in), []byte("\n"))
		if size := got * 100; size < maxPending/2 || size > 2*maxPending || int64(got)+w.Lost() != lines+1 {
			t.Errorf("%d lines came and %d were lost, of %d", got, w.Lost(), lines+1)
		}
	})
}

func mustRead(t *testing.T, r io.Reader) []byte {
	t.Helper()
	all, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// fullDisk has room for some bytes.
type fullDisk struct {
	bytes.Buffer
	room int
}

func (d *fullDisk) Write(p []byte) (int, error) {
	n, _ := d.Buffer.Write(p[:min(len(p), d.room-d.Len())])
	if n < len(p) {
		return n, errors.New("no space left on device")
	}
	return n, nil
}

// A line that was not written whole counts as lost. When there is space again, the log goes on.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disk := &fullDisk{room: 17}
		w := New(disk)
		for _, line := range []string{"first", "second", "third", "fourth"} {
			fmt.Fprintln(w, line)
			synctest.Wait()
		}
		if w.Lost() != 2 || disk.String() != "first\nsecond\nthir" {
			t.Errorf("got %q, %d lines lost, want 2", disk, w.Lost())
		}
		disk.room = 100
		fmt.Fprintln(w, "fifth")
		w.Close(time.Second)
		if w.Lost() != 2 || !strings.HasSuffix(disk.String(), "fifth\n") {
			t.Errorf("with space: got %q, %d lines lost", disk, w.Lost())
		}
	})
}
