package redisqueue

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A deadline holds for each step of a read or write, and not for the whole. The clock of a synctest bubble moves only
// while everything in it waits, so the test does not depend on how busy the machine is.
func TestDeadlineMovesWithProgress(t *testing.T) {
	t.Parallel()
	const steps, delay = 50, attemptTimeout * 2 / 5 // the last deadline of a read is that of its last two steps
	for _, row := range []struct {
		name  string
		moves int // steps that the peer makes in time
		err   error
		took  time.Duration
	}{
		{"it moves", steps, nil, steps * delay},
		{"it stands still at first", 0, os.ErrDeadlineExceeded, attemptTimeout},
		{"it stands still after some steps", 5, os.ErrDeadlineExceeded, 5*delay + attemptTimeout},
	} {
		for name, test := range map[string]struct {
			move func(c net.Conn) (n int, err error)        // all steps at once
			peer func(c net.Conn, step []byte) (int, error) // one step of the other side
		}{
			"write": {
				func(c net.Conn) (int, error) { return c.Write(make([]byte, steps*progressStep)) },
				func(c net.Conn, step []byte) (int, error) { return io.ReadFull(c, step) },
			},
			"read": {
				func(c net.Conn) (int, error) { return io.ReadFull(c, make([]byte, steps*progressStep)) },
				func(c net.Conn, step []byte) (int, error) { return c.Write(step) },
			},
		} {
			t.Run(row.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					near, far := net.Pipe()
					var peer sync.WaitGroup
					peer.Go(func() {
						for range row.moves {
							time.Sleep(delay)
							test.peer(far, make([]byte, progressStep))
						}
					})
					begun := time.Now()
					near.SetDeadline(begun.Add(attemptTimeout)) // as go-redis does before each read and write
					n, err := test.move(&progressConn{near})
					took := time.Since(begun)
					if n != row.moves*progressStep || !errors.Is(err, row.err) || took != row.took {
						t.Errorf("moved %d bytes in %s, error %v, want %d in %s, error %v",
							n, took, err, row.moves*progressStep, row.took, row.err)
					}
					near.Close()
					peer.Wait()
				})
			})
		}
	}
}
