// Package certtest makes the certificates that tests of HTTPS need, in files that can be replaced while a server uses
// them. Only tests import it.
package certtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// Pair is a self-signed certificate of relay.example and 127.0.0.1, and its private key.
type Pair struct{ Cert, Key string } // paths

// New makes a pair whose certificate has the serial number 1, in a folder of the test.
func New(t testing.TB) Pair {
	t.Helper()
	dir := t.TempDir()
	p := Pair{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	p.Renew(t, 1)
	return p
}

// Renew replaces both files by those of a new certificate with a serial number.
func (p Pair) Renew(t testing.TB, serial int64) {
	t.Helper()
	cert, key := generate(t, serial)
	Write(t, p.Cert, cert)
	Write(t, p.Key, key)
}

// Client returns a client that trusts the certificate as it is now, and nothing else.
func (p Pair) Client(t testing.TB, http2 bool) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(testkit.Must(os.ReadFile(p.Cert))(t))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: http2}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// writes counts the files that were written.
var writes atomic.Int64

// Write writes a file that has changed later than every file written before, however fast the test is.
func Write(t testing.TB, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	changed := time.Now().Add(time.Duration(writes.Add(1)) * time.Second)
	if err := os.Chtimes(path, changed, changed); err != nil {
		t.Fatal(err)
	}
}

func generate(t testing.TB, serial int64) (cert, key []byte) {
	t.Helper()
	private := testkit.Must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "relay"},
		DNSNames: []string{"relay.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der := testkit.Must(x509.CreateCertificate(rand.Reader, template, template, private.Public(), private))(t)
	pkcs8 := testkit.Must(x509.MarshalPKCS8PrivateKey(private))(t)
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}
