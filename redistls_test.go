package main

import (
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/image-streamer/image-streamer/internal/certtest"
	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// redisURL returns a URL with the files of TLS. An empty path leaves its parameter away.
func redisURL(addr, cert, key, ca string) string {
	q := url.Values{}
	for name, path := range map[string]string{"cert": cert, "key": key, "ca": ca} {
		if path != "" {
			q.Set(name, path)
		}
	}
	return "rediss://" + addr + "?" + q.Encode()
}

// A Redis that wants a certificate of its clients lets the server in with the right one alone, and the server trusts
// no Redis but the one that it was told to.
func TestRedisTLS(t *testing.T) {
	t.Parallel()
	redis, client, other := certtest.New(t), certtest.New(t), certtest.New(t)
	addr := redistest.OwnTLS(t, redis.Cert, redis.Key, client.Cert)
	p := startServer(t, "", "REDIS_HOST="+redisURL(addr, client.Cert, client.Key, redis.Cert))
	p.Do(t, "POST", "/image/x", strings.NewReader("image")).WantStatus(t, 200)
	if got := p.Get(t, "/image/x").WantStatus(t, 200); got.Text != "image" {
		t.Errorf("got %q", got.Text)
	}
	for name, url := range map[string]string{
		"no certificate":      redisURL(addr, "", "", redis.Cert),
		"another certificate": redisURL(addr, other.Cert, other.Key, redis.Cert),
		"another Redis":       redisURL(addr, client.Cert, client.Key, other.Cert),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			startServer(t, "", "REDIS_HOST="+url).Get(t, "/readyz").WantStatus(t, 503)
		})
	}
}

// Files of TLS that are not valid are a wrong setting.
func TestBadRedisTLS(t *testing.T) {
	t.Parallel()
	files, other := certtest.New(t), certtest.New(t)
	empty := filepath.Join(t.TempDir(), "empty")
	certtest.Write(t, empty, nil)
	const pair = "REDIS_HOST: cert=%s, key=%s: allowed are PEM files of a certificate chain and of its private key: "
	const ca = "REDIS_HOST: ca=%s: allowed is a PEM file of certificates: "
	for _, row := range []struct{ cert, key, ca, want string }{
		{files.Cert, other.Key, "", fmt.Sprintf(pair, files.Cert, other.Key)},
		{files.Cert + "x", files.Key, "", fmt.Sprintf(pair, files.Cert+"x", files.Key)},
		{files.Cert, files.Key, files.Cert + "x", fmt.Sprintf(ca, files.Cert+"x") + "open "},
		{"", "", empty, fmt.Sprintf(ca, empty) + "there is none in it"},
	} {
		var stderr testkit.Log
		vars := vary("PORT=0", "REDIS_HOST="+redisURL("127.0.0.1:1", row.cert, row.key, row.ca))
		status := run(t.Context(), nil, vars, io.Discard, &stderr)
		if got := stderr.String(); status != 2 || !strings.HasPrefix(got, row.want) || strings.Count(got, "\n") != 1 {
			t.Errorf("%+v: got status %d, %q, want 2, %q", row, status, got, row.want)
		}
	}
}
