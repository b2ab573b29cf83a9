package e2e

import (
	"bytes"
	"context"
	"fmt"
	"image/color"
	"image/png"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	neturl "net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// pictureOn returns the number of the picture that a page shows. The script may read pixels only where CORS allows it.
func pictureOn(t testing.TB, page context.Context) int {
	t.Helper()
	return numberOf(evaluate[color.RGBA](t, page, `(() => {
		const canvas = document.createElement('canvas').getContext('2d');
		canvas.drawImage(document.querySelector('img'), 0, 0);
		const [R, G, B, A] = canvas.getImageData(4, 4, 1, 1).data;
		return {R, G, B, A};
	})()`))
}

// pictureOnScreen returns the number of the picture that an element shows on the screen.
func pictureOnScreen(t testing.TB, page context.Context, element string) int {
	t.Helper()
	screen, err := chromedp.Run(page, chromedp.Screenshot(chromedp.CSS(element)))
	if err != nil {
		return 0 // the element is not laid out yet
	}
	return numberOf(testkit.Must(png.Decode(bytes.NewReader(screen)))(t).At(4, 4))
}

// awaitMoving waits until count different pictures of the test producer were seen in their order. The grounds repeat,
// so the order of two pictures is known only if they were seen within half a round. To be safe, a pause of a quarter,
// on a busy machine, begins the count anew.
func awaitMoving(t testing.TB, count int, interval time.Duration, shown func() int) {
	t.Helper()
	var seen []int
	last := time.Now()
	eventually(t, func() bool {
		n := shown()
		if time.Since(last) > grounds/4*interval {
			seen = nil
		}
		last = time.Now()
		if n != 0 && (len(seen) == 0 || n != seen[len(seen)-1]) {
			seen = append(seen, n)
		}
		return len(seen) >= count
	})
	wantRising(t, seen, count)
}

// An <img> of another origin shows the stream, and the last picture although no other one follows.
func TestBrowserShowsStream(t *testing.T) {
	t.Parallel()
	const interval = 100 * time.Millisecond
	p, id := startServer(t), session.New()
	page := openForeignPage(t, fmt.Sprintf(`<img crossorigin="anonymous" src="http://%s/stream/%s">`, p.Addr, id))
	camera := startProducer(t, p, id, interval)
	awaitMoving(t, 5, interval, func() int { return pictureOn(t, page) })
	camera.terminate(t)
	camera.wantExit(t, 0)
	last := testkit.Must(strconv.Atoi(p.Get(t, "/snapshot/"+id).Header.Get("X-Sequence")))(t)
	eventually(t, func() bool { return pictureOn(t, page) == (last-1)%grounds+1 })
}

// An <img> or a window paints each image as soon as it was pushed, and is sent it once, whatever the type of the images
// is. The server repeats the last image after a second, so on a busy machine an image may come again before it is seen
// to be painted. Therefore images are pushed until several in a row were painted from one copy each.
func TestBrowserPaintsAtOnce(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ element, tag string }{
		"img":    {"img", `<img src="URL">`},
		"window": {"iframe", `<iframe width="160" height="90" style="border: 0" src="URL"></iframe>`},
	} {
		for _, mimeType := range []string{"image/jpeg", "image/png"} { // No Data is a JPEG all the same
			t.Run(name+" of "+mimeType, func(t *testing.T) {
				t.Parallel()
				p, id := startServer(t, "MIMETYPE="+mimeType), session.New()
				relay, received := countingRelay(t, p.Addr)
				page := openForeignPage(t, "")
				evaluate[string](t, page, "document.body.innerHTML = `"+
					strings.ReplaceAll(row.tag, "URL", relay+"/stream/"+id)+"`")
				eventually(t, func() bool { return received() > 0 })
				for n, once := 1, 0; once < 5; n++ {
					if n > 100 {
						t.Fatal("no five images in a row were painted from one copy each")
					}
					image, before := picture(t, n%grounds+1), received()
					p.Do(t, "POST", "/image/"+id, bytes.NewReader(image)).WantStatus(t, 200)
					eventually(t, func() bool { return pictureOnScreen(t, page, row.element) == n%grounds+1 })
					if once++; received()-before >= 2*len(image) {
						once = 0
					}
				}
			})
		}
	}
}

// countingRelay passes requests on to a server, and counts the bytes of the answers' bodies.
func countingRelay(t testing.TB, addr string) (url string, received func() int) {
	t.Helper()
	var count atomic.Int64
	relay := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(&neturl.URL{Scheme: "http", Host: addr}) },
		FlushInterval: -1,
		ModifyResponse: func(resp *http.Response) error {
			resp.Body = countingBody{resp.Body, &count}
			return nil
		},
		ErrorLog: log.New(io.Discard, "", 0),
	})
	t.Cleanup(relay.Close)
	return relay.URL, func() int { return int(count.Load()) }
}

