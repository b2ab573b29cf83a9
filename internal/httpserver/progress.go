package httpserver

import (
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// answerIdle is how long a client may accept nothing of an answer. An answer that goes on, however slowly, has no other
// limit than the deadline that its endpoint sets.
const answerIdle = 10 * time.Second

// progressListener accepts connections that are cut when a client accepts nothing for a time.
type progressListener struct {
	net.Listener
	idle time.Duration
}

// LimitStalls returns a listener whose connections fail to write once the client has accepted nothing for idle, or for
// 10 seconds if idle is 0. Serve does this to its listener.
func LimitStalls(ln net.Listener, idle time.Duration) net.Listener {
	if idle == 0 {
		idle = answerIdle
	}
	return progressListener{ln, idle}
}

func (l progressListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if socket, ok := conn.(*net.TCPConn); ok && err == nil {
		return &progressConn{Conn: socket, socket: socket, idle: l.idle}, nil
	}
	return conn, err
}

// progressConn is the connection of a client, below TLS. A write may take for as long as the client accepts some of it
// now and then. The layers above cannot see that: after a timeout neither TLS nor net/http can write the rest.
//
// The kernel may be full for long although the client accepts bytes, because it takes more only when a good part of its
// buffer is free. Therefore a write looks at what the kernel still holds, too.
type progressConn struct {
	net.Conn
	socket *net.TCPConn
	idle   time.Duration

	mu    sync.Mutex
	end   time.Time // the deadline that the layers above have set; zero: none
	alarm time.Time // the deadline that the socket has
}

// looks is how often a write that stands still is looked at within idle.
const looks = 10

func (c *progressConn) Write(p []byte) (written int, err error) {
	moved, held := time.Now(), 0
	for {
		if err := c.setAlarm(); err != nil {
			return written, err
		}
		n, err := c.socket.Write(p[written:])
		written += n
		if !errors.Is(err, os.ErrDeadlineExceeded) || c.isOver() {
			return written, err
		}
		left := unaccepted(c.socket)
		if n > 0 || left < held {
			moved = time.Now()
		}
		held = left
		if time.Since(moved) >= c.idle {
			return written, err
		}
	}
}

// setAlarm gives a write some time before it looks again. An alarm that is still some time ahead stays, so
// that writes which follow one another share it.
func (c *progressConn) setAlarm() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, look := time.Now(), c.idle/looks
	switch {
	case !c.end.IsZero() && c.end.Before(now.Add(look)):
		c.alarm = c.end
	case c.alarm.Before(now.Add(look / 2)):
		c.alarm = now.Add(look)
	default:
		return nil
	}
	return c.socket.SetWriteDeadline(c.alarm)
}

// isOver reports whether the deadline of the layers above has passed.
func (c *progressConn) isOver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.end.IsZero() && !time.Now().Before(c.end)
}

// SetWriteDeadline sets when writing has to end, although it moves. Zero means never.
func (c *progressConn) SetWriteDeadline(end time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end = end
	if end.IsZero() || c.alarm.Before(end) {
		return nil // a write that is under way finds it at its next alarm
	}
	c.alarm = end
	return c.socket.SetWriteDeadline(end)
}

// SetDeadline is SetWriteDeadline and SetReadDeadline.
func (c *progressConn) SetDeadline(end time.Time) error {
	return errors.Join(c.SetReadDeadline(end), c.SetWriteDeadline(end))
}

// CloseWrite ends the answers of the connection. net/http does so before it drops a request's unread body.
func (c *progressConn) CloseWrite() error { return c.socket.CloseWrite() }

// progressStep is how much of an answer over HTTP/2 goes out in one piece.
const progressStep = 16 << 10

// progressWriter is the answer to a request over HTTP/2. A client can stop one stream of a connection that goes on for
// the others, by its window. So each stream has its own alarm, which resets the stream.
type progressWriter struct {
	http.ResponseWriter
	idle  time.Duration
	end   time.Time // the deadline that the endpoint has set; zero: none
	alarm *time.Timer

	mu      sync.Mutex
	writing bool
}

func newProgressWriter(w http.ResponseWriter, idle time.Duration) *progressWriter {
	pw := &progressWriter{ResponseWriter: w, idle: idle}
	pw.alarm = time.AfterFunc(time.Hour, pw.reset)
	pw.alarm.Stop()
	return pw
}

// reset ends the stream, if it is being written to. The stream must not be touched after its endpoint has returned.
func (w *progressWriter) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.writing {
		_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Unix(1, 0))
	}
}

// watch lets a function write a piece before the alarm.
func (w *progressWriter) watch(write func() error) error {
	w.setWriting(true)
	defer w.setWriting(false)
	wait := w.idle
	if !w.end.IsZero() {
		wait = min(wait, time.Until(w.end))
	}
	w.alarm.Reset(wait)
	defer w.alarm.Stop()
	return write()
}

func (w *progressWriter) setWriting(writing bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writing = writing
}

func (w *progressWriter) Write(p []byte) (written int, err error) {
	for {
		err := w.watch(func() error {
			n, err := w.ResponseWriter.Write(p[written:min(written+progressStep, len(p))])
			written += n
			return err
		})
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

// FlushError sends what net/http holds back.
func (w *progressWriter) FlushError() error {
	return w.watch(http.NewResponseController(w.ResponseWriter).Flush)
}

// SetWriteDeadline sets when writing has to end, although it moves. Zero means never. It must not be called while
// another goroutine writes.
func (w *progressWriter) SetWriteDeadline(end time.Time) error {
	w.end = end
	return nil
}

func (w *progressWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
