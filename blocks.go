package main

import "sync"

// blockSize is the piece in which memory is taken for what has no known size.
const blockSize = 32 << 10

// blocks holds an image of unknown size. Unlike a buffer that doubles it takes
// less than a block too much, and never moves what it holds.
type blocks struct {
	list []*[blockSize]byte
	size int
}

var freeBlocks = sync.Pool{New: func() any { return new([blockSize]byte) }}

// space returns where the next bytes go: some are free there, however many.
func (b *blocks) space() []byte {
	if b.size == len(b.list)*blockSize {
		b.list = append(b.list, freeBlocks.Get().(*[blockSize]byte))
	}
	return b.list[b.size/blockSize][b.size%blockSize:]
}

func (b *blocks) write(p []byte) {
	for len(p) > 0 {
		n := copy(b.space(), p)
		b.size += n
		p = p[n:]
	}
}

// trim takes away the last byte if it is this one.
func (b *blocks) trim(last byte) {
	if at := b.size - 1; at >= 0 && b.list[at/blockSize][at%blockSize] == last {
		b.size--
	}
}

// reach returns the memory that is taken when n more bytes have come, with that of
// the buffer which they are then copied to.
func (b *blocks) reach(n int) int64 {
	return 2 * blockSize * int64((b.size+n+blockSize-1)/blockSize)
}

// image returns what is held, in a buffer of its size.
func (b *blocks) image(up *upload) ([]byte, error) {
	image, err := up.room(b.size)
	if err != nil {
		return nil, err
	}
	rest := image
	for _, block := range b.list {
		rest = rest[copy(rest, block[:]):]
	}
	return image, nil
}

// free leaves nothing.
func (b *blocks) free() {
	for _, block := range b.list {
		freeBlocks.Put(block)
	}
	clear(b.list) // a stream would keep them from the collector
	b.list, b.size = b.list[:0], 0
}
