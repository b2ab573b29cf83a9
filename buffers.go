package main

import "sync"

// buffers keeps the room of images that were sent on for those that come: a
// camera's images have one size, more or less.
type buffers struct{ pool sync.Pool }

// get returns room for an image: used room, where it is large enough and not far
// too large.
func (b *buffers) get(size int) []byte {
	if room, ok := b.pool.Get().(*[]byte); ok && size <= cap(*room) && cap(*room) <= 4*size {
		return (*room)[:size]
	}
	return make([]byte, size, size+size/8)
}

// put takes back room that nobody uses any more.
func (b *buffers) put(room []byte) { b.pool.Put(&room) }
