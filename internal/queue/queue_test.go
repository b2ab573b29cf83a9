package queue

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// movingReader is a Reader of one image that moves: its bytes are elsewhere for so many calls of Load.
type movingReader struct {
	Reader  // no Subscribe
	moves   int
	findErr error
	loadErr error

	finds, loads int
}

func (r *movingReader) Find(_ context.Context, session string, which Query) (Ref, error) {
	r.finds++
	return Ref{Session: session, Sequence: which.After + int64(r.finds), Behind: 7}, r.findErr
}

func (r *movingReader) Load(_ context.Context, ref Ref) (Image, error) {
	r.loads++
	if r.loads <= r.moves {
		return Image{}, ErrEmpty
	}
	return Image{Ref: ref, Data: []byte("image")}, r.loadErr
}

func TestGet(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, row := range []struct {
		name         string
		reader       movingReader
		want         error
		finds, loads int
	}{
		{"found", movingReader{}, nil, 1, 1},
		{"moved once", movingReader{moves: 1}, nil, 2, 2},
		{"moved nine times", movingReader{moves: 9}, nil, 10, 10},
		{"moves again and again", movingReader{moves: 1000}, ErrEmpty, 10, 10},
		{"none", movingReader{findErr: ErrEmpty}, ErrEmpty, 1, 0},
		{"find fails", movingReader{findErr: broken}, broken, 1, 0},
		{"load fails", movingReader{loadErr: broken}, broken, 1, 1},
		{"load fails after a move", movingReader{moves: 2, loadErr: broken}, broken, 3, 3},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := row.reader
			got, err := Get(t.Context(), &r, "s", Query{After: 100})
			if err != row.want || r.finds != row.finds || r.loads != row.loads {
				t.Errorf("got error %v, %d finds, %d loads, want %v, %d, %d",
					err, r.finds, r.loads, row.want, row.finds, row.loads)
			}
			if err != nil {
				return
			}
			if got.Session != "s" || got.Sequence != int64(100+row.finds) || got.Behind != 7 || string(got.Data) != "image" {
				t.Errorf("got %+v, want what was found last", got)
			}
		})
	}
}

func TestNewerThan(t *testing.T) {
	t.Parallel()
	now := time.Now()
	image := Ref{Sequence: 5, Arrived: now}
	for _, row := range []struct {
		name  string
		other Ref
		newer bool
	}{
		{"the image itself", image, false},
		{"the one before", Ref{Sequence: 4, Arrived: now.Add(-time.Second)}, true},
		{"the one before, in the same moment", Ref{Sequence: 4, Arrived: now}, true},
		{"the next one", Ref{Sequence: 6, Arrived: now.Add(time.Second)}, false},
		{"one before the sequence started again", Ref{Sequence: 9, Arrived: now.Add(-time.Hour)}, true},
		{"one after the sequence started again", Ref{Sequence: 5, Arrived: now.Add(time.Hour)}, false},
		{"no image", Ref{}, true},
	} {
		if got := image.NewerThan(row.other); got != row.newer {
			t.Errorf("than %s: got %v, want %v", row.name, got, row.newer)
		}
	}
}

// Times are written with three decimals at most.
func TestSeconds(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0:                                    "0",
		499 * time.Microsecond:               "0",
		1500 * time.Microsecond:              "0.002",
		12345678 * time.Microsecond:          "12.346",
		time.Hour + 123*time.Millisecond + 4: "3600.123",
		31536000*time.Second + 7*time.Millisecond + 99: "3.1536000007e+07",
	} {
		if got := fmt.Sprint(Seconds(d)); got != want {
			t.Errorf("%s: got %s, want %s", d, got, want)
		}
	}
}
