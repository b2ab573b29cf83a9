package queue

import (
	"maps"
	"slices"
	"sync"
)

// PerSession keeps one value for each session that has users: the first user's Join starts it, the last user's leave
// stops it.
type PerSession[T any] struct {
	start func(session string) (value T, stop func())

	mu  sync.RWMutex
	all map[string]*used[T]
}

type used[T any] struct {
	value T
	stop  func()
	users int
}

// NewPerSession returns an empty PerSession. start returns the value of a session, and what stops it. The calls of
// start and stop never overlap. They run under the lock of the PerSession: they must neither block nor call it.
func NewPerSession[T any](start func(session string) (value T, stop func())) *PerSession[T] {
	return &PerSession[T]{start: start, all: map[string]*used[T]{}}
}

// Join returns the value of a session. leave has to be called; calls after the first do nothing.
func (p *PerSession[T]) Join(session string) (value T, leave func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.all[session]
	if u == nil {
		u = new(used[T])
		u.value, u.stop = p.start(session)
		p.all[session] = u
	}
	u.users++
	return u.value, sync.OnceFunc(func() { p.leave(session, u) })
}

func (p *PerSession[T]) leave(session string, u *used[T]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if u.users--; u.users == 0 {
		delete(p.all, session)
		u.stop()
	}
}

// Find returns the value of a session, if it has users.
func (p *PerSession[T]) Find(session string) (value T, ok bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if u := p.all[session]; u != nil {
		return u.value, true
	}
	return value, false
}

// Users returns how many users a session has.
func (p *PerSession[T]) Users(session string) int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if u := p.all[session]; u != nil {
		return u.users
	}
	return 0
}

// Sessions returns the sessions that have users.
func (p *PerSession[T]) Sessions() []string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.Collect(maps.Keys(p.all))
}
