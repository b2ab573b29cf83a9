package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/certtest"
	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// HTTPS comes from the same handlers, over HTTP/2 with clients that speak it.
func TestHTTPS(t *testing.T) {
	t.Parallel()
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startHTTPS(t, http2)
			id := s.Do(t, "GET", "/session", nil).WantStatus(t, 200).Text
			s.Do(t, "POST", "/image/"+id, strings.NewReader("first")).WantStatus(t, 200)
			s.Do(t, "PUT", "/image/"+id, relaytest.Chunked("second")).WantStatus(t, 200)
			s.Do(t, "POST", "/image/"+id, http.NoBody).WantStatus(t, 400)
			s.Do(t, "HEAD", "/image/"+id, nil).WantStatus(t, 200)
			for _, want := range []string{"first", "second"} {
				got := s.Do(t, "GET", "/image/"+id, nil).WantStatus(t, 200)
				if got.Text != want || got.Proto != name || got.TLS.Version < tls.VersionTLS12 {
					t.Errorf("got %q by %s, want %q by %s", got.Text, got.Proto, want, name)
				}
			}
			if got := s.Do(t, "GET", "/image/"+id, nil).WantStatus(t, 200); !got.IsNoData() {
				t.Errorf("got headers %v, want No Data", got.Header)
			}
		})
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	t.Parallel()
	s := startHTTPS(t, false)
	for version, accepted := range map[uint16]bool{
		tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true,
	} {
		cfg := &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version}
		conn, err := tls.Dial("tcp", s.Addr, cfg)
		if (err == nil) != accepted {
			t.Errorf("%s: got error %v, accepted should be %v", tls.VersionName(version), err, accepted)
		}
		if err == nil {
			conn.Close()
		}
	}
	plain := testkit.Must(testkit.Client.Get(s.URL("/session")))(t)
	plain.Body.Close()
	if plain.StatusCode != http.StatusBadRequest {
		t.Errorf("plain HTTP: got status %d, want 400", plain.StatusCode)
	}
}

// serialOf returns the serial number of the certificate that a server shows.
func serialOf(t testing.TB, addr string) int64 {
	t.Helper()
	conn := testkit.Must(tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true}))(t)
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// The program uses a new certificate without a restart. Connections under the old one, the only one that the client
// trusts, go on.
func TestCertificateIsReplaced(t *testing.T) {
	t.Parallel()
	s := startHTTPS(t, true)
	if got := serialOf(t, s.Addr); got != 1 {
		t.Fatalf("got certificate %d, want 1", got)
	}
	stream := s.request(t.Context(), t, "GET", "/stream/x", nil)
	defer stream.Body.Close()
	next := partsOf(t, stream)
	next()
	s.files.Renew(t, 2)
	testkit.Eventually(t, func() bool { return serialOf(t, s.Addr) == 2 })
	s.log.Await(t, "certificate read again")
	s.Do(t, "POST", "/image/x", strings.NewReader("image")).WantStatus(t, 200)
	next()
}

// A certificate that is not valid is a wrong setting.
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
		for _, command := range []string{"", "demo"} {
			var stderr testkit.Log
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			status := run(ctx, strings.Fields(command), vary(append(tlsVars(p), "PORT=0")...), io.Discard, &stderr)
			cancel()
			want := fmt.Sprintf("TLS_CERT=%s, TLS_KEY=%s: allowed are PEM files of a certificate chain and of its "+
				"private key: ", p.Cert, p.Key)
			got := stderr.String()
			if status != 2 || !strings.HasPrefix(got, want) || strings.Count(got, "\n") != 1 ||
				strings.Contains(got, "PRIVATE") {
				t.Errorf("%s, %q: got status %d, %q, want 2, %q", name, command, status, got, want)
			}
		}
	}
}

// Commands that ask the server of their own machine speak HTTPS with it, whatever name the certificate has. A server
// elsewhere needs a certificate that can be verified.
func TestProgramsSpeakHTTPS(t *testing.T) {
	t.Parallel()
	files := certtest.New(t)
	demo := startServer(t, "demo", append(tlsVars(files), "TEST_INTERVAL=0.02", "TEST_URL=http://127.0.0.1:1")...)
	demo.log.Await(t, "open https://localhost:")
	s := &secureServer{demo, files, files.Client(t, true)}
	hasImage := func(id string) func() bool {
		return func() bool { return !s.Do(t, "GET", "/image/"+id, nil).WantStatus(t, 200).IsNoData() }
	}
	testkit.Eventually(t, hasImage(demoSession))

	_, port, _ := net.SplitHostPort(s.Addr)
	var out testkit.Log
	healthcheck := func(vars ...string) int {
		return run(t.Context(), []string{"healthcheck"}, vary(append(vars, "PORT="+port)...), &out, &out)
	}
	if status := healthcheck(tlsVars(files)...); status != 0 || out.String() != "" {
		t.Errorf("healthcheck: got status %d, %q", status, &out)
	}
	if status := healthcheck(); status != 1 {
		t.Errorf("healthcheck without TLS: got status %d, want 1", status)
	}
	tester := func(vars ...string) *program {
		return start(t, "tester", slices.Concat(tlsVars(files), []string{"NODATA_HEIGHT=16"}, vars)...)
	}
	tester("PORT="+port, "TEST_SESSION=own", "TEST_INTERVAL=0.02")
	testkit.Eventually(t, hasImage("own"))

	stranger := tester("TEST_URL=https://"+s.Addr, "TEST_SESSION=other")
	stranger.log.Await(t, "certificate")
	if hasImage("other")() {
		t.Error("sent an image to a server whose certificate cannot be verified")
	}
}
