package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/color"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// sharedBrowser is started by the first test that asks and ended by TestMain.
var sharedBrowser = sync.OnceValues(func() (context.Context, error) {
	path := ""
	for _, name := range []string{"google-chrome", "chromium-browser", "chromium"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
		}
	}
	if path == "" {
		return nil, errors.New("no chromium on PATH")
	}
	starter, end := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(800, 600),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))...)
	browser, _ := chromedp.NewContext(starter, chromedp.WithErrorf(func(string, ...any) {})) // of events it does not know
	stopBrowser = func() {
		grace, cancel := context.WithTimeout(browser, 5*time.Second)
		defer cancel()
		chromedp.Cancel(grace)
		end()
	}
	if err := chromedp.Do(browser); err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return browser, nil
})

var stopBrowser = func() {}

// openPage opens a page in a window without a past.
func openPage(t testing.TB, url string) context.Context {
	t.Helper()
	browser, err := sharedBrowser()
	if err != nil {
		skip(t, err)
	}
	page, shut := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(shut)
	page, cancel := context.WithTimeout(page, 20*time.Second)
	t.Cleanup(cancel)
	if err := chromedp.Do(page, chromedp.Navigate(url)); err != nil {
		t.Fatal(err)
	}
	return page
}

// openElsewhere opens a page of another origin than the relay's.
func openElsewhere(t testing.TB, body string) context.Context {
	t.Helper()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, "<!doctype html>\n"+body)
	}))
	t.Cleanup(elsewhere.Close)
	return openPage(t, elsewhere.URL)
}

// pictureOn returns the number of the picture that a page shows. A script may read
// its pixels only with CORS.
func pictureOn(t testing.TB, page context.Context) int {
	t.Helper()
	return numberOf(must(chromedp.Run(page, chromedp.Evaluate[color.RGBA](`(() => {
		const paper = document.createElement('canvas').getContext('2d');
		paper.drawImage(document.querySelector('img'), 0, 0);
		const [R, G, B, A] = paper.getImageData(4, 4, 1, 1).data;
		return {R, G, B, A};
	})()`)))(t))
}

// awaitMoving waits for so many different pictures and checks their order.
func awaitMoving(t testing.TB, count int, shown func() int) {
	t.Helper()
	seen := []int{0} // none yet
	eventually(t, func() bool {
		if n := shown(); n != 0 && n != seen[len(seen)-1] {
			seen = append(seen, n)
		}
		return len(seen) > count
	})
	wantMoving(t, seen[1:], count)
}

// An <img> shows the stream, and its last picture although no other follows.
func TestBrowserShowsStream(t *testing.T) {
	t.Parallel()
	p, session := startServer(t, ""), newSession()
	page := openElsewhere(t, fmt.Sprintf(`<img crossorigin="anonymous" src="http://%s/stream/%s">`, p.addr, session))
	camera := startCamera(t, p, session, "0.1")
	awaitMoving(t, 5, func() int { return pictureOn(t, page) })
	camera.stop()
	camera.wantExit(t, 0, 5*time.Second)
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		got, newest := pictureOn(t, page), p.get(t, "/snapshot/"+session).Header.Get("X-Sequence")
		if strconv.Itoa(got) == newest {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("2 s after the last picture: got %d, want %s", got, newest)
		}
	}
}

// An <img> takes one image after the other.
func TestBrowserTakesImages(t *testing.T) {
	t.Parallel()
	p, session := startServer(t, ""), newSession()
	page := openElsewhere(t, fmt.Sprintf(`<img crossorigin="anonymous" src="http://%s/image/%s"
		onload="setTimeout(() => this.src = this.src.split('?')[0] + '?' + Date.now(), 50)">`, p.addr, session))
	startCamera(t, p, session, "0.1")
	awaitMoving(t, 5, func() int { return pictureOn(t, page) })
}

