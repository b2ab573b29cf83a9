package main

import (
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

var aclLine = regexp.MustCompile(`(?m)^ACL SETUSER streamer (.*)$`)

// userOf makes the user of README's ACL line, without one of its rights, and
// returns how it connects.
func userOf(t *testing.T, server *redisServer, name, without string) *redis.Options {
	t.Helper()
	line := aclLine.FindStringSubmatch(string(must(os.ReadFile("README.md"))(t)))
	if line == nil {
		t.Fatal("README has no ACL line")
	}
	args := []any{"ACL", "SETUSER", name}
	for _, rule := range strings.Fields(line[1]) {
		if rule != without {
			args = append(args, rule)
		}
	}
	if err := server.client(t).Do(t.Context(), args...).Err(); err != nil {
		t.Fatal(err)
	}
	return &redis.Options{Addr: server.addr, Username: name, Password: "PASSWORD"}
}

// A user with exactly the rights that README names can do everything.
func TestACL(t *testing.T) {
	t.Parallel()
	server := ownRedis(t)
	logged := new(logBuffer)
	q := newRedisQueue(userOf(t, server, "streamer", ""), time.Minute, slog.New(slog.NewTextHandler(logged, nil)))
	t.Cleanup(q.Close)
	q.limits = limits{images: 3, bytes: 1 << 20, sessions: 10}
	missing := must(q.selfTest(t.Context()))(t)
	if len(missing) > 0 {
		t.Errorf("missing %v", missing)
	}
	f := &fixture{engine: q, ttl: time.Minute}
	session := newSession()
	told := make(chan frame, 10)
	defer q.Watch(session, func(f frame) { told <- f })()
	if first := <-told; first.sequence != 0 {
		t.Errorf("told of %+v, want that the subscription stands", first)
	}
	for range 5 {
		f.push(t, session, "image")
	}
	if got := <-told; got.sequence != 1 {
		t.Errorf("told of %+v, want image 1", got)
	}
	f.Settle(must(f.Pop(t.Context(), session))(t), false)
	eventually(t, func() bool { return f.length(t, session) == 3 })
	moveAhead(t, server.client(t), session, time.Hour) // then the queue is moved back
	if got := f.take(t, session); got.sequence != 3 {
		t.Errorf("got image %d, want 3", got.sequence)
	}
	newest := must(read(t.Context(), q, session, pick{newest: true, popped: true}))(t)
	some := []sessionStats{{ID: session}}
	if err := q.Detail(t.Context(), some); err != nil || newest.sequence != 5 || some[0].Dropped != 2 {
		t.Errorf("got newest %d, %+v, error %v", newest.sequence, some, err)
	}
	q.settler.unpush(session, q.callers.begin())
	q.settler.close()
	if err := q.Ping(t.Context()); err != nil || strings.Contains(logged.String(), "ERROR") || strings.Contains(logged.String(), "unsettled") {
		t.Errorf("got error %v, log %s", err, logged)
	}
}

// The self-test names each right that is missing, and the log says so.
func TestSelfTestNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	server := ownRedis(t)
	line := aclLine.FindStringSubmatch(string(must(os.ReadFile("README.md"))(t)))
	for _, rule := range strings.Fields(line[1]) {
		command, isCommand := strings.CutPrefix(rule, "+")
		if !isCommand || command == "unsubscribe" {
			continue // without it a subscription stays a little longer
		}
		logged := new(logBuffer)
		user := userOf(t, server, "without-"+strings.ReplaceAll(command, "|", "-"), rule)
		q := newRedisQueue(user, time.Minute, slog.New(slog.NewTextHandler(logged, nil)))
		missing := must(q.selfTest(t.Context()))(t)
		if len(missing) != 1 || missing[0] != command {
			t.Errorf("without %s: got %v", command, missing)
		}
		logged.await(t, "missing="+command)
		q.Close()
	}
}

// A Redis that drops images when it is full is warned of.
func TestEvictionIsWarnedOf(t *testing.T) {
	t.Parallel()
	server := ownRedis(t, "--maxmemory-policy", "allkeys-lru")
	logged := new(logBuffer)
	q := newRedisQueue(&redis.Options{Addr: server.addr}, time.Minute, slog.New(slog.NewTextHandler(logged, nil)))
	t.Cleanup(q.Close)
	logged.await(t, "policy=allkeys-lru")
}
