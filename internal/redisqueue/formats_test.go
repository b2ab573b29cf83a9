package redisqueue

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/testkit"
	"github.com/image-streamer/image-streamer/lua"
)

// Every script of the folder is loaded.
func TestScriptsAreLoaded(t *testing.T) {
	t.Parallel()
	loaded := map[string]bool{}
	for _, s := range scripts {
		loaded[s.hash] = true
	}
	for name, source := range lua.All() {
		if !loaded[newScript(source).hash] {
			t.Errorf("%s is not in scripts", name)
		}
	}
	if len(scripts) != len(lua.All()) || len(loaded) != len(scripts) {
		t.Errorf("got %d scripts, %d of them different, want the %d of the folder", len(scripts), len(loaded), len(lua.All()))
	}
}

// formats looks at what the scripts have left of one session.
type formats struct {
	scriptRunner
	k keys
}

func newFormats(t *testing.T) formats {
	t.Helper()
	r := newScriptRunner(t)
	return formats{r, keysOf(r.session)}
}

// wantMember checks the queue's member at a rank, and that Go builds the same text.
func (f formats) wantMember(t *testing.T, rank int, want member) (arrival int64) {
	t.Helper()
	all := testkit.Must(f.rdb.ZRangeWithScores(t.Context(), f.k.queue(f.session), 0, -1).Result())(t)
	if rank >= len(all) {
		t.Fatalf("got the members %v, want one more", all)
	}
	text := all[rank].Member.(string)
	if got := testkit.Must(parseMember(text))(t); got != want || want.String() != text {
		t.Errorf("member %d: got %q, parsed as %+v, want %+v", rank, text, got, want)
	}
	return int64(all[rank].Score)
}

// wantRecord checks what the session remembers of a call, and that Go builds the same text.
func (f formats) wantRecord(t *testing.T, id callID, reply any) {
	t.Helper()
	text := testkit.Must(f.rdb.HGet(t.Context(), f.k.meta(f.session), id.client.name).Result())(t)
	got := testkit.Must(parseRecord(text))(t)
	if got.call != id.call || got.reply != reply || got.String() != text {
		t.Errorf("record of %s: got %q, parsed as %+v, want reply %q", id, text, got, reply)
	}
	if age := time.Since(time.Unix(got.second, 0)); age.Abs() > time.Hour {
		t.Errorf("record of %s: got %q, by which the call ran %s ago", id, text, age)
	}
}

// wantBytes checks the string at a key.
func (f formats) wantBytes(t *testing.T, key, want string) {
	t.Helper()
	if got := f.rdb.Get(t.Context(), key).Val(); got != want {
		t.Errorf("%s: got %q, want %q", key, got, want)
	}
}

// Go parses what the scripts write, and builds it the same way.
func TestGoReadsWhatScriptsWrite(t *testing.T) {
	t.Parallel()
	f := newFormats(t)
	subscription := f.rdb.Subscribe(t.Context(), f.k.notify(f.session))
	defer subscription.Close()
	testkit.Must(subscription.Receive(t.Context()))(t)
	first, second, popped := f.begin(), f.begin(), f.begin()
	bytesOf := func(id callID) string { return "bytes of " + id.String() }
	offset := int64(len(bytesOf(first)))
	members := []member{{1, 0, first.String()}, {2, offset, second.String()}}

	for i, id := range []callID{first, second} {
		reply := f.push(t, id)
		receipt, opened, err := parsePush(reply.(string))
		want := queue.Receipt{Sequence: int64(i + 1), Queued: i + 1}
		if receipt != want || opened != (i == 0) || err != nil {
			t.Errorf("push %d: got %+v, opened %v, error %v, want %+v", i+1, receipt, opened, err, want)
		}
		f.wantRecord(t, id, reply)
		arrival := f.wantMember(t, i, members[i])
		f.wantBytes(t, f.k.image(members[i].id), bytesOf(id))

		message := testkit.Must(subscription.ReceiveMessage(t.Context()))(t)
		n := testkit.Must(parseNotification(message.Payload))(t)
		wantN := notification{int64(i + 1), time.UnixMicro(arrival), len(bytesOf(id)), id.String()}
		if n != wantN || wantN.String() != message.Payload || notifiedSession(message.Channel) != f.session {
			t.Errorf("push %d: got notification %q on %s, parsed as %+v, want %+v",
				i+1, message.Payload, message.Channel, n, wantN)
		}
		ref := testkit.Must(f.q.Find(t.Context(), f.session, queue.Query{Newest: true}))(t)
		if ref.Handle != f.k.image(id.String()) || ref.Arrived.UnixMicro() != arrival || ref.Size != len(bytesOf(id)) {
			t.Errorf("found %+v, want %s, arrived %d", ref, f.k.image(id.String()), arrival)
		}
	}
	if end := f.rdb.ZScore(t.Context(), f.k.sessions(), f.session).Val(); time.UnixMicro(int64(end)).Before(time.Now()) {
		t.Errorf("the index has the session's end at %f, want it ahead", end)
	}

	f.pop(t, f.begin()) // the first image
	arrival := f.wantMember(t, 0, members[1])
	reply := f.pop(t, popped).(string)
	ref, age, err := parsePop(reply)
	if want := (queue.Ref{Sequence: 2, Arrived: time.UnixMicro(arrival)}); ref != want || age < 0 || err != nil {
		t.Errorf("pop: got %q, parsed as %+v, age %s, error %v, want %+v", reply, ref, age, err, want)
	}
	if want := popReply(arrival, 0, age.Microseconds(), members[1]); reply != want {
		t.Errorf("pop: got %q, want %q", reply, want)
	}
	f.wantRecord(t, popped, reply)
	f.wantBytes(t, f.k.delivered(popped.String()), bytesOf(second))
	taken := f.rdb.HGet(t.Context(), f.k.meta(f.session), "newest_taken").Val()
	if want := fmt.Sprintf("2 %d %s", arrival, f.k.delivered(popped.String())); taken != want {
		t.Errorf("newest_taken: got %q, want %q", taken, want)
	}

	f.requeue(t, popped)
	f.wantRecord(t, popped, "void")
	if got := f.wantMember(t, 0, members[1]); got != arrival {
		t.Errorf("requeued with arrival %d, want %d", got, arrival)
	}
	f.wantBytes(t, f.k.image(second.String()), bytesOf(second))
	message := testkit.Must(subscription.ReceiveMessage(t.Context()))(t)
	if n, err := parseNotification(message.Payload); message.Payload != "" || err == nil {
		t.Errorf("an image came back: got notification %q, parsed as %+v", message.Payload, n)
	}

	f.withdraw(t, second)
	f.wantRecord(t, second, "void")
	f.wantBytes(t, f.k.image(second.String()), "")
	f.WantEmpty(t, f.session)
}

