package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/session"
)

// Every route can be spelled in capitals and with a slash at its end.
func TestEveryRouteHasItsBegin(t *testing.T) {
	t.Parallel()
	for _, row := range newMemoryServer(t).server.endpoints() {
		_, route, _ := strings.Cut(row.pattern, " ")
		path := strings.ReplaceAll(route, "{session}", "Front")
		spelled := strings.ReplaceAll(strings.ToUpper(route), "{SESSION}", "Front") + "/"
		if got, _ := canonicalPath(spelled); got != path {
			t.Errorf("%s means %s, want %s", spelled, got, path)
		}
	}
}

func TestCanonicalPath(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/image/x.jpg": "/image/x .jpg", "/image/x/": "/image/x ", "/IMAGE/X": "/image/X ", "/image/x/POP": "/image/x/pop ",
		"/image/x.PNG/pop/": "/image/x/pop .png", "/imageform/x": "/imageForm/x ", "/imageForm/x.Jpe": "/imageForm/x .jpe",
		"/snapshot/x.jpeg": "/snapshot/x .jpeg", "/Snapshot/x.JPG": "/snapshot/x .jpg", "/stream/x.mjpg": "/stream/x .mjpg",
		"/stream/x.mjpeg": "/stream/x .mjpeg", "/snapshot/x.gif": "/snapshot/x .gif", "/snapshot/x.webp": "/snapshot/x .webp",
		"/snapshot/x.avif": "/snapshot/x .avif", "/snapshot/x.bmp": "/snapshot/x .bmp",
		"/snapshot/x.jfif":             "/snapshot/x .jfif",
		"/image/AA:BB:CC:00:11:22.jpg": "/image/AA:BB:CC:00:11:22 .jpg", "/image/front.door": "/image/front.door ",
		"/image/front.door.jpg": "/image/front.door .jpg", "/session/": "/session ", "/Healthz": "/healthz ",
		// what is no route, or has no valid id, keeps what it has
		"/image/.jpg": "/image/.jpg ", "/image/..jpg": "/image/..jpg ", "/image/x.jpg.jpg": "/image/x.jpg.jpg ",
		"/image/x.txt": "/image/x.txt ", "/image": "/image ", "/image/": "/image/ ", "/session/x": "/session/x ",
		"/stats.jpg": "/stats.jpg ", "/images/x.jpg": "/images/x.jpg ", "image/x.jpg": "image/x.jpg ", "/": "/ ", "": " ",
		"*": "* ",
	} {
		canonical, extension := canonicalPath(path)
		if got := canonical + " " + extension; got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
		if again, extension := canonicalPath(canonical); again != canonical || extension != "" {
			t.Errorf("%s: got %s, of which becomes %s, extension %q", path, canonical, again, extension)
		}
	}
}

// A path in its usual spelling costs nothing. Allocations are counted in the whole process, so this test runs alone.
func TestCanonicalPathAllocatesNothing(t *testing.T) {
	for _, path := range []string{"/image/" + session.New(), "/image/x/pop", "/stream/x", "/session", "/nothing/here"} {
		if got := testing.AllocsPerRun(100, func() { canonicalPath(path) }); got != 0 {
			t.Errorf("%s: got %v allocations", path, got)
		}
	}
}

// Handlers know the extension that a path had, in whatever way it was written.
func TestExtension(t *testing.T) {
	t.Parallel()
	var extension string
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(_ http.ResponseWriter, r *http.Request) { extension = r.PathValue("extension") })
	mux.HandleFunc("/snapshot/{session}", func(_ http.ResponseWriter, r *http.Request) {
		extension = r.PathValue("extension")
	})
	for path, want := range map[string]string{
		"/snapshot/x": "", "/snapshot/x.JPG": ".jpg", "/snapshot/x%2Ejpeg": ".jpeg", "/snapshot/x.y": "",
		"/Snapshot/x.mjpg/?a=b": ".mjpg", "/nothing/x.jpg": "",
	} {
		canonicalPaths(mux).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
		if extension != want {
			t.Errorf("%s: got %q, want %q", path, extension, want)
		}
	}
}

// Every spelling of a path reaches the same session, with the body of the request, and escapes are no detour.
func TestSpellingsOfPaths(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		id := session.New()
		for _, row := range []struct {
			method, path string
			want         int
		}{
			{"PUT", "/image/%s.jpg", 200}, // ffmpeg -f image2
			{"POST", "/image/%s/", 200},
			{"POST", "/IMAGE/%s", 200},
			{"PUT", "/%%69mage/%s%%2Ejpg", 200},
			{"POST", "/imageform/%s", 200},
			{"POST", "/imageForm/%s.jpg/", 200},
			{"PUT", "/stream/%s.mjpeg", 200},
			{"POST", "//image/%s", 404},
			{"POST", "/image/%s//", 404},
			{"POST", "/image%%2F%s", 404},
			{"POST", "/image/%s%%2Fpop", 400},
			{"POST", "/image/%s%%2F", 400},
			{"POST", "/image/x%%2F..%%2F%s.jpg", 400},
			{"PUT", "/image/%%2e%%2e/%s.jpg", 404},
			{"PUT", "/image/%s.jpg.jpg", 400},
			{"GET", "/session/", 200},
			{"GET", "/Stats", 200},
			{"GET", "/healthz/", 200},
			{"HEAD", "/snapshot/%s.PNG", 200},
		} {
			stored, body, headers := s.Len(t, id), smallJPEG("image"), []string(nil)
			if strings.Contains(strings.ToLower(row.path), "form") {
				body, headers = relaytest.Form(body), []string{"Content-Type: " + relaytest.FormType}
			}
			path := strings.ReplaceAll(row.path, "%%", "%")
			if strings.Contains(row.path, "%s") {
				path = fmt.Sprintf(row.path, id)
			}
			got := s.Do(t, row.method, path, strings.NewReader(body), headers...)
			added := s.Len(t, id) - stored
			if isPush := row.method[0] == 'P' && row.want == 200; got.StatusCode != row.want || isPush != (added == 1) {
				t.Errorf("%s %s: got status %d, %d stored, want %d", row.method, path, got.StatusCode, added, row.want)
			}
		}
		for _, take := range []string{"GET /image/%s.jpg", "POST /image/%s.jpg/pop/", "GET /image/%s/"} {
			method, path, _ := strings.Cut(fmt.Sprintf(take, id), " ")
			if got := s.Do(t, method, path, nil).WantStatus(t, 200); got.Text != smallJPEG("image") {
				t.Errorf("%s: got %.40q", take, got.Text)
			}
		}
	})
}
