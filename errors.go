package main

import (
	"errors"
	"net/http"

	"github.com/image-streamer/image-streamer/internal/httpserver"
	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/session"
)

var (
	// errStopping answers a request that comes after the server began to stop.
	errStopping = errors.New("the server stops")
	// errHungUp ends a delivery to a client that has closed its connection.
	errHungUp = errors.New("the client hung up")
)

// Errors of a request. A 401 names what would open the route. A 403 says that what the client has is no longer enough,
// or that only another session id would do.
var (
	errSessionID = httpserver.Errorf(http.StatusBadRequest, "session id: allowed are %s", session.Rule)
	errNoKey     = httpserver.Errorf(http.StatusUnauthorized,
		"sending needs the publish key of the session: allowed are Authorization: Bearer or Basic, and ?key=")
	errPrivate = httpserver.Errorf(http.StatusUnauthorized,
		"reading needs a signed link of this path, the publish key of the session or the operator's token")
	errNoToken = httpserver.Errorf(http.StatusUnauthorized,
		"the operator's token is needed: allowed is Authorization: Bearer, or Basic with the token as the password")
	errExpired   = httpserver.Errorf(http.StatusForbidden, "the link has expired: allowed is a new one")
	errNotIssued = httpserver.Errorf(http.StatusForbidden, "session id not issued here: allowed are those of "+
		"GET /session, others with their publish key, and for reading with a signed link of this path")
	errPrefetch = httpserver.Errorf(http.StatusForbidden,
		"a prefetch would remove an image that nobody may look at: allowed is a request for use")
	errOpaque = httpserver.Errorf(http.StatusForbidden, "a request in the mode no-cors would remove an image that its "+
		"page cannot read: allowed are the mode cors and an <img>")
	errHidden = httpserver.Errorf(http.StatusForbidden, "a page of this origin may not read the image that it would "+
		"remove: allowed are those of CORS_ORIGINS, and an <img>")
	errNotFound = httpserver.Errorf(http.StatusNotFound, "no such path: there are /session, /image/{session}, "+
		"/image/{session}/pop, /imageForm/{session}, /stream/{session}, /snapshot/{session}, /stats, /metrics, "+
		"/healthz and /readyz")
	errTail = httpserver.Errorf(http.StatusRequestedRangeNotSatisfiable,
		"an image is given whole, and none was taken: allowed is no Range, or one that begins at 0")
	errPopBody = httpserver.Errorf(http.StatusBadRequest, "body cut short or too large: "+
		"allowed is none, or one of up to 64 KiB, which means nothing")
)

// statusOf maps an error to a status and to the sentence that the client gets. The cause of a 5xx is for the log alone.
func statusOf(err error) (status int, text string) {
	switch {
	case errors.Is(err, queue.ErrFull):
		return http.StatusInsufficientStorage,
			"the queues are full: nothing was stored; images are accepted again when others are taken or expire"
	case errors.Is(err, queue.ErrTooManySessions):
		return http.StatusTooManyRequests, "too many sessions: nothing was stored; " +
			"sessions that hold images go on, a new one is accepted when others are over"
	case errors.Is(err, errStopping):
		return http.StatusServiceUnavailable, "the server stops: try again, maybe another one"
	case errors.Is(err, queue.ErrUnavailable):
		return http.StatusServiceUnavailable, "the queue does not answer or takes no writes now: try again"
	}
	return http.StatusInternalServerError, "internal error: the cause is in the server's log"
}

func handleNotFound(http.ResponseWriter, *http.Request) error { return errNotFound }

// handleNoSession refuses a path that ends where the session id should be.
func handleNoSession(http.ResponseWriter, *http.Request) error { return errSessionID }
