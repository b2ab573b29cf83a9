package config

import (
	"context"
	"errors"
	"net"
	"reflect"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// Every parameter of a Redis URL reaches the client.
func TestRedisURLParameters(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"redis://user:password@host:7000/3?protocol=2&client_name=a&max_retries=4&min_retry_backoff=5&max_retry_backoff=6" +
			"&dial_timeout=7&read_timeout=8&write_timeout=9&pool_fifo=true&pool_size=10&pool_timeout=11&min_idle_conns=12" +
			"&max_idle_conns=13&max_active_conns=14&max_concurrent_dials=15&pipeline_pool_size=16" +
			"&pipeline_read_buffer_size=17&pipeline_write_buffer_size=18&conn_max_idle_time=19&conn_max_lifetime=20" +
			"&conn_max_lifetime_jitter=1",
		"redis://host?idle_timeout=1&max_conn_age=2",
		"rediss://:password@host?skip_verify=true",
		"unix://user:password@/run/redis.sock?db=2&protocol=2",
	} {
		want := testkit.Must(redis.ParseURL(url))(t)
		want.Network = "" // follows from the address
		if got := load(t, "REDIS_HOST="+url).Redis.Simple(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", url, got, want)
		}
	}
}

// The files of TLS are taken out of a URL, whose other parts reach the client.
func TestRedisURLFiles(t *testing.T) {
	t.Parallel()
	c := load(t, "REDIS_HOST=rediss://us%40er:p%2Fw@host:7000/3?cert=%2Fa%20b%2Fc.pem&key=k.pem&ca=ca.pem&client_name=a")
	want := testkit.Must(redis.ParseURL("rediss://us%40er:p%2Fw@host:7000/3?client_name=a"))(t)
	want.Network = "" // follows from the address
	if got := c.Redis.Simple(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if want := (RedisTLS{Cert: "/a b/c.pem", Key: "k.pem", CA: "ca.pem"}); c.RedisTLS != want {
		t.Errorf("got files %+v, want %+v", c.RedisTLS, want)
	}
}

// A unix:// URL is dialed as a socket, by a single Redis and by the node of a Cluster.
func TestRedisSocket(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"single", "cluster"} {
		o := load(t, "REDIS_HOST=unix:///run/redis.sock", "REDIS_MODE="+mode).Redis
		dialed := make(chan string, 100)
		o.Dialer = func(_ context.Context, network, addr string) (net.Conn, error) {
			dialed <- network + " " + addr
			return nil, errors.New("refused")
		}
		o.MaxRetries, o.DialerRetries = -1, 1
		client := redis.NewUniversalClient(o)
		defer client.Close()
		client.Ping(t.Context())
		select {
		case got := <-dialed:
			if got != "unix /run/redis.sock" {
				t.Errorf("%s: dialed %s", mode, got)
			}
		default:
			t.Errorf("%s: nothing was dialed", mode)
		}
	}
}

// REDIS_MODE alone decides whether the client is one of a Cluster.
func TestRedisMode(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"", "single"} {
		if c := load(t, "REDIS_HOST=a", "REDIS_MODE="+mode); c.Redis.IsClusterMode {
			t.Errorf("REDIS_MODE=%s: a single Redis is taken for a Cluster", mode)
		}
	}
	c := load(t, "REDIS_HOST=a, b:7000,[::1]", "REDIS_MODE=cluster")
	want := []string{"a:6379", "b:7000", "[::1]:6379"}
	if !c.Redis.IsClusterMode || !reflect.DeepEqual(c.Redis.Addrs, want) {
		t.Errorf("got cluster %v of %q, want %q", c.Redis.IsClusterMode, c.Redis.Addrs, want)
	}
	if c := load(t); c.Redis != nil {
		t.Errorf("without REDIS_HOST: got %+v", c.Redis)
	}
}
