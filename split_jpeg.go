package main

import "bytes"

// Second bytes of JPEG markers.
const (
	soi = 0xd8 // start of image
	eoi = 0xd9 // end of image
	sos = 0xda // start of scan: coded data follows, and not a marker
)

// nextJPEG returns the next of the JPEGs that stand one after the other, with
// anything between them.
func (s *splitter) nextJPEG() ([]byte, error) {
	if !s.begun {
		if err := s.toJPEG(); err != nil {
			return nil, err
		}
	}
	return s.readJPEG()
}

// toJPEG passes over what is no JPEG, and over the start of one.
func (s *splitter) toJPEG() error {
	for {
		block, err := s.body.block()
		if err != nil {
			return err
		}
		at := bytes.IndexByte(block, 0xff)
		if at < 0 {
			s.body.drop(len(block))
			continue
		}
		s.body.drop(at)
		if code, err := s.marker(); err != nil || code != soi {
			continue // an error comes again
		}
		if block, err = s.body.block(); err != nil || block[0] == 0xff {
			s.found = true
			return nil
		}
	}
}

// readJPEG returns a JPEG whose start was read. It follows the markers, so that
// a preview inside of it is not taken for an image.
func (s *splitter) readJPEG() ([]byte, error) {
	s.begin(0xff, soi)
	defer s.end()
	s.begun = false
	if err := s.walk(); err != nil {
		return nil, s.cut(err)
	}
	return s.whole()
}

// walk takes a JPEG up to its end.
func (s *splitter) walk() error {
	code, err := s.marker()
	for err == nil && code != eoi {
		switch {
		case code == soi:
			s.begun = true
			return skipped("cut short by the next image")
		case code == 0x01 || isRestart(code): // stands alone
			code, err = s.marker()
		case code < 0xc0:
			return skipped("no JPEG: %#02x is no marker", code)
		default:
			if err = s.segment(); err != nil {
				return err
			}
			if code == sos {
				code, err = s.scan()
			} else {
				code, err = s.marker()
			}
		}
	}
	return err
}

func isRestart(code byte) bool { return code >= 0xd0 && code <= 0xd7 }

// marker takes a marker, with the bytes that may fill the place before it, and
// returns its second byte.
func (s *splitter) marker() (byte, error) {
	if block, err := s.body.block(); err != nil {
		return 0, err
	} else if block[0] != 0xff {
		return 0, skipped("no JPEG: %#02x where a marker should be", block[0])
	}
	for s.accept(0xff) {
	}
	return s.one()
}

func (s *splitter) one() (byte, error) {
	block, err := s.body.block()
	if err != nil {
		return 0, err
	}
	b := block[0]
	s.take(block[:1])
	return b, nil
}

// segment takes what belongs to a marker: its length, and as many bytes less two.
func (s *splitter) segment() error {
	high, err := s.one()
	if err != nil {
		return err
	}
	low, err := s.one()
	if err != nil {
		return err
	}
	left := int(high)<<8 + int(low) - 2
	if left < 0 {
		return skipped("no JPEG: a segment of length %d", left+2)
	}
	for left > 0 {
		block, err := s.body.block()
		if err != nil {
			return err
		}
		n := min(left, len(block))
		s.take(block[:n])
		left -= n
	}
	return nil
}

// scan takes coded data and the marker behind it, and returns that marker's
// second byte. A zero there makes the first a byte of the data.
func (s *splitter) scan() (byte, error) {
	for {
		block, err := s.body.block()
		if err != nil {
			return 0, err
		}
		if coded := codedData(block); coded > 0 {
			s.take(block[:coded])
			continue
		}
		code, err := s.marker()
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
