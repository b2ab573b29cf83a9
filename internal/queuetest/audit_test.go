package queuetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/queue"
)

// faultyTarget is a queue of one session in which something happens to every tenth image.
type faultyTarget struct {
	fault string

	mu     sync.Mutex
	pushes int
	images [][]byte
}

func (f *faultyTarget) Push(_ context.Context, _ string, image []byte) (queue.Receipt, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pushes++
	if f.pushes%10 != 0 {
		f.images = append(f.images, image)
		return queue.Receipt{}, nil
	}
	switch f.fault {
	case "lose":
		return queue.Receipt{}, nil
	case "double":
		f.images = append(f.images, image, slices.Clone(image))
	case "damage":
		image[len(image)/2]++
		f.images = append(f.images, image)
	case "misplace":
		f.images = append(f.images, Labelled("another", 0))
	case "refuse":
		return queue.Receipt{}, errors.New("refused")
	case "refuse and deliver":
		f.images = append(f.images, image)
		return queue.Receipt{}, errors.New("refused")
	default:
		f.images = append(f.images, image)
	}
	return queue.Receipt{}, nil
}

func (f *faultyTarget) Pop(context.Context, string) (queue.Delivery, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.images) == 0 {
		return queue.Delivery{}, queue.ErrEmpty
	}
	image := f.images[0]
	f.images = f.images[1:]
	return queue.NewDelivery(queue.Image{Data: image}, f), nil
}

func (f *faultyTarget) Ack(queue.Image) {}

func (f *faultyTarget) Requeue(image queue.Image) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.images = append(f.images, image.Data)
}

// An Audit finds each fault, and none where there is none.
func TestAudit(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		fault         string
		want          Counts
		lost, doubled int
		refused       int // and delivered
	}{
		{"none", Counts{Pushed: 100, Acknowledged: 100, Delivered: 100}, 0, 0, 0},
		{"lose", Counts{Pushed: 100, Acknowledged: 100, Delivered: 90}, 10, 0, 0},
		{"double", Counts{Pushed: 100, Acknowledged: 100, Delivered: 100}, 0, 10, 0},
		{"damage", Counts{Pushed: 100, Acknowledged: 100, Delivered: 100, Damaged: 10}, 0, 0, 0},
		{"misplace", Counts{Pushed: 100, Acknowledged: 100, Delivered: 91, Misplaced: 10}, 10, 1, 1},
		{"refuse", Counts{Pushed: 100, Acknowledged: 90, Delivered: 90, Failures: 10}, 0, 0, 0},
		{"refuse and deliver", Counts{Pushed: 100, Acknowledged: 90, Delivered: 100, Failures: 10}, 0, 0, 10},
	} {
		t.Run(row.fault, func(t *testing.T) {
			t.Parallel()
			a := NewAudit()
			a.Run(t, &faultyTarget{fault: row.fault}, Load{
				Sessions: []string{"session"}, Producers: 4, Consumers: 4, Images: 25, Requeue: 10, Size: 1000,
				Silence: 3 * time.Second,
			})
			if got := a.Counts(); got != row.want {
				t.Errorf("got %+v, want %+v", got, row.want)
			}
			lost, doubled, refused := a.Missing(), a.Doubled(), a.RefusedAndDelivered()
			if len(lost) != row.lost || len(doubled) != row.doubled || len(refused) != row.refused {
				t.Errorf("got %d lost, %d doubled, %d refused and delivered, want %d, %d, %d",
					len(lost), len(doubled), len(refused), row.lost, row.doubled, row.refused)
			}
		})
	}
}
