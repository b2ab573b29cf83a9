package main

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// stranger makes up requests as a client might that means harm, from a seed.
type stranger struct{ *rand.Rand }

func newStranger(seed uint64) stranger { return stranger{rand.New(rand.NewPCG(seed, 1))} }

// word returns some characters of an alphabet.
func (x stranger) word(alphabet string, least, most int) string {
	word := make([]byte, least+x.IntN(most-least+1))
	for i := range word {
		word[i] = alphabet[x.IntN(len(alphabet))]
	}
	return string(word)
}

func (x stranger) method() string {
	known := []string{"GET", "HEAD", "POST", "PUT", "OPTIONS", "DELETE", "PATCH", "TRACE"}
	if n := x.IntN(2 * len(known)); n < len(known) {
		return known[n]
	}
	return x.word("ABCDEFGHIJKLMNOPQRSTUVWXYZ-_!~", 1, 12)
}

// id returns what is, or is not, a session id; it can be told from all else.
func (x stranger) id() string {
	if x.IntN(2) == 0 {
		return "zz" + x.word(idCharacters, 1, 62)
	}
	return "zz" + x.word(idCharacters+"\x01\x7f\xff{}\"\\\n %+.:;=", 1, 90)
}

// path returns a path that no route has, or one of the routes with an id. No stream
// is opened that would not end.
func (x stranger) path() string {
	if x.IntN(3) == 0 {
		return (&url.URL{Path: "/zz" + x.word(idCharacters+"/.\x01\xff%?#\"{}", 0, 30)}).EscapedPath()
	}
	routes := []string{
		"/image/%s", "/image/%s/pop", "/imageForm/%s", "/snapshot/%s", "/snapshot/%s.jpg", "/stream/%s?action=snapshot",
		"/session?%s", "/stats?%s", "/metrics?%s", "/healthz?%s", "/readyz?%s",
	}
	path := fmt.Sprintf(routes[x.IntN(len(routes))], url.PathEscape(x.id()))
	if !strings.Contains(path, "?") {
		path += "?"
	}
	return fmt.Sprint(path, "&key=zz", x.word(idCharacters, 20, 40), "&nodata=", 400+x.IntN(200), "&after=", x.IntN(9))
}

// No label holds what a client made up, and however many requests come, in whatever
// form, they make no more series than there are routes, methods and statuses.
func TestMetricsHaveBoundedLabels(t *testing.T) {
	t.Parallel()
	for name, vars := range map[string][]string{"open": nil, "signed": {"SESSION_SECRET=" + testSecret}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, testConfig(t, vars...), memoryFixture(t, time.Minute))
			issued := s.get(t, "/session").wantStatus(t, 200).body
			s.askEverything(t, issued)
			usual := s.scrape(t).series()
			for seed := range uint64(2000) {
				x := newStranger(seed)
				s.do(t, x.method(), x.path(), strings.NewReader("image"), "Authorization: Bearer zz"+x.word(idCharacters, 20, 40))
			}
			for _, series := range s.scrape(t).series() {
				if !slices.Contains(usual, series) {
					t.Errorf("a series more than the usual %d: %q", len(usual), series)
				}
				if strings.Contains(series, "zz") || strings.Contains(series, "ZZ") || strings.Contains(series, issued) {
					t.Errorf("a label holds what a client made up: %q", series)
				}
			}
		})
	}
}

// askEverything sends every method to every route, with an id that is good, one
// that is not issued and one that is none.
func (s *site) askEverything(t *testing.T, good string) {
	t.Helper()
	for _, id := range []string{good, "zz-not-issued", "zz%20"} {
		for _, path := range []string{
			"/image/%s", "/image/%s?nodata=451", "/image/%s/pop", "/imageForm/%s", "/stream/%s?action=snapshot", "/snapshot/%s",
			"/session?%s", "/stats?%s", "/metrics?%s", "/healthz?%s", "/readyz?%s", "/zz/%s", "/image?%s", "/image/?%s",
		} {
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "OPTIONS", "DELETE", "PATCH", "ZZ"} {
				s.do(t, method, fmt.Sprintf(path, id), strings.NewReader("image"))
			}
		}
	}
	for _, status := range append(slices.Clone(rejections), "451") { // which a query may ask for
		for _, path := range []string{"/image/%s?", "/image/%s/pop?", "/snapshot/%s?", "/stream/%s?action=snapshot&"} {
			for _, method := range []string{"GET", "HEAD", "POST"} {
				s.do(t, method, fmt.Sprintf(path, good+"-none")+"nodata="+status, nil)
			}
		}
	}
}
