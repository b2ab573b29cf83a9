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
	"sync/atomic"
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
	silent         atomic.Bool   // no request gets a reply
	mute           atomic.Bool   // no script gets a reply
	gone           bool          // no connection is accepted
	hangUpAt       string        // the command at which a connection is closed
	refusal        func() string // the error of every write, or ""
	reply          string        // to every script, instead of its own

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

// serve replies to requests until the client has gone. Replies wait for a client that reads only when it has written
// everything.
func (f *fakeRedis) serve(conn net.Conn) {
	replies := make(chan string, 10_000)
	defer close(replies)
	f.open.Go(func() {
		for reply := range replies {
			io.WriteString(conn, reply)
		}
	})
	in := bufio.NewReader(conn)
	for {
		request, err := readRequest(in)
		switch {
		case err != nil || request[0] == f.hangUpAt:
			return
		case f.silent.Load() || f.mute.Load() && request[0] == "evalsha":
		default:
			replies <- f.replyTo(request)
		}
	}
}

func (f *fakeRedis) replyTo(request []string) string {
	bulk := func(text string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(text), text) }
	refusal := ""
	if f.refusal != nil {
		refusal = f.refusal()
	}
	switch command := request[0]; {
	case command == "evalsha" && f.reply != "":
		return f.reply
	case refusal != "" && command == "set":
		return "-" + refusal + "\r\n"
	case refusal != "" && command == "evalsha" && request[1] == pushScript.hash:
		return bulk("lost")
	case refusal != "" && command == "evalsha":
		return "-" + refusal + " script: 0123456789abcdef, on @user_script:1.\r\n"
	case command == "hello":
		return "-ERR unknown command\r\n" // as old servers reply
	case command == "script":
		return bulk(fmt.Sprintf("%x", sha1.Sum([]byte(request[2]))))
	case command == "evalsha" && request[1] == pushScript.hash:
		time.Sleep(f.delay)
		return bulk("1 1 0 0 1 0")
	case command == "evalsha" && request[1] == popScript.hash:
		time.Sleep(f.delay)
		return bulk(popReply(time.Now().UnixMicro(), 0, 0, member{1, 0, "CLIENT-1"}))
	case command == "evalsha" && request[1] == peekScript.hash:
		return bulk("1 1 0 5 KEY")
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

// silentRedis returns a fakeRedis that never replies.
func silentRedis() *fakeRedis {
	f := &fakeRedis{bytesPerSecond: 1 << 30}
	f.silent.Store(true)
	return f
}

// openFake opens a queue on a fakeRedis, in a synctest bubble. The handshake of its connections has every step.
func openFake(t *testing.T, f *fakeRedis) *harness {
	t.Helper()
	options := at("redis.example:6379")
	options.Password, options.DB = "secret", 1
	rdb := newClient(options)
	rdb.AddHook(f)
	t.Cleanup(func() {
		f.open.Wait()
		time.Sleep(time.Hour) // the background work of the queue ends in that time
	})
	return openWith(t, rdb, Options{})
}
