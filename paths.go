package main

import (
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/image-streamer/image-streamer/internal/session"
)

// routeBegins has the beginnings of the routes, by their first words in small letters. One that a session id follows
// ends with a slash.
var routeBegins = map[string]string{
	"session": "/session", "image": "/image/", "imageform": "/imageForm/", "stream": "/stream/", "snapshot": "/snapshot/",
	"stats": "/stats", "metrics": "/metrics", "healthz": "/healthz", "readyz": "/readyz",
}

// canonicalPaths lets clients write a path in several ways, without a redirect, which could lose a body. Routes, links
// and metrics know the canonical path alone. The path value "extension" holds the extension that was dropped, or "".
//
// The request itself is changed, as the mux does it, because what stands around reads the mux's pattern from it.
func canonicalPaths(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if segmentsAreWhole(r.URL) {
			canonical, extension := canonicalPath(r.URL.Path)
			if extension != "" {
				r.SetPathValue("extension", extension)
			}
			if canonical != r.URL.Path || r.URL.RawPath != "" {
				u := *r.URL
				u.Path, u.RawPath = canonical, ""
				r.URL = &u
			}
		}
		next.ServeHTTP(w, r)
	})
}

// segmentsAreWhole reports whether a path has the same segments before and after it was unescaped. An escaped slash or
// dot would become one that divides or redirects.
func segmentsAreWhole(u *url.URL) bool {
	return u.RawPath == "" ||
		strings.Count(u.Path, "/") == strings.Count(u.RawPath, "/") && path.Clean(u.Path) == strings.TrimSuffix(u.Path, "/")
}

// canonicalPath returns the path that a path means: the words of the route table in its letters, no slash at the end,
// and no extension behind the session id. It also returns the extension, in small letters. A path without a route is
// returned as it is. A path that is canonical costs no allocation.
func canonicalPath(path string) (canonical, extension string) {
	relative, isAbsolute := strings.CutPrefix(path, "/")
	word, rest, _ := strings.Cut(relative, "/")
	begin := routeBegins[strings.ToLower(word)]
	takesSession := strings.HasSuffix(begin, "/")
	switch {
	case !isAbsolute || begin == "" || takesSession != (rest != ""):
		return path, ""
	case !takesSession:
		return begin, ""
	}
	rest = strings.TrimSuffix(rest, "/")
	name, _, _ := strings.Cut(rest, "/")
	action := strings.ToLower(rest[len(name):]) // /pop or nothing
	id, extension := session.TrimExtension(name)
	if !session.Valid(id) {
		id, extension = name, "" // the answer will be 400
	}
	length := len(begin) + len(id) + len(action)
	if length == len(path) && strings.HasPrefix(path, begin) && strings.HasSuffix(path, action) {
		return path, ""
	}
	return begin + id + action, extension
}
