package main

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// fault is how the proxy ends a connection.
type fault string

const (
	faultFIN     fault = "FIN"
	faultRST     fault = "RST"
	faultSilence fault = "silence" // it stays open and says nothing more
)

// faultProxy stands between an engine and Redis. It passes every request on, so
// that Redis runs it, and then cuts one answer in so many.
type faultProxy struct {
	addr  string
	fault fault
	oneIn atomic.Int64 // 0: cut nothing
	cuts  atomic.Int64
}

func newFaultProxy(t *testing.T, target string, f fault, oneIn int) *faultProxy {
	t.Helper()
	ln := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	p := &faultProxy{addr: ln.Addr().String(), fault: f}
	p.oneIn.Store(int64(oneIn))
	var open sync.WaitGroup
	done := make(chan struct{})
	open.Go(func() {
		for seed := uint64(0); ; seed++ {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				continue
			}
			open.Go(func() { p.answer(client, server, rand.New(rand.NewPCG(seed, 7)), done) })
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

// heal ends the faults.
func (p *faultProxy) heal() { p.oneIn.Store(0) }

// answer passes answers on until it cuts one; what it has read of that one is dropped.
func (p *faultProxy) answer(client, server net.Conn, chance *rand.Rand, done chan struct{}) {
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
		if oneIn > 0 && !first && chance.Int64N(oneIn) == 0 { // the first answer is the handshake's
			p.cuts.Add(1)
			break
		}
		if _, err := client.Write(buffer[:n]); err != nil {
			return
		}
	}
	switch p.fault {
	case faultRST:
		client.(*net.TCPConn).SetLinger(0)
	case faultSilence:
		io.Copy(io.Discard, server) // until the client has gone
	}
}