// build leaves an image in Redis as a push of a TTL's tenth ago would, with the functions that build the formats.
func (f formats) build(t *testing.T, id callID, m member, image string) (arrival time.Time) {
	t.Helper()
	ctx, now := t.Context(), testkit.Must(f.rdb.Time(t.Context()).Result())(t)
	arrival = now.Add(-f.TTL / 10)
	reply := fmt.Sprintf("%d 1 0 0 1 %d", m.sequence, m.offset)
	p := f.rdb.Pipeline()
	p.Set(ctx, f.k.image(m.id), image, f.TTL)
	p.ZAdd(ctx, f.k.queue(f.session), redis.Z{Score: float64(arrival.UnixMicro()), Member: m.String()})
	p.HSet(ctx, f.k.meta(f.session),
		"sequence", m.sequence, "newest", arrival.UnixMicro(), "bytes", m.offset+int64(len(image)),
		id.client.name, record{id.call, now.Unix(), reply}.String())
	p.ZAdd(ctx, f.k.sessions(), redis.Z{Score: float64(arrival.Add(f.TTL).UnixMicro()), Member: f.session})
	p.PExpire(ctx, f.k.queue(f.session), f.TTL)
	p.PExpire(ctx, f.k.meta(f.session), f.TTL)
	testkit.Must(p.Exec(ctx))(t)
	return arrival
}

