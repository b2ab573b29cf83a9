package redisqueue

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// An unexpected reply of Redis is not quoted in the error, which goes to the log: it may name sessions.
func TestErrorsHideReplies(t *testing.T) {
	t.Parallel()
	for _, values := range [][]any{{int64(1), "zzsession"}, {"1", "zzsession", int64(1)}, {int64(1), "zzsession", "1"}} {
		reply := redis.NewCmd(t.Context())
		reply.SetVal(values)
		if _, err := parseStats(reply, map[string]int{}); err == nil || strings.Contains(err.Error(), "zz") {
			t.Errorf("%v: got error %v", values, err)
		}
	}
}
