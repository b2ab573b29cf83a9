package main

import (
	"context"
	"log/slog"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
)

// server answers HTTP from one engine.
type server struct {
	cfg      config
	metrics  *metrics
	queue    engine
	lines    *lines
	feeds    *feeds
	signer   signer
	cors     cors
	uploads  *uploads
	seats    *seats
	noData   []byte // PNG
	now      func() time.Time
	stopping context.Context // ends when the server is to stop
	log      *slog.Logger

	pace, streamPace pace // of an image, and of many
}

func newServer(cfg config, queue engine, log *slog.Logger) *server {
	m := newMetrics(cfg)
	queue = m.around(queue)
	uploads, seats := newUploads(cfg.uploadLimit, queue.Buffer), &seats{limit: cfg.maxViewers}
	uploads.meter(m)
	seats.meter(m)
	return &server{
		cfg: cfg, metrics: m, queue: queue, log: log,
		lines:    newLines(queue),
		feeds:    newFeeds(queue, newPartMaker(cfg), log),
		signer:   signer{cfg.sessionSecret},
		cors:     newCORS(cfg.corsOrigins),
		uploads:  uploads,
		seats:    seats,
		noData:   noDataPNG(cfg.width(), cfg.height),
		now:      time.Now,
		stopping: context.Background(),

		pace: imagePace(), streamPace: streamPace(),
	}
}

// endpoint is one row of the table: what is asked, and what answers those who may.
type endpoint struct {
	pattern string
	handler handlerFunc
}

// table returns every route, with who may use it.
func (s *server) table() []endpoint {
	return []endpoint{
		// producers
		{"GET /session", s.operating(s.handleSession)},
		{"POST /image/{session}", s.sending(s.handlePush)},
		{"PUT /image/{session}", s.sending(s.handlePush)},
		{"POST /imageForm/{session}", s.sending(s.handlePushForm)},
		{"POST /stream/{session}", s.sending(s.handleIngest)},
		{"PUT /stream/{session}", s.sending(s.handleIngest)},
		// consumers
		{"GET /image/{session}", s.reading(forUse(s.handlePop))},
		{"HEAD /image/{session}", s.reading(s.handlePeek)}, // else GET's handler would run, and pop
		{"POST /image/{session}/pop", s.reading(s.handleTake)},
		// viewers
		{"GET /stream/{session}", s.reading(s.handleStream)},
		{"GET /snapshot/{session}", asFile(s.reading(s.handleSnapshot))},
		// operators
		{"GET /stats", s.operating(s.handleStats)},
		{"GET /metrics", s.operating(s.handleMetrics)},
		{"GET /healthz", s.handleHealth},
		{"GET /readyz", s.handleReady},
	}
}

// routes returns the whole HTTP surface.
func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	methods := map[string][]string{}
	for _, row := range s.table() {
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
	h = s.refuseForeign(h)
	h = s.recoverPanics(h)
	h = s.observe(h)
	h = commonHeaders(s.cors, h)
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
