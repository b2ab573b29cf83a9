package httpserver

import (
	"testing"
	"testing/synctest"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// A reservation gives way only where that makes the room, and only if its owner agrees.
func TestTryReplace(t *testing.T) {
	t.Parallel()
	const held = 600
	for _, row := range []struct {
		name     string
		size     int
		agrees   bool
		asked    bool
		reserved int64 // afterwards; held: the budget has no room
	}{
		{"beside it", 400, true, false, held + 400},
		{"in its place", 401, true, true, 401},
		{"all there is", 1 << 40, true, true, 1000},
		{"in use", 401, false, true, held},
	} {
		b := NewSendBudget(SendBudgetOptions{Bytes: 1000})
		testkit.NoError(t, b.TryReplace(held, 0, nil))
		asked := false
		err := b.TryReplace(row.size, held, func() bool { asked = true; return row.agrees })
		if asked != row.asked {
			t.Errorf("%s: asked to give up: %v", row.name, asked)
		}
		if row.reserved == held {
			wantNoRoom(t, err)
		} else {
			testkit.NoError(t, err)
		}
		wantReserved(t, b, row.name, row.reserved)
	}
	b := NewSendBudget(SendBudgetOptions{Bytes: 1000})
	testkit.NoError(t, b.TryReplace(500, 0, nil))
	testkit.NoError(t, b.TryReplace(500, 0, nil))
	wantNoRoom(t, b.TryReplace(501, 500, nil)) // 500 others would stay
}

// Where a large reservation gave way to a small one, those who wait get the rest.
func TestTryReplaceWakes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := NewSendBudget(SendBudgetOptions{Bytes: 1000})
		testkit.NoError(t, b.TryReplace(900, 0, nil))
		waiting := make(chan error, 1)
		go func() { waiting <- b.Reserve(t.Context(), 500) }()
		synctest.Wait()
		testkit.NoError(t, b.TryReplace(200, 900, func() bool { return true }))
		testkit.NoError(t, <-waiting)
		wantReserved(t, b, "both", 700)
	})
}
