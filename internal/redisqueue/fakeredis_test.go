package redisqueue

import (
	"bufio"
	"context"
	"crypto/sha1"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// fakeRedis replies to what a push or a pop sends, and to little else.
type fakeRedis struct {
	bytesPerSecond int           // that a connection passes, each way
	delay          time.Duration // before the reply to a push or pop
	image          []byte        // that a pop takes
	plain          bool          // the client's connections do not move their deadlines
	silent         bool          // no request gets a reply
	gone           bool          // no connection is accepted

	open sync.WaitGroup // of the connections
}

func (f *fakeRedis) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (f *fakeRedis) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// DialHook connects a client to f, whatever it dials.
func (f *fakeRedis) DialHook(redis.DialHook) redis.DialHook {
	return func(context.Context, string, string) (net.Conn, error) {
		if f.gone {
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		}
		near, far := net.Pipe()
		f.open.Go(func() {
			defer far.Close()
			f.serve(thinConn{far, f.bytesPerSecond})
		})
		if f.plain {
			return near, nil
		}
		return &progressConn{near}, nil
	}
}

// serve replies to requests until the client has gone.
func (f *fakeRedis) serve(conn net.Conn) {
	in := bufio.NewReader(conn)
	for {
		request, err := readRequest(in)
		if err != nil {
			return
		}
		if f.silent {
			continue
		}
		if _, err := io.WriteString(conn, f.reply(request)); err != nil {
			return
		}
	}
}

func (f *fakeRedis) reply(request []string) string {
	bulk := func(text string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(text), text) }
	switch command := request[0]; {
	case command == "hello":
		return "-ERR unknown command\r\n" // as old servers reply
	case command == "script":
		return bulk(fmt.Sprintf("%x", sha1.Sum([]byte(request[2]))))
	case command == "evalsha" && request[1] == pushScript.Hash():
		time.Sleep(f.delay)
		return bulk("1 1 0 0 1 0")
	case command == "evalsha" && request[1] == popScript.Hash():
		time.Sleep(f.delay)
		return bulk(popReply(time.Now().UnixMicro(), 0, 0, member{1, 0, "CLIENT-1"}))
	case command == "get" && strings.Contains(request[1], "}:delivered:"):
		return bulk(string(f.image))
	}
	return "+OK\r\n"
}

// readRequest reads a command and its arguments.
func readRequest(in *bufio.Reader) (words []string, err error) {
	number := func() (n int) {
		var line string
		if line, err = in.ReadString('\n'); err == nil {
			n, err = strconv.Atoi(strings.TrimSpace(line[1:]))
		}
		return n
	}
	for range number() {
		word := make([]byte, number()+len("\r\n"))
		if err == nil {
			_, err = io.ReadFull(in, word)
		}
		words = append(words, string(word[:len(word)-2]))
	}
	return words, err
}

// thinConn passes bytesPerSecond, each way.
type thinConn struct {
	net.Conn
	bytesPerSecond int
}

func (c thinConn) pass(n int) {
	time.Sleep(time.Duration(n) * time.Second / time.Duration(c.bytesPerSecond))
}

func (c thinConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.pass(n)
	return n, err
}

func (c thinConn) Write(p []byte) (written int, err error) {
	for err == nil && written < len(p) {
		part := p[written:min(written+4096, len(p))]
		c.pass(len(part))
		var n int
		n, err = c.Conn.Write(part)
		written += n
	}
	return written, err
}

// openFake opens a queue on a fakeRedis, in a synctest bubble.
func openFake(t *testing.T, f *fakeRedis) *harness {
	t.Helper()
	rdb := newClient(at("redis.example:6379"))
	rdb.AddHook(f)
	t.Cleanup(func() {
		f.open.Wait()
		time.Sleep(time.Hour) // the background work of the queue ends in that time
	})
	return openWith(t, rdb, Options{})
}
