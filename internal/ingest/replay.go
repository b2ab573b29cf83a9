package ingest

import (
	"io"
	"slices"
)

// replayReader is a body of which bytes can be put back. Its first error comes again at every later read: the body of a
// request that was cut would return io.EOF at the second one.
type replayReader struct {
	body     io.Reader
	received bool     // at least one byte
	again    [][]byte // what was put back
	err      error
}

// Read implements io.Reader.
func (r *replayReader) Read(p []byte) (n int, err error) {
	if len(r.again) > 0 {
		n = copy(p, r.again[0])
		if r.again[0] = r.again[0][n:]; len(r.again[0]) == 0 {
			r.again = slices.Delete(r.again, 0, 1) // r.again[1:] would keep the memory, uncounted
		}
		return n, nil
	}
	if r.err == nil {
		n, r.err = r.body.Read(p)
		r.received = r.received || n > 0
	}
	return n, r.err
}

// ended reports whether the body has come to its end, of which all bytes were read.
func (r *replayReader) ended() bool { return r.err == io.EOF && len(r.again) == 0 }

// held returns how many bytes wait to be read again.
func (r *replayReader) held() (n int64) {
	for _, part := range r.again {
		n += int64(len(part))
	}
	return n
}

// replay puts bytes back, in front of those that come.
func (r *replayReader) replay(parts ...[]byte) {
	isEmpty := func(part []byte) bool { return len(part) == 0 }
	r.again = slices.DeleteFunc(append(parts, r.again...), isEmpty)
}
