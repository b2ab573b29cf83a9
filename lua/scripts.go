// Package lua has the scripts that run inside Redis, as text.
//
// The scripts decide the order, the age and the index of images; the bytes travel beside them, as plain strings in the
// same pipeline. The header of each script states its keys, arguments and replies. The formats that several scripts
// share are described in internal/redisqueue/keys.go.
package lua

import _ "embed"

// The scripts. Each has the name of its file.
var (
	//go:embed push.lua
	Push string
	//go:embed withdraw.lua
	Withdraw string
	//go:embed pop.lua
	Pop string
	//go:embed requeue.lua
	Requeue string
	//go:embed peek.lua
	Peek string
	//go:embed stats.lua
	Stats string
	//go:embed count_sessions.lua
	CountSessions string
	//go:embed find_ahead.lua
	FindAhead string
	//go:embed shift_clock.lua
	ShiftClock string
)

// All returns the scripts by the names of their files.
func All() map[string]string {
	return map[string]string{
		"push.lua":           Push,
		"withdraw.lua":       Withdraw,
		"pop.lua":            Pop,
		"requeue.lua":        Requeue,
		"peek.lua":           Peek,
		"stats.lua":          Stats,
		"count_sessions.lua": CountSessions,
		"find_ahead.lua":     FindAhead,
		"shift_clock.lua":    ShiftClock,
	}
}
