package httpserver

import (
	"crypto/tls"
	"log/slog"
	"os"
	"sync"
	"time"
)

// checkEvery is how often the files of a certificate are checked, at most.
const checkEvery = time.Second

// Certificate is a certificate chain and its private key, in two files. Programs that renew certificates may replace
// the files while the server runs: handshakes use the new pair within about a second.
type Certificate struct {
	cert, key string // paths
	now       func() time.Time
	log       *slog.Logger

	mu      sync.Mutex
	pair    *tls.Certificate
	stamps  [2]stamp  // of the files that were read last, whether or not they were a valid pair
	checked time.Time // when the files were checked last
}

// stamp distinguishes one version of a file from the next. It is zero for a file that does not exist.
type stamp struct {
	changed time.Time
	size    int64
}

// LoadCertificate reads a pair of PEM files, which has to be valid.
func LoadCertificate(cert, key string, log *slog.Logger) (*Certificate, error) {
	return loadCertificate(cert, key, log, time.Now)
}

func loadCertificate(cert, key string, log *slog.Logger, now func() time.Time) (*Certificate, error) {
	c := &Certificate{cert: cert, key: key, now: now, log: log, checked: now()}
	if err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

// Get returns the pair for a handshake. It is the GetCertificate of a tls.Config. Files that were replaced and are not
// a valid pair, perhaps because only one of them is there yet, change nothing.
func (c *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.Sub(c.checked) >= checkEvery {
		c.checked = now
		if c.readStamps() != c.stamps {
			c.reload()
		}
	}
	return c.pair, nil
}

func (c *Certificate) reload() {
	if err := c.load(); err != nil {
		c.log.Warn("certificate changed, the new one is no good: the old one stays", "error", err)
		return
	}
	c.log.Info("certificate read again", "names", c.pair.Leaf.DNSNames, "until", c.pair.Leaf.NotAfter)
}

// load reads the pair. It takes the stamps first: a file that is replaced in between is read again at the next check.
func (c *Certificate) load() error {
	c.stamps = c.readStamps()
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err == nil {
		c.pair = &pair
	}
	return err
}

func (c *Certificate) readStamps() (stamps [2]stamp) {
	for i, path := range []string{c.cert, c.key} {
		if info, err := os.Stat(path); err == nil {
			stamps[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return stamps
}
