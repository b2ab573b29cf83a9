package main

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// hostileClient makes up requests as a client might that means harm. A seed decides which. All that it makes up begins
// with zz or is in capitals.
type hostileClient struct{ *rand.Rand }

func newHostileClient(seed uint64) hostileClient {
	return hostileClient{rand.New(rand.NewPCG(seed, 1))}
}

// word returns some characters of an alphabet.
func (c hostileClient) word(alphabet string, least, most int) string {
	word := make([]byte, least+c.IntN(most-least+1))
	for i := range word {
		word[i] = alphabet[c.IntN(len(alphabet))]
	}
	return string(word)
}

// method returns a method that some route has, or another one.
func (c hostileClient) method() string {
	known := []string{"GET", "HEAD", "POST", "PUT", "OPTIONS", "DELETE", "PATCH", "TRACE"}
	if n := c.IntN(2 * len(known)); n < len(known) {
		return known[n]
	}
	return c.word("ABCDEFGHIJKLMNOPQRSTUVWXYZ-_!~", 1, 12)
}

// id returns a session id, valid or not.
func (c hostileClient) id() string {
	if c.IntN(2) == 0 {
		return "zz" + c.word(idCharacters, 1, 62)
	}
	return "zz" + c.word(idCharacters+"\x01\x7f\xff{}\"\\\n %+.:;=", 1, 90)
}

// path returns a path that no route has, or one of the routes with an id. It opens no endless stream.
func (c hostileClient) path() string {
	if c.IntN(3) == 0 {
		return (&url.URL{Path: "/zz" + c.word(idCharacters+"/.\x01\xff%?#\"{}", 0, 30)}).EscapedPath()
	}
	routes := []string{
		"/image/%s", "/image/%s/pop", "/imageForm/%s", "/snapshot/%s", "/snapshot/%s.jpg", "/stream/%s?action=snapshot",
		"/IMAGE/%s.PNG/pop/",
		"/session?%s", "/stats?%s", "/metrics?%s", "/healthz?%s", "/readyz?%s",
	}
	path := fmt.Sprintf(routes[c.IntN(len(routes))], url.PathEscape(c.id()))
	if !strings.Contains(path, "?") {
		path += "?"
	}
	key, noData, after := c.word(idCharacters, 20, 40), 400+c.IntN(200), c.IntN(9)
	return fmt.Sprint(path, "&key=zz", key, "&nodata=", noData, "&after=", after)
}

// No label holds what a client made up. However many requests come, in whatever form, they make no more series than
// there are routes, methods and statuses.
func TestMetricsHaveBoundedLabels(t *testing.T) {
	t.Parallel()
	for name, vars := range map[string][]string{"open": nil, "signed": {"SESSION_SECRET=" + testSecret}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newMemoryServer(t, vars...)
			issued := s.Get(t, "/session").WantStatus(t, 200).Text
			s.askEverything(t, issued)
			usual := s.Scrape(t).Series()
			for seed := range uint64(2000) {
				c := newHostileClient(seed)
				s.Do(t, c.method(), c.path(), strings.NewReader("image"),
					"Authorization: Bearer zz"+c.word(idCharacters, 20, 40))
			}
			for _, series := range s.Scrape(t).Series() {
				if !slices.Contains(usual, series) {
					t.Errorf("a series more than the usual %d: %q", len(usual), series)
				}
				if containsAny(series, "zz", "ZZ", issued) {
					t.Errorf("a label holds what a client made up: %q", series)
				}
			}
		})
	}
}

// askEverything sends every method to every route: with a valid id, one that was not issued, and one that is not valid.
// It also asks for every status of an empty queue.
func (s *testServer) askEverything(t *testing.T, valid string) {
	t.Helper()
	for _, id := range []string{valid, "zz-not-issued", "zz%20"} {
		for _, path := range []string{
			"/image/%s", "/image/%s?nodata=451", "/image/%s/pop", "/imageForm/%s", "/stream/%s?action=snapshot",
			"/snapshot/%s", "/session?%s", "/stats?%s", "/metrics?%s", "/healthz?%s", "/readyz?%s", "/zz/%s", "/image?%s",
			"/image/?%s",
		} {
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "OPTIONS", "DELETE", "PATCH", "ZZ"} {
				s.Do(t, method, fmt.Sprintf(path, id), strings.NewReader("image"))
			}
		}
	}
	for _, status := range append(s.rejections(t), "451") {
		for _, path := range []string{"/image/%s?", "/image/%s/pop?", "/snapshot/%s?", "/stream/%s?action=snapshot&"} {
			for _, method := range []string{"GET", "HEAD", "POST"} {
				s.Do(t, method, fmt.Sprintf(path, valid+"-none")+"nodata="+status, nil)
			}
		}
	}
}

// rejections returns the statuses by which rejected requests are counted.
func (s *testServer) rejections(t testing.TB) (statuses []string) {
	t.Helper()
	for _, series := range s.Scrape(t).Series() {
		status, found := strings.CutPrefix(series, relaytest.Namespace+"_rejected_requests_total status=")
		if found {
			statuses = append(statuses, status)
		}
	}
	return statuses
}

// The table of README and the metrics have the same statuses: a rejection is not counted as "other".
func TestMetricsKnowStatuses(t *testing.T) {
	t.Parallel()
	known := newMemoryServer(t).rejections(t)
	readme := string(testkit.Must(os.ReadFile("README.md"))(t))
	_, table, _ := strings.Cut(readme, "\n| status | when |\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	documented := regexp.MustCompile(`(?m)^\| ([0-9, ]+) \|`).FindAllStringSubmatch(table, -1)
	if len(documented) < 8 {
		t.Fatalf("README: found statuses %q", documented)
	}
	for _, row := range documented {
		for status := range strings.SplitSeq(row[1], ", ") {
			if !slices.Contains(known, status) {
				t.Errorf("status %s: its requests are counted as other", status)
			}
		}
	}
}
