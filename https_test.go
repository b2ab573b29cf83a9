package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// pair is a certificate, made by itself, in two files.
type pair struct{ cert, key string }

func newPair(t testing.TB) pair {
	t.Helper()
	dir := t.TempDir()
	p := pair{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	p.renew(t, 1)
	return p
}

func (p pair) vars() []string { return []string{"TLS_CERT=" + p.cert, "TLS_KEY=" + p.key} }

// renew replaces both files by those of a new certificate with this number.
func (p pair) renew(t testing.TB, serial int64) {
	t.Helper()
	cert, key := makePair(t, serial)
	p.write(t, p.cert, cert)
	p.write(t, p.key, key)
}

// writes counts the files that were written: each is later than the one before,
// however fast the test is.
var writes atomic.Int64

func (p pair) write(t testing.TB, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	changed := time.Now().Add(time.Duration(writes.Add(1)) * time.Second)
	if err := os.Chtimes(path, changed, changed); err != nil {
		t.Fatal(err)
	}
}

func makePair(t testing.TB, serial int64) (cert, key []byte) {
	t.Helper()
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "relay"},
		DNSNames: []string{"relay.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, private.Public(), private))(t)
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(private))(t)})
}

// client trusts the certificate of a pair as it is now, and nothing else.
func (p pair) client(t testing.TB, http2 bool) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(must(os.ReadFile(p.cert))(t))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: http2}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// secureSite is a program that speaks HTTPS, and a client of it.
type secureSite struct {
	*program
	pair   pair
	client *http.Client
}

func startSecure(t testing.TB, http2 bool, vars ...string) *secureSite {
	t.Helper()
	files := newPair(t)
	return &secureSite{startServer(t, "", append(files.vars(), vars...)...), files, files.client(t, http2)}
}

// request asks over HTTPS; the caller closes the body.
func (s *secureSite) request(ctx context.Context, t testing.TB, method, path string, body io.Reader) *http.Response {
	t.Helper()
	req := must(http.NewRequestWithContext(ctx, method, "https://"+s.addr+path, body))(t)
	return must(s.client.Do(req))(t)
}

func (s *secureSite) do(t testing.TB, method, path string, body io.Reader) response {
	t.Helper()
	return received(t, s.request(t.Context(), t, method, path, body), method)
}

// HTTPS with HTTP/2 for those who can, by the same handlers.
func TestHTTPS(t *testing.T) {
	t.Parallel()
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startSecure(t, http2)
			session := s.do(t, "GET", "/session", nil).wantStatus(t, 200).body
			s.do(t, "POST", "/image/"+session, strings.NewReader("first")).wantStatus(t, 200)
			s.do(t, "PUT", "/image/"+session, chunked("second")).wantStatus(t, 200)
			s.do(t, "POST", "/image/"+session, http.NoBody).wantStatus(t, 400)
			s.do(t, "HEAD", "/image/"+session, nil).wantStatus(t, 200)
			for _, want := range []string{"first", "second"} {
				got := s.do(t, "GET", "/image/"+session, nil).wantStatus(t, 200)
				if got.body != want || got.Proto != name || got.TLS.Version < tls.VersionTLS12 {
					t.Errorf("got %q by %s, want %q by %s", got.body, got.Proto, want, name)
				}
			}
			if got := s.do(t, "GET", "/image/"+session, nil).wantStatus(t, 200); !got.isNoData() {
				t.Errorf("got headers %v, want No Data", got.Header)
			}
		})
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	t.Parallel()
	s := startSecure(t, false)
	for version, ok := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		conn, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
		if (err == nil) != ok {
			t.Errorf("%s: got error %v, accepted should be %v", tls.VersionName(version), err, ok)
		}
		if err == nil {
			conn.Close()
		}
	}
	plain := must(http.Get("http://" + s.addr + "/session"))(t)
	plain.Body.Close()
	if plain.StatusCode != http.StatusBadRequest {
		t.Errorf("plain HTTP: got status %d, want 400", plain.StatusCode)
	}
}

// serialOf returns the number of the certificate that a server shows.
func serialOf(t testing.TB, addr string) int64 {
	t.Helper()
	conn := must(tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true}))(t)
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// The whole program takes a new pair while it serves.
func TestCertificateIsReplaced(t *testing.T) {
	t.Parallel()
	s := startSecure(t, true)
	if got := serialOf(t, s.addr); got != 1 {
		t.Fatalf("got certificate %d, want 1", got)
	}
	stream := s.request(t.Context(), t, "GET", "/stream/x", nil)
	defer stream.Body.Close()
	next := frames(t, stream)
	next()
	s.pair.renew(t, 2)
	eventually(t, func() bool { return serialOf(t, s.addr) == 2 })
	s.log.await(t, "certificate read again")
	s.do(t, "POST", "/image/x", strings.NewReader("image")).wantStatus(t, 200) // on the old connection
	next()                                                                     // which the stream keeps too
}

