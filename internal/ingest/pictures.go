package ingest

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// maxIndex is how much of an index of pictures is read. It has room for 60 pictures.
const maxIndex = 1 << 10

// takeIndex takes a segment of so many bytes, which may be an index of the pictures of one image: a second view, a gain
// map, a large preview. CIPA's Multi-Picture Format puts such pictures, which are JPEGs, one behind another, and the
// index into the first one.
func (s *Splitter) takeIndex(size int) error {
	s.line = s.line[:0] // no header is being read
	begun := s.image.length
	err := s.takeBytes(size, func(block []byte) {
		s.line = append(s.line, block[:min(len(block), maxIndex-len(s.line))]...)
	})
	if s.pictures == nil {
		s.pictures = picturesIn(s.line, begun)
	}
	return err
}

// picturesIn returns the places of the pictures behind the first one, by an index that stands at a place itself. The
// index is a TIFF directory, in which one tag has an entry of 16 bytes for each picture.
func picturesIn(segment []byte, place int64) (places []int64) {
	tiff, found := bytes.CutPrefix(segment, []byte("MPF\x00"))
	if !found {
		return nil
	}
	place += int64(len(segment) - len(tiff)) // the index counts from there
	order := binary.ByteOrder(binary.BigEndian)
	if bytes.HasPrefix(tiff, []byte("II")) {
		order = binary.LittleEndian
	}
	number := func(at int64) int64 { // 0 if it is not there
		if at < 0 || at+4 > int64(len(tiff)) {
			return 0
		}
		return int64(order.Uint32(tiff[at:]))
	}
	const pictureTag, tagSize, entrySize = 0xb002, 12, 16
	for tag := number(4) + 2; tag+tagSize <= int64(len(tiff)); tag += tagSize {
		if order.Uint16(tiff[tag:]) != pictureTag {
			continue
		}
		first, end := number(tag+8), number(tag+8)+number(tag+4)
		for entry := first + entrySize; entry+entrySize <= min(end, int64(len(tiff))); entry += entrySize {
			places = append(places, place+number(entry+8))
		}
		break
	}
	slices.Sort(places)
	return places
}

// takePictures takes the pictures of an index, behind the first one. Places that are passed or too far are not read on
// for. What does not begin where the index says is an image of its own: the index was left in a picture that stands
// alone now.
func (s *Splitter) takePictures() error {
	for _, place := range s.pictures {
		if !s.mayFollow(place) {
			continue
		}
		if begins, err := s.toPicture(place); !begins || err != nil {
			return err
		}
		if err := s.walk(); err != nil {
			return err
		}
	}
	return nil
}

// mayFollow reports whether a picture at a place may come behind what was taken so far.
func (s *Splitter) mayFollow(place int64) bool {
	gap := place - s.image.length
	return gap >= 0 && gap <= readAhead
}

// toPicture takes the zeros before a picture, and its start. It reports whether the picture begins at its place.
func (s *Splitter) toPicture(place int64) (begins bool, err error) {
	for {
		gap := place - s.image.length
		first, err := s.first()
		zeros := len(first) - len(bytes.TrimLeft(first, "\x00"))
		switch {
		case err != nil:
			return false, err
		case gap == 0 && isJPEG(first):
			s.take(first[:2])
			return true, nil
		case gap == 0 || zeros == 0:
			return false, nil
		}
		s.take(first[:min(int64(zeros), gap)])
	}
}
