package ingest

import "bytes"

// Second bytes of JPEG markers.
const (
	soi  = 0xd8 // start of image
	eoi  = 0xd9 // end of image
	sos  = 0xda // start of scan: coded data follows, and not a marker
	app2 = 0xe2 // may hold an index of pictures
	tem  = 0x01 // without a segment
)

// nextJPEG returns the next of the JPEGs that stand one after the other, with anything between them.
func (s *Splitter) nextJPEG() ([]byte, error) {
	if !s.startRead {
		if err := s.toJPEG(); err != nil {
			return nil, err
		}
	}
	return s.readJPEG()
}

// toJPEG passes over what is not a JPEG, and over the start of a JPEG.
func (s *Splitter) toJPEG() error {
	for {
		if err := s.toFill(); err != nil {
			return err
		}
		if code, err := s.takeCode(); err != nil || code != soi {
			continue // block returns an error of the body again
		}
		if block, err := s.body.block(); err != nil || block[0] == 0xff {
			s.understood = true
			return nil
		}
	}
}

// readJPEG returns a JPEG whose start was read. It follows the markers, so that a preview inside the JPEG is not taken
// for an image.
func (s *Splitter) readJPEG() ([]byte, error) {
	s.image.begin(0xff, soi)
	defer s.image.end()
	s.startRead, s.pictures = false, nil
	if err := s.walk(); err != nil {
		return nil, s.endedBy(err)
	}
	if s.body.boundaries != nil {
		return s.readTail()
	}
	if err := s.takePictures(); err != nil {
		return nil, s.endedBy(err)
	}
	return s.image.whole(s.upload)
}

// walk takes a JPEG up to its end.
func (s *Splitter) walk() error {
	code, err := s.takeMarker()
	for err == nil && code != eoi {
		switch {
		case code == soi:
			s.startRead = true
			return Skippedf("cut short by the next image")
		case code == tem || isRestart(code): // without a segment
			code, err = s.takeMarker()
		case code < 0xc0:
			return Skippedf("not a JPEG: %#02x is not a marker", code)
		default:
			if err = s.takeSegment(code); err != nil {
				return err
			}
			if code == sos {
				code, err = s.takeScan()
			} else {
				code, err = s.takeMarker()
			}
		}
	}
	return err
}

func isRestart(code byte) bool { return code >= 0xd0 && code <= 0xd7 }

func isJPEG(first []byte) bool { return bytes.HasPrefix(first, []byte{0xff, soi}) }

// takeMarker takes a marker, with the fill bytes before it, and returns its second byte. Bytes before a marker that
// belong to no segment are a fault over which decoders pass.
func (s *Splitter) takeMarker() (byte, error) {
	for {
		if err := s.toFill(); err != nil {
			return 0, err
		}
		if code, err := s.takeCode(); err != nil || code != 0 {
			return code, err
		}
	}
}

// toFill takes what stands before the next byte of 0xff.
func (s *Splitter) toFill() error {
	for {
		block, err := s.body.block()
		if err != nil {
			return err
		}
		before, _, found := bytes.Cut(block, []byte{0xff})
		s.take(before)
		if found {
			return nil
		}
	}
}

// takeCode takes bytes of 0xff and the byte behind them, and returns that byte.
func (s *Splitter) takeCode() (byte, error) {
	for s.accept(0xff) {
	}
	return s.takeByte()
}

// takeByte takes one byte and returns it.
func (s *Splitter) takeByte() (byte, error) {
	block, err := s.body.block()
	if err != nil {
		return 0, err
	}
	b := block[0]
	s.take(block[:1])
	return b, nil
}

// takeSegment takes what belongs to a marker: the length, and as many bytes less the two of the length itself.
func (s *Splitter) takeSegment(code byte) error {
	high, err := s.takeByte()
	if err != nil {
		return err
	}
	low, err := s.takeByte()
	if err != nil {
		return err
	}
	left := int(high)<<8 + int(low) - 2
	if left < 0 {
		return Skippedf("not a JPEG: a segment of length %d", left+2)
	}
	if code == app2 {
		return s.takeIndex(left)
	}
	return s.takeBytes(left, nil)
}

// takeBytes takes so many bytes, and shows them to a function if there is one.
func (s *Splitter) takeBytes(left int, show func([]byte)) error {
	for left > 0 {
		block, err := s.body.block()
		if err != nil {
			return err
		}
		n := min(left, len(block))
		if show != nil {
			show(block[:n])
		}
		s.take(block[:n])
		left -= n
	}
	return nil
}

// takeScan takes coded data and the marker behind the data, and returns the second byte of that marker. The bytes 0xff
// and 0 are not a marker: they stand for the byte 0xff in the data.
func (s *Splitter) takeScan() (byte, error) {
	for {
		block, err := s.body.block()
		if err != nil {
			return 0, err
		}
		if coded := codedData(block); coded > 0 {
			s.take(block[:coded])
			continue
		}
		code, err := s.takeCode()
		if err != nil || code != 0 && !isRestart(code) {
			return code, err
		}
	}
}

// codedData returns how many bytes there are before what may be a marker.
func codedData(block []byte) (n int) {
	for {
		next := bytes.IndexByte(block[n:], 0xff)
		if next < 0 {
			return len(block)
		}
		n += next
		if n+1 == len(block) || block[n+1] != 0 && !isRestart(block[n+1]) {
			return n
		}
		n += 2
	}
}