// Files are looked at once a second at most. What is broken keeps the old pair, and
// is told once.
func TestCertificateReload(t *testing.T) {
	t.Parallel()
	var log logBuffer
	files := newPair(t)
	now := time.Unix(1767225600, 0)
	c := must(loadCertificate(files.cert, files.key, slog.New(slog.NewTextHandler(&log, nil))))(t)
	c.now, c.looked = func() time.Time { return now }, now
	want := func(step string, serial int64, warnings int) {
		t.Helper()
		got := must(c.get(nil))(t).Leaf.SerialNumber.Int64()
		if got != serial || strings.Count(log.String(), "level=WARN") != warnings {
			t.Errorf("%s: got certificate %d, want %d, and %d warnings: %s", step, got, serial, warnings, &log)
		}
	}
	cert, key := must(os.ReadFile(files.cert))(t), must(os.ReadFile(files.key))(t)
	want("at the start", 1, 0)
	files.renew(t, 2)
	now = now.Add(lookEvery - time.Millisecond)
	want("within the second", 1, 0)
	now = now.Add(time.Millisecond)
	want("after it", 2, 0)

	for i, broken := range []struct {
		path string
		text []byte
	}{{files.cert, []byte("none")}, {files.cert, nil}, {files.cert, cert}, {files.key, []byte("none")}} { // the third is of another key
		files.write(t, broken.path, broken.text)
		for range 3 {
			now = now.Add(lookEvery)
			want(fmt.Sprintf("broken %d", i), 2, i+1)
		}
	}
	if err := os.Remove(files.cert); err != nil {
		t.Fatal(err)
	}
	now = now.Add(lookEvery)
	want("without a file", 2, 5)
	now = now.Add(lookEvery)
	want("still without", 2, 5)
	files.write(t, files.cert, cert)
	files.write(t, files.key, key)
	now = now.Add(lookEvery)
	want("good again", 1, 5)
	if strings.Contains(log.String(), "PRIVATE") {
		t.Errorf("the key is in the log: %s", &log)
	}
}

// A pair that is no good is a wrong setting.
func TestBadCertificate(t *testing.T) {
	t.Parallel()
	files, other := newPair(t), newPair(t)
	empty := filepath.Join(t.TempDir(), "empty")
	files.write(t, empty, nil)
	for name, p := range map[string]pair{
		"no such file": {files.cert + "x", files.key}, "no such key": {files.cert, files.key + "x"}, "empty": {empty, files.key},
		"swapped": {files.key, files.cert}, "of another key": {files.cert, other.key}, "a folder": {filepath.Dir(files.cert), files.key},
	} {
		for _, command := range []string{"", "demo"} {
			var stderr logBuffer
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			status := run(ctx, strings.Fields(command), vary(append(p.vars(), "PORT=0")...), io.Discard, &stderr)
			cancel()
			want := fmt.Sprintf("TLS_CERT=%s, TLS_KEY=%s: allowed are PEM files of a certificate chain and of its private key: ", p.cert, p.key)
			if got := stderr.String(); status != 2 || !strings.HasPrefix(got, want) || strings.Count(got, "\n") != 1 || strings.Contains(got, "PRIVATE") {
				t.Errorf("%s, %q: got status %d, %q, want 2, %q", name, command, status, got, want)
			}
		}
	}
}

// What asks the server of its own machine speaks HTTPS with it, whatever name the
// certificate has.
func TestProgramsSpeakHTTPS(t *testing.T) {
	t.Parallel()
	files := newPair(t)
	demo := startServer(t, "demo", append(files.vars(), "TEST_INTERVAL=0.02", "TEST_URL=http://127.0.0.1:1")...)
	demo.log.await(t, "open https://localhost:")
	s := &secureSite{demo, files, files.client(t, true)}
	eventually(t, func() bool { return !s.do(t, "GET", "/image/xyzabc", nil).wantStatus(t, 200).isNoData() })

	_, port, _ := net.SplitHostPort(s.addr)
	var out logBuffer
	if status := run(t.Context(), []string{"healthcheck"}, vary(append(files.vars(), "PORT="+port)...), &out, &out); status != 0 || out.String() != "" {
		t.Errorf("healthcheck: got status %d, %q", status, &out)
	}
	if status := run(t.Context(), []string{"healthcheck"}, vary("PORT="+port), &out, &out); status != 1 {
		t.Errorf("healthcheck without TLS: got status %d, want 1", status)
	}
	start(t, "tester", append(files.vars(), "PORT="+port, "TEST_SESSION=own", "TEST_INTERVAL=0.02", "NODATA_HEIGHT=16")...)
	eventually(t, func() bool { return !s.do(t, "GET", "/image/own", nil).wantStatus(t, 200).isNoData() })

	stranger := start(t, "tester", append(files.vars(), "TEST_URL=https://"+s.addr, "TEST_SESSION=other", "NODATA_HEIGHT=16")...)
	stranger.log.await(t, "certificate") // that of a server elsewhere has to be good
	if got := s.do(t, "GET", "/image/other", nil).wantStatus(t, 200); !got.isNoData() {
		t.Error("sent an image to a server whose certificate nobody vouches for")
	}
}
