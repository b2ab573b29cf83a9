package ingest

import (
	"io"
	"runtime"
	"strings"
	"testing"
	"weak"
)

// Bytes that were put back and read again are not kept: no budget counts them any more.
func TestReplayKeepsNothing(t *testing.T) {
	t.Parallel()
	content := make([]byte, 1<<20)
	held := weak.Make(&content[0])
	r := &replayReader{body: strings.NewReader("c")}
	r.replay(content, []byte("b"))
	content = nil
	for _, size := range []int{1 << 20, 1, 1} {
		if n, err := io.ReadFull(r, make([]byte, size)); n != size || err != nil {
			t.Fatalf("got %d bytes, error %v, want %d", n, err, size)
		}
		if runtime.GC(); held.Value() != nil {
			t.Errorf("content is held, %d bytes wait", r.held())
		}
	}
	runtime.KeepAlive(r)
}
