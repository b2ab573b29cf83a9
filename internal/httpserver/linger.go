package httpserver

import (
	"io"
	"net"
	"net/http"
	"time"
)

// lingerLimits bound the rest of a request that is dropped behind its answer.
type lingerLimits struct {
	idle  time.Duration // between two of its bytes
	total time.Duration
	bytes int
	slots chan struct{} // holds an element for each connection that lingers; one too many is closed without

	draining <-chan struct{} // closed when the server begins to stop: total is idle then
}

func defaultLinger(draining <-chan struct{}) lingerLimits {
	return lingerLimits{2 * time.Second, 30 * time.Second, 64 << 20, make(chan struct{}, 256), draining}
}

// linger keeps an answer from being lost because its request was not read to the end. A connection that is closed with
// unread bytes is reset, and the reset takes away what the client or the proxy before it has not read yet: the answer.
// So the answer goes out whole, and what the client is still sending is dropped, within bounds, before the connection
// closes.
//
// net/http decides whether the connection closes. It reads up to 256 KiB of a body before it sends the answer. If that
// was all, the connection goes on; otherwise the answer says Connection: close. Over HTTP/2 a stream ends without harm
// to its answer.
func (s *Stack) linger(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		h := w.Header()
		closes := h.Get("Connection") == "close"
		isOpen := h.Get("Content-Type") != "" && h.Get("Content-Length") == "" // its last chunk is still to come
		if r.ProtoMajor != 1 || isOpen || r.ContentLength == 0 && !closes {
			return
		}
		if !closes && !isUnread(r.Body) {
			return
		}
		err := http.NewResponseController(w).Flush() // net/http has read what it reads by then
		if conn := Conn(r); err == nil && conn != nil && (closes || isUnread(r.Body)) {
			closeWrite(r)
			s.lingering.dropRest(conn)
		}
	})
}

// isUnread reports whether a body has not come to its end.
func isUnread(body io.Reader) bool {
	_, err := body.Read(nil)
	return err != io.EOF && err != http.ErrBodyReadAfterClose
}

// dropRest reads from a connection past net/http, and past TLS: what comes has no meaning any more.
func (l lingerLimits) dropRest(conn *net.TCPConn) {
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	default:
		return
	}
	begun, dropped := time.Now(), make([]byte, 16<<10)
	for left := l.bytes; left > 0; {
		if conn.SetReadDeadline(earlier(time.Now().Add(l.idle), begun.Add(l.totalNow()))) != nil {
			return
		}
		n, err := conn.Read(dropped)
		if err != nil {
			return
		}
		left -= n
	}
}

// totalNow returns how long all of the rest may take.
func (l lingerLimits) totalNow() time.Duration {
	select {
	case <-l.draining:
		return l.idle
	default:
		return l.total
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
