package redisqueue

import "sync"

// buffers reuses the buffers of images that were sent for images to come: the images of a camera have one size, more
// or less.
type buffers struct{ pool sync.Pool }

// get returns a buffer of length size: a used one that is large enough and not far too large, or a new one.
func (b *buffers) get(size int) []byte {
	if used, ok := b.pool.Get().(*[]byte); ok && size <= cap(*used) && cap(*used) <= 4*size {
		return (*used)[:size]
	}
	return make([]byte, size, size+size/8)
}

// put takes back a buffer that is no longer used.
func (b *buffers) put(buffer []byte) { b.pool.Put(&buffer) }
