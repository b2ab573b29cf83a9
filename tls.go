package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"
)

// lookEvery is how often the files of the certificate are looked at, at most.
const lookEvery = time.Second

// certificate is the pair of TLS_CERT and TLS_KEY. Its files may be replaced while
// the server runs, as those that renew certificates do.
type certificate struct {
	cert, key string // paths
	now       func() time.Time
	log       *slog.Logger

	mu     sync.Mutex
	pair   *tls.Certificate
	stamps [2]stamp  // of the files that were read last, whether or not they were good
	looked time.Time // when the files were looked at last
}

// stamp tells one state of a file from the next; that of no file is empty.
type stamp struct {
	changed time.Time
	size    int64
}

// loadCertificate reads the pair, which has to be good.
func loadCertificate(cert, key string, log *slog.Logger) (*certificate, error) {
	c := &certificate{cert: cert, key: key, now: time.Now, log: log}
	c.looked = c.now()
	if err := c.load(); err != nil {
		return nil, &misuse{fmt.Sprintf("TLS_CERT=%s, TLS_KEY=%s: allowed are PEM files of a certificate chain and of its private key: %v", cert, key, err)}
	}
	return c, nil
}

// load reads the pair. The stamps are older than what is read: a file that is
// replaced meanwhile is read again.
func (c *certificate) load() error {
	c.stamps = c.look()
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err == nil {
		c.pair = &pair
	}
	return err
}

func (c *certificate) look() (stamps [2]stamp) {
	for i, path := range []string{c.cert, c.key} {
		if info, err := os.Stat(path); err == nil {
			stamps[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return stamps
}

// get returns the pair for a handshake. What replaced it and is broken, one file
// there and the other still to come perhaps, changes nothing.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.Sub(c.looked) >= lookEvery {
		c.looked = now
		if c.look() != c.stamps {
			c.reload()
		}
	}
	return c.pair, nil
}

func (c *certificate) reload() {
	if err := c.load(); err != nil {
		c.log.Warn("certificate changed, the new one is no good: the old one stays", "error", err)
		return
	}
	c.log.Info("certificate read again", "names", c.pair.Leaf.DNSNames, "until", c.pair.Leaf.NotAfter)
}

// newTLS returns what HTTPS needs, or nil for HTTP.
func newTLS(cfg config, log *slog.Logger) (*tls.Config, error) {
	if cfg.tlsCert == "" {
		return nil, nil
	}
	c, err := loadCertificate(cfg.tlsCert, cfg.tlsKey, log)
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}, nil
}

// ownURL returns the URL of the server of these settings on this machine.
func (c config) ownURL(host string, port int) string {
	if c.tlsCert != "" {
		return fmt.Sprintf("https://%s:%d", host, port)
	}
	return fmt.Sprintf("http://%s:%d", host, port)
}

// ownTransport asks the server of this machine. It does not verify the certificate:
// that has the name by which others know the server, not the loopback address, and
// may be self-made; and what goes over loopback passes nobody.
func ownTransport() *http.Transport {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	return transport
}
