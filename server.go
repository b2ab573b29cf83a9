package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/image-streamer/image-streamer/internal/config"
	"github.com/image-streamer/image-streamer/internal/httpserver"
	"github.com/image-streamer/image-streamer/internal/ingest"
	"github.com/image-streamer/image-streamer/internal/live"
	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/session"
)

// server answers HTTP from one queue.
type server struct {
	queue   queue.Queue
	waiters *queue.Waiters
	listing *queue.Listing
	hub     *live.Hub
	budget  *ingest.Budget
	viewers *viewerLimit
	stack   *httpserver.Stack
	metrics *metrics
	signer  session.Signer
	noData  noData
	log     *slog.Logger

	mimeType     string // of the images
	maxBytes     int64  // of an image
	checkImages  bool
	noDataStatus int
	access       config.Access
	cors         httpserver.CORS
	bounds       bounds

	draining <-chan struct{}              // closed when the server begins to stop
	onDrain  func(func()) (cancel func()) // registers a function to be called then, see afterFunc
}

// bounds are times that the program takes as they are and tests shorten.
type bounds struct {
	image, stream ingest.DataRate  // of a body with one image, and with many; BytesPerSecond is MIN_UPLOAD_RATE
	answer        time.Duration    // a client may accept nothing of an answer
	grace         time.Duration    // for requests in flight when the server stops
	headers       time.Duration    // a client may take for the headers of a request
	uploadWait    time.Duration    // an image may wait for bytes of UPLOAD_LIMIT
	downloadWait  time.Duration    // an answer may wait for bytes of DOWNLOAD_LIMIT
	listing       time.Duration    // all readers of /stats share a list of the sessions for so long
	poll          time.Duration    // see pollPeriod
	now           func() time.Time // decides whether a link has expired
}

func defaults() bounds {
	return bounds{
		image: ingest.ImageRate(), stream: ingest.StreamRate(),
		answer: 10 * time.Second, grace: 8 * time.Second, headers: 10 * time.Second,
		uploadWait: 2 * time.Second, downloadWait: 2 * time.Second,
		listing: time.Second, poll: pollPeriod,
		now: time.Now,
	}
}

// pollPeriod is how soon a lost notification is made good, and after how long without a new image a viewer gets the
// last one again.
const pollPeriod = time.Second

// newServer returns a server, which drains from the end of ctx on: it ends what waits.
func newServer(
	ctx context.Context, cfg config.Config, q queue.Queue, b bounds, reg *prometheus.Registry, log *slog.Logger,
) *server {
	m := newMetrics(reg)
	downloads := httpserver.NewSendBudget(httpserver.SendBudgetOptions{
		Bytes: cfg.Limits.DownloadBytes, MaxWait: b.downloadWait, OtherHeap: queuedBytes(cfg), Registerer: reg,
	})
	engine := q
	q = &counted{&budgeted{engine, downloads}, m}
	b.image.BytesPerSecond, b.stream.BytesPerSecond = cfg.Limits.UploadRate, cfg.Limits.UploadRate
	cors := httpserver.NewCORS(cfg.Access.CORSOrigins)
	noData, poll := newNoData(cfg.NoData.Width(), cfg.NoData.Height), queue.NewPoll(b.poll)
	return &server{
		queue:   q,
		waiters: queue.NewWaiters(q, poll),
		listing: queue.NewListing(q, b.listing),
		hub: live.NewHub(live.Options{
			Reader: engine, Budget: downloads, Poll: poll, Log: log,
			Encoder: live.Encoder{Type: cfg.MIMEType, NoData: noData.jpeg},
		}),
		budget: ingest.NewBudget(ingest.BudgetOptions{
			Bytes: cfg.Limits.UploadBytes, Largest: cfg.Limits.ImageBytes, MaxWait: b.uploadWait,
			Buffer: q.Buffer, Registerer: reg,
		}),
		viewers: newViewerLimit(cfg.Limits.Viewers),
		stack: httpserver.New(httpserver.Options{
			Log: log, Registerer: reg, CORS: cors, Hosts: allowedHosts(cfg.Access),
			StatusOf: statusOf, NotFound: handleNotFound,
			Statuses: []int{cfg.NoData.Status}, BodyIdle: b.image.Idle, AnswerIdle: b.answer, Draining: ctx.Done(),
		}),
		metrics: m,
		signer:  session.NewSigner(cfg.Access.SessionSecret),
		noData:  noData,
		log:     log,

		mimeType:     cfg.MIMEType,
		maxBytes:     cfg.Limits.ImageBytes,
		checkImages:  cfg.Limits.CheckImages,
		noDataStatus: cfg.NoData.Status,
		access:       cfg.Access,
		cors:         cors,
		bounds:       b,

		draining: ctx.Done(),
		onDrain:  func(f func()) (cancel func()) { return afterFunc(ctx, f) },
	}
}

// allowedHosts returns the names by which the server may be asked.
func allowedHosts(access config.Access) httpserver.Hosts {
	return httpserver.NewHosts(access.AllowedHosts, access.CORSOrigins)
}

