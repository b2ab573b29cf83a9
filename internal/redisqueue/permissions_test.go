package redisqueue

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/redistest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

var aclLine = regexp.MustCompile(`(?m)^ACL SETUSER streamer (.*)$`)

// aclRules returns the rules of README's ACL line.
func aclRules(t *testing.T) []string {
	t.Helper()
	line := aclLine.FindStringSubmatch(string(testkit.Must(os.ReadFile("../../README.md"))(t)))
	if line == nil {
		t.Fatal("README has no ACL line")
	}
	return strings.Fields(line[1])
}

// userOf makes the user of README's ACL line, without one of its rights, and returns how it connects.
func userOf(t *testing.T, server *redistest.Server, name, without string) *redis.UniversalOptions {
	t.Helper()
	args := []any{"ACL", "SETUSER", name}
	for _, rule := range aclRules(t) {
		if rule != without {
			args = append(args, rule)
		}
	}
	return asUser(t, server, name, "PASSWORD", args)
}

// asUser makes a user with an ACL command, and returns how it connects.
func asUser(t *testing.T, server *redistest.Server, name, password string, acl []any) *redis.UniversalOptions {
	t.Helper()
	if err := server.Client(t).Do(t.Context(), acl...).Err(); err != nil {
		t.Fatal(err)
	}
	return &redis.UniversalOptions{Addrs: []string{server.Addr}, Username: name, Password: password}
}

// A user with exactly the rights that README names can do everything.
func TestACL(t *testing.T) {
	t.Parallel()
	server, session := redistest.Own(t), newSession()
	logged, log := newLog()
	h := openHarness(t, Options{
		Redis: userOf(t, server, "streamer", ""), Log: log, Limits: queue.Limits{Images: 3, Bytes: 1 << 20, Sessions: 10},
	})
	if missing := testkit.Must(h.q.checkPermissions(t.Context()))(t); len(missing) > 0 {
		t.Errorf("missing %v", missing)
	}
	got := make(notifications, 10)
	defer h.Subscribe(session, got)()
	if first := <-got; first != nil {
		t.Errorf("when notifications begin: got %+v, want Missed", first)
	}
	for range 5 {
		h.PushImage(t, session, "image")
	}
	if ref := <-got; ref == nil || ref.Sequence != 1 {
		t.Errorf("got %+v, want image 1", ref)
	}
	h.PopImage(t, session).Requeue()
	testkit.Eventually(t, func() bool { return h.Len(t, session) == 3 })
	moveAhead(t, server.Client(t), session, time.Hour) // then the queue is shifted
	if got := h.Take(t, session); got.Sequence != 3 {
		t.Errorf("got image %d, want 3", got.Sequence)
	}
	newest := testkit.Must(queue.Get(t.Context(), h, session, queue.Newest))(t)
	if listed := h.Session(t, session); newest.Sequence != 5 || listed.Dropped != 2 {
		t.Errorf("got newest %d, %+v", newest.Sequence, listed)
	}
	h.q.undoPush(session, h.q.calls.begin(keysOf(session)))
	h.q.finish()
	err, text := h.Ready(t.Context()), logged.String()
	if err != nil || strings.Contains(text, "ERROR") || strings.Contains(text, "not everything") {
		t.Errorf("got error %v, log %s", err, text)
	}
}

// The check names each right that is missing, and the log says so.
func TestMissingRightsAreNamed(t *testing.T) {
	t.Parallel()
	server := redistest.Own(t)
	for _, rule := range aclRules(t) {
		command, isCommand := strings.CutPrefix(rule, "+")
		if !isCommand || command == "unsubscribe" {
			continue // without it a subscription stays a little longer
		}
		logged, log := newLog()
		user := userOf(t, server, "without-"+strings.ReplaceAll(command, "|", "-"), rule)
		q := Open(Options{Redis: user, TTL: time.Minute, Log: log})
		missing := testkit.Must(q.checkPermissions(t.Context()))(t)
		if len(missing) != 1 || missing[0] != command {
			t.Errorf("without %s: got %v", command, missing)
		}
		logged.Await(t, "missing="+command)
		q.Close()
	}
}

// The log warns of a Redis that drops images when it is full, and of one that takes no image of the largest size.
func TestSettingsAreWarnedOf(t *testing.T) {
	t.Parallel()
	open := func(args ...string) *testkit.Log {
		logged, log := newLog()
		openHarness(t, Options{Redis: at(redistest.Own(t, args...).Addr), MaxImage: 2 << 20, Log: log})
		return logged
	}
	both := open("--maxmemory-policy", "allkeys-lru", "--proto-max-bulk-len", "2097151")
	both.Await(t, "policy=allkeys-lru")
	both.Await(t, "proto-max-bulk-len=2097151 MAX_IMAGE_BYTES=2097152")
	one := open("--maxmemory-policy", "volatile-ttl", "--proto-max-bulk-len", "2097152")
	one.Await(t, "policy=volatile-ttl")
	if text := one.String(); strings.Contains(text, "proto-max-bulk-len") {
		t.Errorf("an image of the largest size fits: got %s", text)
	}
}

// A user of Redis who may not rename gets an error, and the images stay.
func TestPopWithoutRename(t *testing.T) {
	t.Parallel()
	server, session := redistest.Own(t), newSession()
	acl := []any{"ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all", "-rename"}
	without := openHarness(t, Options{Redis: asUser(t, server, "app", "secret", acl)})
	h := openOn(t, server)
	for i := range 3 {
		without.PushImage(t, session, fmt.Sprint(i))
	}
	for range 2 {
		if d, err := without.Pop(t.Context(), session); !errors.Is(err, queue.ErrUnavailable) {
			t.Errorf("got %q, error %v, want ErrUnavailable", d.Data, err)
		}
	}
	for i := range 3 {
		if got := h.Take(t, session); string(got.Data) != fmt.Sprint(i) || got.Sequence != int64(i+1) {
			t.Errorf("pop %d by one who may: got %q, sequence %d", i, got.Data, got.Sequence)
		}
	}
}

// A push by a user of Redis who may not publish is not refused after it was stored: viewers are late, no more.
func TestPushWithoutChannels(t *testing.T) {
	t.Parallel()
	server, session := redistest.Own(t), newSession()
	acl := []any{"ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all"}
	h := openHarness(t, Options{Redis: asUser(t, server, "app", "secret", acl)})
	_, err := h.Push(t.Context(), session, []byte("x"))
	h.q.finish() // undoes what is to be undone
	n := testkit.Must(server.Client(t).ZCard(t.Context(), keysOf(session).queue(session)).Result())(t)
	if err != nil || n != 1 {
		t.Errorf("got error %v and %d images in the queue, want none and 1", err, n)
	}
}
