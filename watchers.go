package main

import "sync"

// watchers tells those who watch a session of its images.
type watchers struct {
	mu sync.RWMutex
	of map[string]map[*watcher]bool
}

type watcher struct{ tell func(frame) }

func newWatchers() *watchers { return &watchers{of: map[string]map[*watcher]bool{}} }

// add registers a watcher and returns whether it is the session's first. remove
// returns whether it was the last; the watcher may be told once more after it.
func (ws *watchers) add(session string, tell func(frame)) (first bool, remove func() (last bool)) {
	w := &watcher{tell}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	first = ws.of[session] == nil
	if first {
		ws.of[session] = map[*watcher]bool{}
	}
	ws.of[session][w] = true
	return first, func() bool {
		ws.mu.Lock()
		defer ws.mu.Unlock()
		delete(ws.of[session], w)
		last := len(ws.of[session]) == 0
		if last {
			delete(ws.of, session)
		}
		return last
	}
}

// tell calls everyone who watches the frame's session.
func (ws *watchers) tell(f frame) {
	ws.mu.RLock()
	defer ws.mu.RUnlock()
	for w := range ws.of[f.session] {
		w.tell(f)
	}
}

// sessions returns the sessions that are watched.
func (ws *watchers) sessions() map[string]bool {
	ws.mu.RLock()
	defer ws.mu.RUnlock()
	all := make(map[string]bool, len(ws.of))
	for session := range ws.of {
		all[session] = true
	}
	return all
}
