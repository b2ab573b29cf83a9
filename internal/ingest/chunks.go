package ingest

import (
	"io"
	"sync"
)

// chunkSize is how much memory at a time is taken for an image of unknown size.
const chunkSize = 32 << 10

// chunkBuffer holds an image of unknown size. Unlike a buffer that doubles, it takes less than one chunk too much, and
// never moves what it holds.
type chunkBuffer struct {
	chunks []*[chunkSize]byte
	size   int
}

var chunkPool = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// free returns the place for the next bytes: at least one, at most a chunk. The caller adds what it writes to size.
func (b *chunkBuffer) free() []byte {
	if b.size == len(b.chunks)*chunkSize {
		b.chunks = append(b.chunks, chunkPool.Get().(*[chunkSize]byte))
	}
	return b.chunks[b.size/chunkSize][b.size%chunkSize:]
}

func (b *chunkBuffer) write(p []byte) {
	for len(p) > 0 {
		n := copy(b.free(), p)
		b.size += n
		p = p[n:]
	}
}

// trim removes the last byte if it is this one.
func (b *chunkBuffer) trim(last byte) {
	if at := b.size - 1; at >= 0 && b.chunks[at/chunkSize][at%chunkSize] == last {
		b.size--
	}
}

// footprint returns how much memory an image takes once n more bytes have come: its chunks, and the buffer that they
// are then copied to.
func (b *chunkBuffer) footprint(n int) int64 {
	return 2 * chunkSize * int64((b.size+n+chunkSize-1)/chunkSize)
}

// memory returns how much memory the chunks take.
func (b *chunkBuffer) memory() int64 { return chunkSize * int64(len(b.chunks)) }

// readFrom reads some bytes, at least one and at most this many.
func (b *chunkBuffer) readFrom(source io.Reader, most int) error {
	free := b.free()
	n, err := io.ReadAtLeast(source, free[:min(len(free), most)], 1)
	b.size += n
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// image returns what the chunks hold, in a buffer of its size.
func (b *chunkBuffer) image(u *Upload) ([]byte, error) {
	image, err := u.Buffer(b.size)
	if err != nil {
		return nil, err
	}
	b.copyTo(image)
	return image, nil
}

// copyTo copies what the chunks hold to the start of an image, and returns how many bytes that are.
func (b *chunkBuffer) copyTo(image []byte) int {
	rest := image[:b.size]
	for _, chunk := range b.chunks {
		rest = rest[copy(rest, chunk[:]):]
	}
	return b.size
}

// reset empties the buffer and returns its chunks to the pool.
func (b *chunkBuffer) reset() {
	for _, chunk := range b.chunks {
		chunkPool.Put(chunk)
	}
	clear(b.chunks) // the list is used again: its old pointers would keep the chunks from the garbage collector
	b.chunks, b.size = b.chunks[:0], 0
}
