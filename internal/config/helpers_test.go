package config

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// environment returns a Lookup that finds every variable: those given, as NAME=value, and all others empty. No variable
// and no file of this machine counts.
func environment(vars ...string) Lookup {
	return func(name string) (value string, ok bool) {
		for _, v := range vars {
			if rest, found := strings.CutPrefix(v, name+"="); found {
				value = rest
			}
		}
		return value, true
	}
}

// unset is a Lookup that finds no variable.
var unset Lookup = func(string) (string, bool) { return "", false }

// load returns the settings of an environment without mistakes.
func load(t testing.TB, vars ...string) Config {
	t.Helper()
	return testkit.Must(Load(environment(vars...)))(t)
}

// clientOptions returns the options of the client that go-redis makes for one Redis.
func clientOptions(c Config) *redis.Options {
	client := redis.NewUniversalClient(c.Redis).(*redis.Client)
	defer client.Close()
	return client.Options()
}
