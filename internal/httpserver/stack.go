package httpserver

import (
	"cmp"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options are what a Stack is made of. Log, Registerer, StatusOf and NotFound are required.
type Options struct {
	Log        *slog.Logger
	Registerer prometheus.Registerer
	CORS       CORS
	Hosts      Hosts

	// StatusOf maps an error that is not an *Error to a status and to the sentence for the client. It is called with nil
	// for the answer after a panic.
	StatusOf func(error) (status int, text string)
	// NotFound answers the paths that a mux would redirect.
	NotFound HandlerFunc
	// Statuses are further values of the metrics' label status.
	Statuses []int
	// BodyIdle is how long a request body may stand still, unless its endpoint sets another deadline. 0 means 30 s.
	BodyIdle time.Duration
	// AnswerIdle is how long a client may accept nothing of an answer over HTTP/2. 0 means 10 s. For HTTP/1.1 see
	// LimitStalls.
	AnswerIdle time.Duration
	// Draining is closed when the server begins to stop. What clients still send behind their answers holds it up for 2 s.
	Draining <-chan struct{}
}

// Stack is what all endpoints of a server share.
type Stack struct {
	log       *slog.Logger
	metrics   *metrics
	cors      CORS
	hosts     Hosts
	statusOf  func(error) (int, string)
	notFound  HandlerFunc
	bodyIdle  time.Duration
	lingering lingerLimits

	answerIdle time.Duration
}

// New returns a Stack and registers its metrics.
func New(o Options) *Stack {
	return &Stack{
		log:       o.Log,
		metrics:   newMetrics(o.Registerer, o.Statuses),
		cors:      o.CORS,
		hosts:     o.Hosts,
		statusOf:  o.StatusOf,
		notFound:  o.NotFound,
		bodyIdle:  cmp.Or(o.BodyIdle, 30*time.Second),
		lingering: defaultLinger(o.Draining),

		answerIdle: cmp.Or(o.AnswerIdle, answerIdle),
	}
}

// Wrap puts around a mux what holds for every request. The mux must have a pattern for every path, because its own
// answers are not JSON.
func (s *Stack) Wrap(mux http.Handler) http.Handler {
	h := s.refuseUncleanPaths(mux)
	h = s.refuseForeign(h)
	h = s.refuseOtherHosts(h)
	h = s.recoverPanics(h)
	h = s.record(h)
	h = s.linger(h) // not in the time that a request took
	return CommonHeaders(s.cors, h)
}
