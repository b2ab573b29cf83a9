package redisqueue

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"
)

// keys builds the names of the keys of one bucket: is:{b}: and what follows. The bucket of a session is the hash tag of
// its keys, so that a script finds all of them, and the index shard, on one node of a Cluster.
//
//	is:{b}:sessions            sorted set   the index: sessions, scored by their end (Unix us)
//	is:{b}:queue:<session>     sorted set   members, scored by arrival (Unix us)
//	is:{b}:meta:<session>      hash         sequence; newest: latest arrival (Unix us); bytes: ever pushed; taken,
//	                                        dropped, expired: counts of images; newest_taken; <client>: record
//	is:{b}:image:<id>          string       the bytes of an image that waits, for as long as it lives
//	is:{b}:delivered:<id>      string       the bytes of an image that was taken, for as long as it lives
//	is:{b}:notify:<session>    channel      notifications
//
// The formats of what the keys hold, all of them text:
//
//	id             <client>-<call>                         the call that pushed or took the bytes, see callID
//	member         <sequence>:<offset>:<id>                see member
//	record         <call> <second> <reply>                 see record
//	notification   <sequence> <arrival> <size> <id>        see notification; empty: an image came back
//	newest_taken   <sequence> <arrival> <delivered key>    the newest image of the session, once it was taken
//
// All times are of the clock of Redis, which may be set. One rule tells what was written while the clock was ahead: an
// arrival is later than now by more than a second, or the end of a session by more than a second and 1.25 TTLs, which
// is as late as push.lua makes it. A second is for clocks that are adjusted all the time. push.lua, pop.lua and
// peek.lua do nothing for a session that is ahead but have it repaired by shift_clock.lua, and run again; Queue repairs
// those that nobody asks for. Until then stats.lua and count_sessions.lua take such sessions and images as over.
type keys string

// buckets is the number of index shards.
const buckets = 64

// keysOf returns the keys of a session's bucket.
func keysOf(session string) keys {
	h := fnv.New32a()
	h.Write([]byte(session))
	return bucketKeys[h.Sum32()%buckets]
}

// bucketKeys has the prefix of the keys of each bucket.
var bucketKeys = func() (all [buckets]keys) {
	for b := range all {
		all[b] = keys(fmt.Sprintf("is:{%02x}:", b))
	}
	return all
}()

func (k keys) sessions() string             { return string(k) + "sessions" }
func (k keys) queue(session string) string  { return string(k) + "queue:" + session }
func (k keys) meta(session string) string   { return string(k) + "meta:" + session }
func (k keys) image(id string) string       { return string(k) + "image:" + id }
func (k keys) delivered(id string) string   { return string(k) + "delivered:" + id }
func (k keys) notify(session string) string { return string(k) + "notify:" + session }

// notifiedSession is the inverse of keys.notify.
func notifiedSession(channel string) string {
	_, session, _ := strings.Cut(channel, "}:notify:")
	return session
}

// member is an image in a queue.
type member struct {
	sequence int64
	offset   int64 // bytes pushed to the session before the image
	id       string
}

func (m member) String() string { return fmt.Sprintf("%d:%d:%s", m.sequence, m.offset, m.id) }

// parseMember is the inverse of member.String.
func parseMember(text string) (member, error) {
	n, id, err := parseNumbers(text, ":", 2)
	if err != nil {
		return member{}, fmt.Errorf("member of a queue: %w", err)
	}
	return member{sequence: n[0], offset: n[1], id: id}, nil
}

// record is the last call of a client, as a session remembers it.
type record struct {
	call   int64
	second int64  // when the call ran, Unix time
	reply  string // of the script; "void" after the call was undone
}

func (r record) String() string { return fmt.Sprintf("%d %d %s", r.call, r.second, r.reply) }

// parseRecord is the inverse of record.String.
func parseRecord(text string) (record, error) {
	n, reply, err := parseNumbers(text, " ", 2)
	if err != nil {
		return record{}, fmt.Errorf("record of a call: %w", err)
	}
	return record{call: n[0], second: n[1], reply: reply}, nil
}

// notification says that an image was pushed.
type notification struct {
	sequence int64
	arrived  time.Time
	size     int // in bytes
	id       string
}

func (n notification) String() string {
	return fmt.Sprintf("%d %d %d %s", n.sequence, n.arrived.UnixMicro(), n.size, n.id)
}

// parseNotification is the inverse of notification.String.
func parseNotification(text string) (notification, error) {
	n, id, err := parseNumbers(text, " ", 3)
	if err != nil {
		return notification{}, fmt.Errorf("notification: %w", err)
	}
	return notification{sequence: n[0], arrived: time.UnixMicro(n[1]), size: int(n[2]), id: id}, nil
}

// parseNumbers reads the first count words of a text, which have to be numbers, and returns them with the rest of the
// text. count is five at most.
func parseNumbers(text, separator string, count int) (numbers [5]int64, rest string, err error) {
	rest = text
	for i := range count {
		var word string
		word, rest, _ = strings.Cut(rest, separator)
		if numbers[i], err = strconv.ParseInt(word, 10, 64); err != nil {
			return numbers, "", fmt.Errorf("%w: %.80q", errUnexpected, text)
		}
	}
	return numbers, rest, nil
}
