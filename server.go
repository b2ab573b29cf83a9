package main

import (
	"context"
	"log/slog"
	"net/http"
	"path"
	"slices"
	"strings"
)

// server answers HTTP from one engine.
type server struct {
	cfg      config
	queue    engine
	lines    *lines
	feeds    *feeds
	noData   []byte          // PNG
	stopping context.Context // ends when the server is to stop
	log      *slog.Logger
}

func newServer(cfg config, queue engine, log *slog.Logger) *server {
	return &server{
		cfg: cfg, queue: queue, log: log,
		lines:    newLines(queue),
		feeds:    newFeeds(queue, newPartMaker(cfg), log),
		noData:   noDataPNG(cfg.width(), cfg.height),
		stopping: context.Background(),
	}
}

// routes returns the whole HTTP surface.
func (s *server) routes() http.Handler {
	table := []struct {
		pattern string
		handler handlerFunc
	}{
		// producers
		{"GET /session", s.handleSession},
		{"POST /image/{session}", s.handlePush},
		{"PUT /image/{session}", s.handlePush},
		{"POST /imageForm/{session}", s.handlePushForm},
		{"POST /stream/{session}", s.handleIngest},
		{"PUT /stream/{session}", s.handleIngest},
		//		{"POST /stream/{session}", s.handleIngest},
		//		{"PUT /stream/{session}", s.handleIngest},
		// consumers
		{"GET /image/{session}", s.handlePop},
		{"HEAD /image/{session}", s.handlePeek}, // else GET's handler would run, and pop
		// viewers
		{"GET /stream/{session}", s.handleStream},
		{"GET /snapshot/{session}", s.handleSnapshot},
		// operators
		{"GET /stats", s.handleStats},
		{"GET /healthz", s.handleHealth},
		{"GET /readyz", s.handleReady},
	}

	mux := http.NewServeMux()
	methods := map[string][]string{}
	for _, row := range table {
		mux.Handle(row.pattern, s.handler(row.handler))
		method, route, _ := strings.Cut(row.pattern, " ")
		methods[route] = append(methods[route], method)
	}
	for route, allowed := range methods {
		if slices.Contains(allowed, http.MethodGet) && !slices.Contains(allowed, http.MethodHead) {
			allowed = append(allowed, http.MethodHead)
		}
		mux.Handle(route, s.handler(otherMethods(append(allowed, http.MethodOptions))))
	}
	for _, route := range []string{"/image", "/imageForm", "/stream", "/snapshot"} {
		mux.Handle(route+"/{$}", s.handler(noSession)) // also /image/%2F
		mux.Handle(route, s.handler(s.handleNotFound)) // else it would be redirected
	}
	mux.Handle("/", s.handler(s.handleNotFound))

	var h http.Handler = mux
	h = s.refuseUncleanPaths(h)
	h = s.recoverPanics(h)
	h = s.logRequests(h)
	h = commonHeaders(h)
	return h
}

// refuseUncleanPaths answers paths such as //image/x with 404 where the mux
// would redirect, with an HTML page and a second request that may lose its body.
func (s *server) refuseUncleanPaths(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		escaped := r.URL.EscapedPath()
		if clean := path.Clean(escaped); clean != escaped && clean+"/" != escaped {
			s.handler(s.handleNotFound).ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
