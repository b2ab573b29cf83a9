// Package logwriter keeps a log from delaying or ending the program that writes it.
//
// A log goes where the program has no power: the reader of a pipe may stand still or be gone, a disk may be full. A
// Writer takes each line at once, and writes it in the background. Lines that find no room in its buffer, and lines
// that could not be written, are lost and counted.
package logwriter

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// maxPending is how many bytes of lines may wait to be written. As many again are being written.
const maxPending = 256 << 10

// Writer passes lines on to another writer. Each call of Write has one line.
type Writer struct {
	out  io.Writer
	lost atomic.Int64
	done chan struct{} // closed when nothing will be written any more

	mu      sync.Mutex
	changed *sync.Cond // pending has lines, or the Writer was closed
	pending []byte
	closed  bool
}

// New returns a Writer that writes to out.
func New(out io.Writer) *Writer {
	w := &Writer{out: out, done: make(chan struct{})}
	w.changed = sync.NewCond(&w.mu)
	go w.run()
	return w
}

// Write takes a line. It never waits for the line to be written, and returns no error.
func (w *Writer) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.pending)+len(line) > maxPending {
		w.lost.Add(1)
		return len(line), nil
	}
	w.pending = append(w.pending, line...)
	w.changed.Signal()
	return len(line), nil
}

// Lost returns how many lines were lost.
func (w *Writer) Lost() int64 { return w.lost.Load() }

// Close waits until all lines have been written, but not longer than limit. Later lines are lost.
func (w *Writer) Close(limit time.Duration) {
	w.mu.Lock()
	w.closed = true
	w.changed.Signal()
	w.mu.Unlock()
	select {
	case <-w.done:
	case <-time.After(limit):
	}
}

// run writes lines until there are none and the Writer was closed.
func (w *Writer) run() {
	defer close(w.done)
	lines := w.take(nil)
	for len(lines) > 0 {
		if n, err := w.out.Write(lines); err != nil {
			w.lost.Add(int64(bytes.Count(lines[n:], []byte("\n"))))
		}
		lines = w.take(lines[:0])
	}
}

// take waits for lines and returns them. It returns none if the Writer was closed. Later lines are collected in the
// buffer spare.
func (w *Writer) take(spare []byte) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.pending) == 0 && !w.closed {
		w.changed.Wait()
	}
	lines := w.pending
	w.pending = spare
	return lines
}