// A script sends images, and reads what is told about one, from another origin.
func TestBrowserFetches(t *testing.T) {
	t.Parallel()
	p, session := startServer(t, ""), newSession()
	page := openElsewhere(t, "")
	script := strings.NewReplacer("ADDR", p.addr, "SESSION", session).Replace(`(async () => {
		const call = (method, route, body, headers) => fetch('http://ADDR/' + route + '/SESSION', {method, body, headers});
		const picture = text => new Blob([text], {type: 'image/jpeg'});
		const form = new FormData();
		form.append('image', picture('third'), 'third.jpg');
		const first = await call('POST', 'image', picture('first'), {Accept: 'application/json', Authorization: 'x', 'X-Own': 'y'});
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
	got := must(chromedp.Run(page, chromedp.Evaluate[[]byte](script, chromedp.EvalAwaitPromise)))(t)
	wantFields(t, got, map[string]any{
		"session": session, "sequence": 1.0, "queued": 1.0, "error": errEmptyImage.Error(), "image": "first",
		"statuses": "200 200 200 400 200", "headers": "1 2 ", "late": false,
	})
}

// The page of the demo moves, as seen on the screen, also where everything is
// closed.
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
			p := startServer(t, "demo", append(vars, "TEST_INTERVAL=0.3")...)
			page := openPage(t, "http://"+p.addr+"/")
			awaitMoving(t, 3, func() int {
				screen := must(chromedp.Run(page, chromedp.Screenshot(chromedp.CSS("img"))))(t)
				return numberOf(must(png.Decode(bytes.NewReader(screen)))(t).At(4, 4))
			})
			if log := p.log.String(); strings.Contains(log, "signature") {
				t.Errorf("a link is in the log: %s", log)
			}
		})
	}
}

// A prefetch is refused, and the image is there for the real use of its URL.
func TestBrowserPrefetches(t *testing.T) {
	t.Parallel()
	p, session := startServer(t, "", "LOG_LEVEL=debug"), newSession()
	p.do(t, "POST", "/image/"+session, bytes.NewReader(numberedJPEG(7, 160, 90))).wantStatus(t, 200)
	url := "http://" + p.addr + "/image/" + session
	page := openElsewhere(t, fmt.Sprintf(`<link rel="prefetch" href="%s" crossorigin="anonymous"><img crossorigin="anonymous">`, url))
	p.log.await(t, "status=403")
	must(chromedp.Run(page, chromedp.Evaluate[string](fmt.Sprintf(`document.querySelector('img').src = '%s'`, url))))(t)
	eventually(t, func() bool { return pictureOn(t, page) == 7 })
}

// Images are shown where they are opened by themselves, and what only claims to be
// one runs no script, whatever it holds.
func TestBrowserRunsNothing(t *testing.T) {
	t.Parallel()
	p, session := startServer(t, ""), newSession()
	send := func(body string) {
		p.do(t, "POST", "/image/"+session, strings.NewReader(body), "Content-Type: text/html").wantStatus(t, 200)
	}
	send(string(numberedJPEG(7, 160, 90)))
	for _, route := range []string{"/snapshot/", "/stream/", "/image/"} {
		page := openElsewhere(t, "") // a stream is never loaded to its end: it comes later
		must(chromedp.Run(page, chromedp.Evaluate[string](fmt.Sprintf(
			`document.body.innerHTML = '<iframe width="160" height="90" style="border: 0" src="http://%s%s%s"></iframe>'`, p.addr, route, session))))(t)
		eventually(t, func() bool {
			screen, err := chromedp.Run(page, chromedp.Screenshot(chromedp.CSS("iframe")))
			return err == nil && numberOf(must(png.Decode(bytes.NewReader(screen)))(t).At(4, 4)) == 7 // else it is just coming
		})
	}
	for _, script := range []string{
		"<!doctype html><script>document.title = 'run'</script>",
		`<svg xmlns="http://www.w3.org/2000/svg"><script>document.title = 'run'</script></svg>`,
	} {
		send(script)
		page := openPage(t, "http://"+p.addr+"/snapshot/"+session)
		got := must(chromedp.Run(page, chromedp.Evaluate[string](`document.title + ' ' + document.contentType`)))(t)
		if strings.HasPrefix(got, "run") || !strings.HasSuffix(got, "image/jpeg") {
			t.Errorf("%s: got title and type %q", script, got)
		}
	}
}