type countingBody struct {
	io.ReadCloser
	count *atomic.Int64
}

func (b countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.count.Add(int64(n))
	return n, err
}

// An <img> pops one image after another.
func TestBrowserPopsImages(t *testing.T) {
	t.Parallel()
	const interval = 100 * time.Millisecond
	p, id := startServer(t), session.New()
	page := openForeignPage(t, fmt.Sprintf(`<img crossorigin="anonymous" src="http://%s/image/%s"
		onload="setTimeout(() => this.src = this.src.split('?')[0] + '?' + Date.now(), 50)">`, p.Addr, id))
	startProducer(t, p, id, interval)
	awaitMoving(t, 5, interval, func() int { return pictureOn(t, page) })
}

// A script of another origin sends images, and reads what the server says about one.
func TestBrowserFetches(t *testing.T) {
	t.Parallel()
	p, id := startServer(t), session.New()
	page := openForeignPage(t, "")
	script := strings.NewReplacer("ADDR", p.Addr, "SESSION", id).Replace(`(async () => {
		const call = (method, route, body, headers) =>
			fetch('http://ADDR/' + route + '/SESSION', {method, body, headers});
		const picture = text => new Blob([text], {type: 'image/jpeg'});
		const form = new FormData();
		form.append('image', picture('third'), 'third.jpg');
		const headers = {Accept: 'application/json', Authorization: 'x', 'X-Own': 'y'};
		const first = await call('POST', 'image', picture('first'), headers);
		const second = await call('PUT', 'image', picture('second'));
		const third = await call('POST', 'imageForm', form);
		const refused = await call('POST', 'image', '');
		const got = await call('GET', 'image');
		return {
			...await first.json(), ...await refused.json(), image: await got.text(),
			statuses: [first, second, third, refused, got].map(answer => answer.status).join(' '),
			headers: ['X-Sequence', 'X-Queue-Length', 'X-No-Data'].map(name => got.headers.get(name)).join(' '),
			late: Math.abs(got.headers.get('X-Timestamp') - Date.now() / 1000) > 60,
		};
	})()`)
	got := evaluate[[]byte](t, page, script, chromedp.EvalAwaitPromise)
	wantFields(t, got, map[string]any{
		"session": id, "sequence": 1.0, "queued": 1.0, "error": "empty image: allowed is at least one byte",
		"image": "first", "statuses": "200 200 200 400 200", "headers": "1 2 ", "late": false,
	})
}

// A page of a listed origin sends with credentials, as sendBeacon always does, and reads with them.
func TestBrowserSendsBeacons(t *testing.T) {
	t.Parallel()
	origin := foreignSite(t, "")
	p, id := startServer(t, "CORS_ORIGINS="+origin), session.New()
	page := openPage(t, origin)
	script := strings.NewReplacer("URL", p.URL("/image/"+id)).Replace(`(async () => {
		const credentials = 'include';
		const picture = text => new Blob([text], {type: 'image/jpeg'});
		const queued = navigator.sendBeacon('URL', picture('of a beacon'));
		const beacon = await fetch('URL?wait=60', {credentials});
		const body = picture('of a fetch'), headers = {'X-Own': 'y', Authorization: 'z'};
		const pushed = await fetch('URL', {method: 'PUT', body, headers, credentials});
		const popped = await fetch('URL', {credentials});
		return {queued, beacon: await beacon.text(), status: pushed.status, fetched: await popped.text()};
	})()`)
	got := evaluate[[]byte](t, page, script, chromedp.EvalAwaitPromise)
	wantFields(t, got, map[string]any{
		"queued": true, "beacon": "of a beacon", "status": 200.0, "fetched": "of a fetch",
	})
}

// A script of a foreign page takes no image that it could not read: in the mode no-cors, or because CORS_ORIGINS does
// not list its page. An <img> takes.
func TestBrowserPopsNothingUnseen(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ origins, mode, answer string }{
		{"*", "no-cors", "opaque"}, {"https://a.example", "no-cors", "opaque"}, {"https://a.example", "cors", "hidden"},
	} {
		t.Run(row.mode+row.origins, func(t *testing.T) {
			t.Parallel()
			p, id := startServer(t, "LOG_LEVEL=debug", "CORS_ORIGINS="+row.origins), session.New()
			p.Do(t, "POST", "/image/"+id, bytes.NewReader(picture(t, 7))).WantStatus(t, 200)
			url := p.URL("/image/" + id)
			page := openForeignPage(t, `<img>`)
			got := evaluate[string](t, page, fmt.Sprintf(
				`fetch('%s', {mode: '%s'}).then(answer => answer.type, () => 'hidden')`, url, row.mode),
				chromedp.EvalAwaitPromise)
			p.log.Await(t, "status=403")
			evaluate[string](t, page, fmt.Sprintf(`document.querySelector('img').src = '%s'`, url))
			eventually(t, func() bool { return pictureOnScreen(t, page, "img") == 7 })
			if got != row.answer {
				t.Errorf("the script got an answer of the type %s, want %s", got, row.answer)
			}
		})
	}
}

