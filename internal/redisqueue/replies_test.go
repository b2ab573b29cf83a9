package redisqueue

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/redistest"
)

// An unexpected reply of Redis is not quoted in the error, which goes to the log: it may name sessions.
func TestErrorsHideReplies(t *testing.T) {
	t.Parallel()
	n := int64(1)
	for _, values := range [][]any{
		{}, {"1", "zzsession"}, {n}, {n, "zzsession", n, n, n, n, n, n}, {"", "zzsession", "1", n, n, n, n, n},
	} {
		reply := redis.NewCmd(t.Context())
		reply.SetVal(values)
		if _, _, err := parseStats(reply); err == nil || strings.Contains(err.Error(), "zz") {
			t.Errorf("%v: got error %v", values, err)
		}
	}
}

// The error of a call says what is wrong with Redis's replies. Such a call is not made again, because it would get the
// same replies, and a push or a pop is undone, because it may have run.
func TestUnexpectedRepliesAreNamed(t *testing.T) {
	t.Parallel()
	for reply, want := range map[string]string{
		"$-1\r\n":              "unexpected reply: a script replied with a value of type <nil>",
		":1\r\n":               "unexpected reply: a script replied with a value of type int64",
		"*1\r\n$1\r\nx\r\n":    "unexpected reply: a script replied with a value of type []interface {}",
		"$4\r\nlate\r\n":       `unexpected reply: "late"`,
		"$7\r\n1 2 3 x\r\n":    `unexpected reply: "1 2 3 x"`,
		"HTTP/1.1 400 Bad\r\n": "HTTP/1.1 400 Bad",
	} {
		for _, callName := range []string{"Push", "Pop", "Find"} {
			t.Run(want+"/"+callName, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					h := openFake(t, &fakeRedis{bytesPerSecond: 1 << 30, reply: reply})
					begun := time.Now()
					err := calls[callName](t.Context(), h.q, "session")
					if !errors.Is(err, queue.ErrUnavailable) || !strings.Contains(err.Error(), want) {
						t.Errorf("got error %v, want ErrUnavailable with %q", err, want)
					}
					if took := time.Since(begun); errors.Is(err, errUnexpected) && took > attemptTimeout {
						t.Errorf("took %s, want one attempt", took)
					}
					if n := h.behind("session"); (n > 0) == (callName == "Find") {
						t.Errorf("%d calls are to be undone", n)
					}
				})
			})
		}
	}
}

// The error of a call says why Redis refused the connection, without the password.
func TestRefusedConnectionIsNamed(t *testing.T) {
	t.Parallel()
	server := redistest.Own(t)
	options := asUser(t, server, "app", "secret", []any{"ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all"})
	options.Password = "mistaken"
	h := openHarness(t, Options{Redis: options})
	for name, call := range calls {
		err := call(t.Context(), h.q, newSession())
		if !errors.Is(err, queue.ErrUnavailable) || !strings.Contains(err.Error(), "WRONGPASS") {
			t.Errorf("%s: got error %v, want ErrUnavailable with WRONGPASS", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "mistaken") {
			t.Errorf("%s: got error %v, want the password kept secret", name, err)
		}
	}
}
