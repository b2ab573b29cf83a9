package main

import "hash/fnv"

// keys builds the names of one bucket's keys: is:{<bucket>}: and what follows.
type keys string

// keysOf returns the keys of a session's bucket.
func keysOf(session string) keys {
	h := fnv.New32a()
	h.Write([]byte(session))
	return bucketKeys[h.Sum32()%buckets]
}

var bucketKeys = func() (all [buckets]keys) {
	const hex = "0123456789abcdef"
	for b := range all {
		all[b] = keys("is:{" + string(hex[b>>4]) + string(hex[b&15]) + "}:")
	}
	return all
}()

func (k keys) sessions() string            { return string(k) + "sessions" }
func (k keys) queue(session string) string { return string(k) + "queue:" + session }
func (k keys) meta(session string) string  { return string(k) + "meta:" + session }
func (k keys) wake(session string) string  { return string(k) + "wake:" + session }
func (k keys) image(id string) string      { return string(k) + "image:" + id }
func (k keys) out(id string) string        { return string(k) + "out:" + id }
