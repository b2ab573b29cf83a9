package redistest

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// Fault is how a FaultProxy ends a connection.
type Fault string

// The faults. They are the names of subtests, too.
const (
	FIN     Fault = "FIN"
	RST     Fault = "RST"
	Silence Fault = "silence" // the connection stays open, and nothing more arrives
)

// FaultProxy stands between a queue and Redis. It passes every request on, so that Redis runs it, and then cuts some of
// the replies, at random.
type FaultProxy struct {
	Addr string

	fault    Fault
	oneIn    atomic.Int64 // one reply in so many is cut; 0: none
	cuts     atomic.Int64
	refusing atomic.Bool
	refused  atomic.Int64
}

// NewFaultProxy starts a proxy to target for one test, which cuts one reply in oneIn, or none if that is 0.
func NewFaultProxy(t testing.TB, target string, fault Fault, oneIn int) *FaultProxy {
	t.Helper()
	ln := testkit.Must(net.Listen("tcp", "127.0.0.1:0"))(t)
	p := &FaultProxy{Addr: ln.Addr().String(), fault: fault}
	p.CutOneIn(oneIn)
	var open sync.WaitGroup
	done := make(chan struct{})
	open.Go(func() {
		for seed := uint64(0); ; seed++ {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			if p.refusing.Load() {
				p.refused.Add(1)
				client.Close()
				continue
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				continue
			}
			open.Go(func() { p.passReplies(client, server, rand.New(rand.NewPCG(seed, 7)), done) })
			go func() {
				io.Copy(server, client)
				server.Close()
			}()
		}
	})
	t.Cleanup(func() {
		close(done)
		ln.Close()
		open.Wait()
	})
	return p
}

// CutOneIn changes how many replies are cut: one in n, or none if that is 0.
func (p *FaultProxy) CutOneIn(n int) { p.oneIn.Store(int64(n)) }

// Refuse makes the proxy close each new connection at once, as a proxy does whose Redis is away. Connections that are
// open stay open.
func (p *FaultProxy) Refuse() { p.refusing.Store(true) }

// Refused returns how many connections were closed at once.
func (p *FaultProxy) Refused() int { return int(p.refused.Load()) }

// Heal ends the faults. Connections that are cut already stay cut.
func (p *FaultProxy) Heal() {
	p.CutOneIn(0)
	p.refusing.Store(false)
}

// Cuts returns how many replies were cut.
func (p *FaultProxy) Cuts() int { return int(p.cuts.Load()) }

// passReplies passes replies on until it cuts one. What it has read of that one is dropped.
func (p *FaultProxy) passReplies(client, server net.Conn, chance *rand.Rand, done <-chan struct{}) {
	defer client.Close()
	defer server.Close()
	go func() {
		<-done
		server.Close()
	}()
	buffer := make([]byte, 64<<10)
	for first := true; ; first = false {
		n, err := server.Read(buffer)
		if err != nil {
			return
		}
		oneIn := p.oneIn.Load()
		if oneIn > 0 && !first && chance.Int64N(oneIn) == 0 { // the first reply is the handshake's
			p.cuts.Add(1)
			break
		}
		if _, err := client.Write(buffer[:n]); err != nil {
			return
		}
	}
	switch p.fault {
	case RST:
		client.(*net.TCPConn).SetLinger(0)
	case Silence:
		io.Copy(io.Discard, server) // until the client has gone
	}
}
