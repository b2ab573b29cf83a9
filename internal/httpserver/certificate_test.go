package httpserver

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/certtest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// The files are checked once a second at most. Files that are not a valid pair leave the old pair in use, and are
// logged once.
func TestCertificateReload(t *testing.T) {
	t.Parallel()
	var log testkit.Log
	files := certtest.New(t)
	now := time.Unix(1767225600, 0)
	c := testkit.Must(loadCertificate(files.Cert, files.Key, slog.New(slog.NewTextHandler(&log, nil)),
		func() time.Time { return now }))(t)
	want := func(step string, serial int64, warnings int) {
		t.Helper()
		got := testkit.Must(c.Get(nil))(t).Leaf.SerialNumber.Int64()
		if got != serial || strings.Count(log.String(), "level=WARN") != warnings {
			t.Errorf("%s: got certificate %d, want %d, and %d warnings: %s", step, got, serial, warnings, &log)
		}
	}
	cert, key := testkit.Must(os.ReadFile(files.Cert))(t), testkit.Must(os.ReadFile(files.Key))(t)
	want("at the start", 1, 0)
	files.Renew(t, 2)
	now = now.Add(checkEvery - time.Millisecond)
	want("within the second", 1, 0)
	now = now.Add(time.Millisecond)
	want("after it", 2, 0)

	for i, broken := range []struct {
		path string
		text []byte
	}{
		{files.Cert, []byte("none")},
		{files.Cert, nil},
		{files.Cert, cert}, // of another key
		{files.Key, []byte("none")},
	} {
		certtest.Write(t, broken.path, broken.text)
		for range 3 {
			now = now.Add(checkEvery)
			want(fmt.Sprintf("broken %d", i), 2, i+1)
		}
	}
	if err := os.Remove(files.Cert); err != nil {
		t.Fatal(err)
	}
	now = now.Add(checkEvery)
	want("without a file", 2, 5)
	now = now.Add(checkEvery)
	want("still without", 2, 5)
	certtest.Write(t, files.Cert, cert)
	certtest.Write(t, files.Key, key)
	now = now.Add(checkEvery)
	want("valid again", 1, 5)
	if strings.Contains(log.String(), "PRIVATE") {
		t.Errorf("the key is in the log: %s", &log)
	}
}

// A pair that is not valid is an error at the start, without a byte of the key.
func TestBadCertificate(t *testing.T) {
	t.Parallel()
	files, other := certtest.New(t), certtest.New(t)
	empty := filepath.Join(t.TempDir(), "empty")
	certtest.Write(t, empty, nil)
	for name, p := range map[string]certtest.Pair{
		"no such file":   {Cert: files.Cert + "x", Key: files.Key},
		"no such key":    {Cert: files.Cert, Key: files.Key + "x"},
		"empty":          {Cert: empty, Key: files.Key},
		"swapped":        {Cert: files.Key, Key: files.Cert},
		"of another key": {Cert: files.Cert, Key: other.Key},
		"a folder":       {Cert: filepath.Dir(files.Cert), Key: files.Key},
	} {
		c, err := LoadCertificate(p.Cert, p.Key, slog.New(slog.DiscardHandler))
		if err == nil || c != nil || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%s: got %v, error %q, want an error on one line", name, c, err)
		}
	}
	testkit.Must(LoadCertificate(files.Cert, files.Key, slog.New(slog.DiscardHandler)))(t)
}