// An isolated page shows images that it may embed, without CORS: one that was popped, a snapshot, a stream, No Data.
func TestIsolatedPageShowsImages(t *testing.T) {
	t.Parallel()
	p, id := startServer(t), session.New()
	p.Do(t, "POST", "/image/"+id, bytes.NewReader(picture(t, 7))).WantStatus(t, 200)
	page := openPage(t, foreignSite(t, "<img>", "Cross-Origin-Embedder-Policy: require-corp"))
	for _, path := range []string{"/snapshot/" + id + ".jpg", "/stream/" + id, "/image/" + id, "/image/" + id} {
		evaluate[string](t, page, fmt.Sprintf(`document.querySelector('img').src = '%s?' + Math.random()`, p.URL(path)))
		eventually(t, func() bool {
			return evaluate[float64](t, page, `document.querySelector('img').naturalWidth`) == 160
		})
		evaluate[string](t, page, `document.querySelector('img').src = ''`)
	}
}

// The page of the demo moves, as seen on the screen, also on a server that is closed to others.
func TestBrowserShowsDemo(t *testing.T) {
	t.Parallel()
	for name, vars := range map[string][]string{
		"open": {},
		"closed": {
			"SESSION_SECRET=" + testSecret, "REQUIRE_KEY=true", "PRIVATE=true", "OPERATOR_TOKEN=" + testToken,
			"CORS_ORIGINS=https://a.example",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, "demo", append(vars, "TEST_INTERVAL=0.3")...).awaitListening(t)
			page := openPage(t, p.URL("/"))
			awaitMoving(t, 3, 300*time.Millisecond, func() int { return pictureOnScreen(t, page, "img") })
			if log := p.log.String(); strings.Contains(log, "signature") {
				t.Errorf("a link is in the log: %s", log)
			}
		})
	}
}

// A prefetch is refused, and the image is there when its URL is used.
func TestBrowserPrefetches(t *testing.T) {
	t.Parallel()
	p, id := startServer(t, "LOG_LEVEL=debug"), session.New()
	p.Do(t, "POST", "/image/"+id, bytes.NewReader(picture(t, 7))).WantStatus(t, 200)
	url := p.URL("/image/" + id)
	page := openForeignPage(t, fmt.Sprintf(
		`<link rel="prefetch" href="%s" crossorigin="anonymous"><img crossorigin="anonymous">`, url))
	p.log.Await(t, "status=403")
	evaluate[string](t, page, fmt.Sprintf(`document.querySelector('img').src = '%s'`, url))
	eventually(t, func() bool { return pictureOn(t, page) == 7 })
}

// An image is shown where a page embeds its URL as a document. What only claims to be an image runs no script.
func TestBrowserRunsNothing(t *testing.T) {
	t.Parallel()
	p, id := startServer(t), session.New()
	send := func(body string) {
		p.Do(t, "POST", "/image/"+id, strings.NewReader(body), "Content-Type: text/html").WantStatus(t, 200)
	}
	send(string(picture(t, 7)))
	for _, route := range []string{"/snapshot/", "/stream/", "/image/"} {
		page := openForeignPage(t, "") // the frame comes later, because navigation would wait for the end of a stream
		evaluate[string](t, page, fmt.Sprintf(`document.body.innerHTML =
			'<iframe width="160" height="90" style="border: 0" src="%s"></iframe>'`, p.URL(route+id)))
		eventually(t, func() bool { return pictureOnScreen(t, page, "iframe") == 7 })
	}
	for _, script := range []string{
		"<!doctype html><script>document.title = 'run'</script>",
		`<svg xmlns="http://www.w3.org/2000/svg"><script>document.title = 'run'</script></svg>`,
	} {
		send(script)
		page := openPage(t, p.URL("/snapshot/"+id))
		got := evaluate[string](t, page, `document.title + ' ' + document.contentType`)
		if strings.HasPrefix(got, "run") || !strings.HasSuffix(got, "image/jpeg") {
			t.Errorf("%s: got title and type %q", script, got)
		}
	}
}