// afterFunc calls f when ctx ends, unless cancel is called before. cancel returns when f is not running, so that f may
// use what the caller of cancel gives up next. It has to be called once.
func afterFunc(ctx context.Context, f func()) (cancel func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		f()
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}

// endpoint is one row of the route table: the pattern and the handler, guarded by who may use it.
type endpoint struct {
	pattern string
	handler httpserver.HandlerFunc
}

// endpoints returns the route table.
func (s *server) endpoints() []endpoint {
	return []endpoint{
		// producers
		{"GET /session", s.mayOperate(s.handleSession)},
		{"POST /image/{session}", s.mayPublish(s.handlePush)},
		{"PUT /image/{session}", s.mayPublish(s.handlePush)},
		{"POST /imageForm/{session}", s.mayPublish(s.handlePushForm)},
		{"POST /stream/{session}", s.mayPublish(s.handleIngest)},
		{"PUT /stream/{session}", s.mayPublish(s.handleIngest)},
		// consumers
		{"GET /image/{session}", s.mayView(s.rejectUnseen(s.handlePop))},
		{"HEAD /image/{session}", s.mayView(s.handlePeek)}, // without this row GET's handler would run, and pop
		{"POST /image/{session}/pop", s.mayView(s.rejectUnseen(s.handlePostPop))},
		// viewers
		{"GET /stream/{session}", s.mayView(s.handleStream)},
		{"GET /snapshot/{session}", s.mayView(s.handleSnapshot)},
		// operators
		{"GET /stats", s.mayOperate(s.handleStats)},
		{"GET /metrics", s.mayOperate(s.handleMetrics)},
		{"GET /healthz", s.handleHealth},
		{"GET /readyz", s.handleReady},
	}
}

// routes returns the whole HTTP surface.
func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	methods := map[string][]string{}
	for _, row := range s.endpoints() {
		mux.Handle(row.pattern, s.stack.Handle(row.handler))
		method, route, _ := strings.Cut(row.pattern, " ")
		methods[route] = append(methods[route], method)
	}
	for route, allowed := range methods {
		if slices.Contains(allowed, http.MethodGet) && !slices.Contains(allowed, http.MethodHead) {
			allowed = append(allowed, http.MethodHead)
		}
		mux.Handle(route, s.stack.Handle(httpserver.OtherMethods(append(allowed, http.MethodOptions))))
	}
	for _, route := range []string{"/image", "/imageForm", "/stream", "/snapshot"} {
		mux.Handle(route+"/{$}", s.stack.Handle(handleNoSession)) // also /image/%2F
		mux.Handle(route, s.stack.Handle(handleNotFound))         // without this row the mux would redirect
	}
	mux.Handle("/", s.stack.Handle(handleNotFound))
	return s.stack.Wrap(canonicalPaths(mux))
}

// runServer runs the server until ctx ends.
func runServer(ctx context.Context, in invocation) error {
	return serve(ctx, in, defaults(), func(_ int, h http.Handler) http.Handler { return h })
}

// serve runs the server until ctx ends. Once it has a port it passes that to wrap, together with its handler, and
// serves the handler that wrap returns.
func serve(ctx context.Context, in invocation, b bounds, wrap func(port int, h http.Handler) http.Handler) error {
	cfg, log := in.cfg, in.log
	tlsConfig, err := newTLSConfig(cfg.TLS, log)
	if err != nil {
		return err
	}
	reg := newRegistry(in.lines)
	q, err := openQueue(cfg, reg, log)
	if err != nil {
		return err
	}
	defer q.Close()
	ln, err := net.Listen("tcp", fmt.Sprintf(":%d", cfg.Port))
	if err != nil {
		return fmt.Errorf("listen on PORT=%d: %w", cfg.Port, err)
	}

	h := newServer(ctx, cfg, q, b, reg, log).routes()
	h = wrap(ln.Addr().(*net.TCPAddr).Port, h)
	place := []any{"address", ln.Addr().String(), "queue", q.Describe()}
	log.Info("listening", append(place, cfg.Summary(version())...)...)
	return httpserver.Serve(ctx, ln, h, httpserver.ServeOptions{
		TLS: tlsConfig, Log: log, Grace: b.grace, HeaderTimeout: b.headers, AnswerIdle: b.answer,
	})
}

// newTLSConfig returns what HTTPS needs, or nil for HTTP.
func newTLSConfig(cfg config.TLS, log *slog.Logger) (*tls.Config, error) {
	if !cfg.Enabled() {
		return nil, nil
	}
	certificate, err := httpserver.LoadCertificate(cfg.Cert, cfg.Key, log)
	if err != nil {
		return nil, &usageError{fmt.Sprintf("TLS_CERT=%s, TLS_KEY=%s: allowed are PEM files of a certificate chain "+
			"and of its private key: %v", cfg.Cert, cfg.Key, err)}
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate.Get}, nil
}
