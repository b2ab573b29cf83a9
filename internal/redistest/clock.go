package redistest

import (
	_ "embed"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// clockSource is the source of the library that moves a server's clock.
//
//go:embed testdata/clock.c
var clockSource []byte

// Clock is the clock of a server.
type Clock struct {
	file string

	mu     sync.Mutex
	offset time.Duration
}

// Clocked starts a server for one test, always by the binary, and returns its clock, which can be set.
func Clocked(t testing.TB) (*Server, *Clock) {
	t.Helper()
	return startClocked(t, 0)
}

// ClockedCluster starts a Cluster like that of Cluster for one test, and returns its clock, which can be set.
func ClockedCluster(t testing.TB) (addrs []string, c *Clock) {
	t.Helper()
	s, c := startClocked(t, -time.Minute, clusterArgs...)
	if err := giveSlots(s.Addr); err != nil {
		t.Fatal(err)
	}
	c.SetOffset(t, 0) // a minute passes: a new Cluster does not serve for two seconds
	if err := awaitCluster(s.Addr); err != nil {
		t.Fatal(err)
	}
	return []string{s.Addr}, c
}

func startClocked(t testing.TB, offset time.Duration, args ...string) (*Server, *Clock) {
	t.Helper()
	c := &Clock{file: filepath.Join(t.TempDir(), "offset")}
	c.SetOffset(t, offset)
	library, err := clockLibrary()
	if err != nil {
		testkit.Skip(t, err)
	}
	s, err := runBinary(args, "LD_PRELOAD="+library, "CLOCK_OFFSET="+c.file)
	if err != nil {
		testkit.Skip(t, err)
	}
	t.Cleanup(s.stop)
	return s, c
}

// clockLibrary builds the library once for the tests of a package.
var clockLibrary = sync.OnceValues(func() (library string, err error) {
	dir, err := os.MkdirTemp("", "redistest")
	if err != nil {
		return "", err
	}
	share(func() { os.RemoveAll(dir) })
	source, library := filepath.Join(dir, "clock.c"), filepath.Join(dir, "clock.so")
	if err := os.WriteFile(source, clockSource, 0o600); err != nil {
		return "", err
	}
	if out, err := exec.Command("cc", "-shared", "-fPIC", "-o", library, source).CombinedOutput(); err != nil {
		return "", fmt.Errorf("cc: %w: %s", err, out)
	}
	return library, nil
})

// SetOffset sets the clock ahead of the true time, or behind it where offset is negative.
func (c *Clock) SetOffset(t testing.TB, offset time.Duration) {
	t.Helper()
	testkit.NoError(t, c.TrySetOffset(offset))
}

// TrySetOffset is SetOffset for goroutines other than that of the test, which may not end it.
func (c *Clock) TrySetOffset(offset time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.set(offset)
}

// Move sets the clock ahead of what it shows, or back where d is negative.
func (c *Clock) Move(t testing.TB, d time.Duration) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	testkit.NoError(t, c.set(c.offset+d))
}

func (c *Clock) set(offset time.Duration) error {
	file, err := os.OpenFile(c.file, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	microseconds := binary.NativeEndian.AppendUint64(nil, uint64(offset.Microseconds()))
	if _, err := file.Write(microseconds); err != nil { // at once, so that the server never sees a half
		return err
	}
	c.offset = offset
	return nil
}