// The scripts find what Go builds: members, records and the bytes that they name.
func TestScriptsReadWhatGoBuilds(t *testing.T) {
	t.Parallel()
	const image = "image 41"
	for name, test := range map[string]func(t *testing.T, f formats, id callID, m member){
		"push.lua": func(t *testing.T, f formats, id callID, m member) {
			if got, want := f.push(t, id), fmt.Sprintf("%d 1 0 0 1 %d", m.sequence, m.offset); got != want {
				t.Errorf("a push that is on record: got %q, want %q", got, want)
			}
			next := f.begin()
			if got, want := f.push(t, next), fmt.Sprintf("42 2 0 40 0 %d", m.offset+int64(len(image))); got != want {
				t.Errorf("the next push: got %q, want %q", got, want)
			}
			f.wantMember(t, 1, member{42, m.offset + int64(len(image)), next.String()})
		},
		"withdraw.lua": func(t *testing.T, f formats, id callID, _ member) {
			if got := f.withdraw(t, id); got != int64(1) {
				t.Errorf("got %v, want 1: the image is in the queue", got)
			}
			f.WantEmpty(t, f.session)
		},
		"pop.lua": func(t *testing.T, f formats, _ callID, m member) {
			if got := f.Take(t, f.session); got.Sequence != m.sequence || string(got.Data) != image {
				t.Errorf("got image %d, %q", got.Sequence, got.Data)
			}
		},
		"requeue.lua": func(t *testing.T, f formats, _ callID, m member) {
			popped, arrival := f.begin(), time.Now().Add(-f.TTL/20).UnixMicro()
			later := member{m.sequence + 1, m.offset + int64(len(image)), "CLIENT-7"}
			r := record{popped.call, time.Now().Unix(), popReply(arrival, 0, 0, later)}
			testkit.Must(f.rdb.HSet(t.Context(), f.k.meta(f.session), popped.client.name, r.String()).Result())(t)
			testkit.Must(f.rdb.Set(t.Context(), f.k.delivered(popped.String()), "image 42", f.TTL).Result())(t)
			if got := f.requeue(t, popped); got != int64(1) {
				t.Errorf("got %v, want 1: the image is back", got)
			}
			if got := f.wantMember(t, 1, later); got != arrival {
				t.Errorf("got arrival %d, want %d", got, arrival)
			}
			f.wantBytes(t, f.k.image(later.id), "image 42")
		},
		"peek.lua": func(t *testing.T, f formats, _ callID, m member) {
			got := testkit.Must(queue.Get(t.Context(), f, f.session, queue.Query{After: m.sequence - 1}))(t)
			if got.Sequence != m.sequence || string(got.Data) != image || got.Handle != f.k.image(m.id) {
				t.Errorf("got %+v", got)
			}
		},
		"stats.lua": func(t *testing.T, f formats, _ callID, m member) {
			got := f.Session(t, f.session)
			if got.Len != 1 || got.Bytes != int64(len(image)) || got.Sent != m.sequence ||
				got.Age < f.TTL.Seconds()/10 {
				t.Errorf("got %+v", got)
			}
		},
		"find_ahead.lua": func(t *testing.T, f formats, _ callID, _ member) {
			if found := f.q.findAhead(t.Context()); slices.Contains(found, f.session) {
				t.Errorf("got %q, though the clock is right", found)
			}
			moveAhead(t, f.rdb, f.session, time.Hour)
			if found := f.q.findAhead(t.Context()); !slices.Contains(found, f.session) {
				t.Errorf("got %q, want the session", found)
			}
		},
		"shift_clock.lua": func(t *testing.T, f formats, _ callID, m member) {
			moveAhead(t, f.rdb, f.session, time.Hour)
			if err := f.q.shiftClock(t.Context(), f.session); err != nil {
				t.Fatal(err)
			}
			if got := time.UnixMicro(f.wantMember(t, 0, m)); time.Since(got).Abs() > f.TTL {
				t.Errorf("got arrival %s, want now", got)
			}
			if rest := f.rdb.PTTL(t.Context(), f.k.image(m.id)).Val(); rest <= 0 || rest > f.TTL {
				t.Errorf("the bytes live %s longer, want at most %s", rest, f.TTL)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFormats(t)
			id := f.begin()
			m := member{41, 1 << 50, id.String()}
			f.build(t, id, m, image)
			test(t, f, id, m)
		})
	}
}

// A subscriber understands a notification that Go builds.
func TestNotificationsReachSubscribers(t *testing.T) {
	t.Parallel()
	f, id := newFormats(t), callID{&client{name: "CLIENT"}, 3}
	arrival := f.build(t, id, member{1, 0, id.String()}, "image")
	got := make(notifications, 10)
	defer f.Subscribe(f.session, got)()
	if first := <-got; first != nil {
		t.Errorf("when notifications begin: got %+v, want Missed", first)
	}
	n := notification{1, arrival, len("image"), id.String()}
	testkit.Must(f.rdb.Publish(t.Context(), f.k.notify(f.session), n.String()).Result())(t)
	ref := <-got
	if ref == nil || ref.Sequence != 1 || ref.Arrived.UnixMicro() != arrival.UnixMicro() || ref.Size != len("image") {
		t.Fatalf("got %+v, want that of %s", ref, n)
	}
	if image := testkit.Must(f.Load(t.Context(), *ref))(t); string(image.Data) != "image" {
		t.Errorf("loaded %q", image.Data)
	}
	testkit.Must(f.rdb.Publish(t.Context(), f.k.notify(f.session), "").Result())(t)
	if ref := <-got; ref != nil {
		t.Errorf("an image came back: got %+v, want Missed", ref)
	}
}

// What is not of a format is refused.
func TestFormatsRefuseOtherText(t *testing.T) {
	t.Parallel()
	for what, parse := range map[string]func(text string) error{
		"member":       func(text string) error { _, err := parseMember(text); return err },
		"record":       func(text string) error { _, err := parseRecord(text); return err },
		"notification": func(text string) error { _, err := parseNotification(text); return err },
		"push":         func(text string) error { _, _, err := parsePush(text); return err },
		"pop":          func(text string) error { _, _, err := parsePop(text); return err },
		"peek":         func(text string) error { _, err := parsePeek(text); return err },
	} {
		tooLarge := strings.Repeat("9", 20) + " 1 1 1 1"
		for _, text := range []string{"", "x", "1", "1 x", ":", "1:x:id", "void", "lost", tooLarge} {
			if err := parse(text); err == nil {
				t.Errorf("%s: %q was read", what, text)
			}
		}
	}
	for _, session := range []string{"a", "A-_9", strings.Repeat("x", 64)} {
		if got := notifiedSession(keysOf(session).notify(session)); got != session {
			t.Errorf("the channel of %q: got session %q", session, got)
		}
	}
}
