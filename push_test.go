package main

import (
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/image-streamer/image-streamer/internal/relaytest"
	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// framings are the two ways in which HTTP says where a body ends.
var framings = map[string]func(body string) io.Reader{"sized": sized, "chunked": relaytest.Chunked}

func everyByte() string {
	var all []byte
	for i := range 256 {
		all = append(all, byte(i))
	}
	return string(all)
}

// An image is stored to the letter, whatever its bytes, its declared type and the query are.
func TestPush(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		for _, method := range []string{"POST", "PUT"} {
			for how, framed := range framings {
				id := session.New()
				for i, row := range []struct{ body, header, query string }{
					{"no type", "X-None: 0", ""},
					{everyByte(), "Content-Type: application/octet-stream", "?1595805826022"},
					{"a=b&c=%zz&token=1", "Content-Type: application/x-www-form-urlencoded", "?_cb=1"},
					{"\xff\xd8\xff image", "Content-Type: image/jpg", "?a=%zz;&=&session=other"},
					{relaytest.Form("image"), "Content-Type: text/plain", ""},
					{"{}", "Content-Type: application/json", ""},
					{"nonsense type", "Content-Type: ;;/", ""},
					{"\x00", "Content-Encoding: identity", ""},
					{"\r\n\r\n", "Content-Type: text/html", ""},
					{strings.Repeat("\x00jpeg\xff", mebi/6), "Content-Type: image/jpeg", ""},
				} {
					got := s.Do(t, method, "/image/"+id+row.query, framed(row.body), row.header).WantStatus(t, 200)
					if got.Text != "" || got.Header.Get("Content-Length") != "0" {
						t.Errorf("%s %s %d: got %q, want an empty body", method, how, i, got.Text)
					}
					if image := s.Take(t, id); string(image.Data) != row.body {
						t.Errorf("%s %s %d: stored %.99q, want %.99q", method, how, i, image.Data, row.body)
					}
				}
				s.WantEmpty(t, id)
			}
		}
	})
}

func TestPushAnswersJSON(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		id := session.New()
		for i, row := range []struct{ path, contentType, body string }{
			{"/image/", "image/jpeg", "image"},
			{"/imageForm/", relaytest.FormType, relaytest.Form("image")},
			{"/image/", "image/jpeg", "3"},
		} {
			got := s.Do(t, "POST", row.path+id, sized(row.body), "Accept: text/plain, application/json;q=0.5",
				"Content-Type: "+row.contentType).WantStatus(t, 200)
			var fields struct {
				Session          string
				Sequence, Queued int
			}
			decoder := json.NewDecoder(strings.NewReader(got.Text))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(&fields); err != nil || fields.Session != id ||
				fields.Sequence != i+1 || fields.Queued != i+1 {
				t.Errorf("push %d: got %q, error %v, want %s, %d, %d", i, got.Text, err, id, i+1, i+1)
			}
			if got.Header.Get("Content-Type") != "application/json" {
				t.Errorf("push %d: got Content-Type %q", i, got.Header.Get("Content-Type"))
			}
		}
	})
}

// The largest image allowed is stored, one byte more is not.
func TestPushSize(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		id := session.New()
		for _, row := range []struct {
			path, contentType string
			wrap              func(string) string
		}{
			{"/image/", "image/jpeg", func(image string) string { return image }},
			{"/imageForm/", relaytest.FormType, relaytest.Form},
		} {
			for how, framed := range framings {
				for _, over := range []int{1, mebi / 2, 3 * mebi, 0} {
					image := strings.Repeat("x", mebi+over)
					want := http.StatusRequestEntityTooLarge
					if over == 0 {
						want = http.StatusOK
					}
					got := s.Do(t, "POST", row.path+id, framed(row.wrap(image)), "Content-Type: "+row.contentType)
					if got.StatusCode != want || over > 0 && !strings.Contains(got.Text, "1048576 bytes") {
						t.Errorf("%s %s, %d over: got %d, %s, want %d",
							row.path, how, over, got.StatusCode, got.Text, want)
					}
				}
				if image := s.Take(t, id); len(image.Data) != mebi {
					t.Errorf("%s %s: stored %d bytes", row.path, how, len(image.Data))
				}
				s.WantEmpty(t, id)
			}
		}
	})
}

// A body that is not a whole image is refused, and nothing of it is stored.
func TestPushRefused(t *testing.T) {
	t.Parallel()
	const (
		form    = "Content-Type: " + relaytest.FormType + "\r\n"
		chunked = "Transfer-Encoding: chunked\r\n"
	)
	oneFile := relaytest.Form("image")
	inChunks := func(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }
	onEngines(t, func(t *testing.T, s *testServer) {
		for _, row := range []struct {
			name, path, version, headers, body string
			cut                                bool
			status                             int
		}{
			{"empty", "/image/", "1.1", "Content-Length: 0\r\n", "", false, 400},
			{"empty in chunks", "/image/", "1.1", chunked, "0\r\n\r\n", false, 400},
			{"empty form", "/imageForm/", "1.1", form + "Content-Length: 0\r\n", "", false, 400},
			{"no length", "/image/", "1.1", "", "", false, 411},
			{"no length but a body", "/image/", "1.1", "", "image", false, 411},
			{"no length, HTTP/1.0", "/image/", "1.0", "", "image", true, 411},
			{"in chunks, HTTP/1.0", "/image/", "1.0", chunked, inChunks("image") + "0\r\n\r\n", false, 411},
			{"no length, form", "/imageForm/", "1.1", form, "", false, 411},
			{"cut by length", "/image/", "1.1", "Content-Length: 100\r\n", "half", true, 400},
			{"cut by one byte", "/image/", "1.1", "Content-Length: 5\r\n", "half", true, 400},
			{"nothing came", "/image/", "1.1", "Content-Length: 5\r\n", "", true, 400},
			{"cut by length, HTTP/1.0", "/image/", "1.0", "Content-Length: 100\r\n", "half", true, 400},
			{"no last chunk", "/image/", "1.1", chunked, inChunks("image"), true, 400},
			{"half a chunk", "/image/", "1.1", chunked, inChunks("image") + "5\r\nha", true, 400},
			{"malformed chunk size", "/image/", "1.1", chunked, inChunks("image") + "zz\r\n", true, 400},
			{
				"form cut in its image", "/imageForm/", "1.1", form + "Content-Length: 999\r\n",
				oneFile[:len(oneFile)-9], true, 400,
			},
			{
				"form cut behind its end", "/imageForm/", "1.1", form + "Content-Length: 999\r\n",
				oneFile, true, 400,
			},
			{"form without a last chunk", "/imageForm/", "1.1", form + chunked, inChunks(oneFile), true, 400},
			{"too large, and not sent", "/image/", "1.1", "Content-Length: 1048577\r\n", "", false, 413},
			{
				"too large, and asks first", "/image/", "1.1",
				"Content-Length: 1048577\r\nExpect: 100-continue\r\n", "", false, 413,
			},
			{"far too large", "/image/", "1.1", "Content-Length: 9223372036854775807\r\n", "", false, 413},
			{
				"too large a form, and not sent", "/imageForm/", "1.1",
				form + "Content-Length: 9999999\r\n", "", false, 413,
			},
		} {
			id := session.New()
			got := s.Raw(t, fmt.Sprintf("POST %s%s HTTP/%s\r\nHost: x\r\n%s\r\n%s",
				row.path, id, row.version, row.headers, row.body), row.cut)
			if got.StatusCode != row.status {
				t.Errorf("%s: got status %d, %s, want %d", row.name, got.StatusCode, got.Text, row.status)
			}
			s.WantEmpty(t, id)
		}
	})
}

// Cameras in the field make mistakes that cost no byte of the image: their images are stored.
func TestPushToleratesMistakes(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{
		"line ends after the body": "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nimage\r\n\r\n",
		"chunked and a length": "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n" +
			"5\r\nimage\r\n0\r\n\r\n",
		"the length twice":           "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nimage",
		"HTTP/1.0":                   "POST %s HTTP/1.0\r\nContent-Length: 5\r\n\r\nimage",
		"HTTP/1.0 that is kept open": "POST %s HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nimage",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onEngines(t, func(t *testing.T, s *testServer) {
				id := session.New()
				requests := fmt.Sprintf(request, "/image/"+id)
				if name != "HTTP/1.0" {
					requests += requests // the connection goes on
				}
				s.Raw(t, requests, false).WantStatus(t, 200)
				testkit.Eventually(t, func() bool { return s.Len(t, id) == strings.Count(requests, "POST") })
				if image := s.Take(t, id); string(image.Data) != "image" {
					t.Errorf("stored %q", image.Data)
				}
			})
		})
	}
}

// A form is accepted if it is whole and has exactly one file, which is not empty.
func TestPushForm(t *testing.T) {
	t.Parallel()
	const (
		form   = relaytest.FormType
		end    = "--b--\r\n"
		binary = "Content-Type: application/octet-stream\r\n"
	)
	part, oneFile := relaytest.FormPart, relaytest.Form("image")
	text := part(`form-data; name="text"`, "", "not an image") +
		part(`form-data; name="n"`, "Content-Type: text/plain\r\n", "2")
	file := part(`form-data; name="f"; filename="x.jpg"`, "", "image")
	noChoice := part(`form-data; name="g"; filename=""`, binary, "")
	onEngines(t, func(t *testing.T, s *testServer) {
		for _, row := range []struct {
			name, contentType, body string
			status                  int
		}{
			{"plain", form, oneFile, 200},
			{
				"another field name", form,
				part(`form-data; name="imageFile"; filename="x"`, binary, "image") + end, 200,
			},
			{"no field name", form, part(`form-data; filename="x"`, "", "image") + end, 200},
			{
				"odd file name", form,
				part(`form-data; name="f"; filename="C:\\a b\\snäp ../../1.jpg"`, "", "image") + end, 200,
			},
			{
				"encoded file name", form,
				part(`form-data; name="f"; filename*=UTF-8''sn%C3%A4p.jpg`, "", "image") + end, 200,
			},
			{
				"type of a text", form,
				part(`form-data; name="f"; filename="x"`, "Content-Type: text/html\r\n", "image") + end, 400,
			},
			{
				"image without a file name", form,
				part(`form-data; name="f"`, "Content-Type: image/jpeg\r\n", "image") + end, 200,
			},
			{"text fields before", form, text + file + end, 200},
			{"text fields after", form, file + text + end, 200},
			{"text fields around", form, text + file + text + end, 200},
			{"words around the form", form, "preamble\r\n" + file + "--b--\r\nepilogue", 200},
			{"quoted boundary", `multipart/form-data; charset=utf-8; boundary="b"`, oneFile, 200},
			{"upper case type", "Multipart/Form-Data; Boundary=b", oneFile, 200},
			{"empty file input beside", form, noChoice + file + end, 200},
			{"second file", form, file + file + end, 400},
			{"second file behind text", form, file + text + file + end, 400},
			{"second file, empty", form, file + part(`form-data; name="g"; filename="y"`, "", "") + end, 400},
			{"no file", form, text + end, 400},
			{"no part", form, end, 400},
			{"empty file", form, part(`form-data; name="f"; filename="x"`, "", "") + end, 400},
			{"empty file input", form, noChoice + end, 400},
			{"no last boundary", form, file, 400},
			{"no last boundary behind text", form, file + text, 400},
			{"last boundary cut", form, file + "--b-", 400},
			{"another boundary", "multipart/form-data; boundary=c", oneFile, 200},
			{"no boundary", "multipart/form-data", oneFile, 200},
			{"empty boundary", `multipart/form-data; boundary=""`, oneFile, 200},
			{"malformed type", "multipart/form-data; boundary", oneFile, 200},
			{"RFC 1867's comma", "multipart/form-data, boundary=b", oneFile, 200},
			{"no boundary at all", "multipart/form-data", "image", 400},
			{"malformed part", form, "--b\r\nno header\r\n\r\nimage\r\n" + end, 400},
			{"not a form at all", form, "image", 400},
			{"no type", "", oneFile, 415},
			{"an image", "image/jpeg", "image", 415},
			{"curl's default", "application/x-www-form-urlencoded", "a=b", 415},
			{"another multipart", "multipart/mixed; boundary=b", oneFile, 415},
		} {
			id := session.New()
			got := s.Do(t, "POST", "/imageForm/"+id+"?_cb=1", sized(row.body), "Content-Type: "+row.contentType)
			if got.StatusCode != row.status {
				t.Errorf("%s: got status %d, %s, want %d", row.name, got.StatusCode, got.Text, row.status)
			}
			if got.StatusCode == 200 {
				if image := s.Take(t, id); string(image.Data) != "image" || got.Text != "" {
					t.Errorf("%s: stored %q, answered %q", row.name, image.Data, got.Text)
				}
			}
			s.WantEmpty(t, id)
		}
	})
}

// A body that says it is multipart, or a part of something, is no image.
func TestPushOfParts(t *testing.T) {
	t.Parallel()
	const whole, form = "Content-Range: bytes 0-4/5", "Content-Type: " + relaytest.FormType
	onEngines(t, func(t *testing.T, s *testServer) {
		for _, row := range []struct {
			path, body string
			headers    []string
			status     int
			text       string
		}{
			{"/image/", relaytest.Form("image"), []string{form}, 415, "/imageForm/{session} takes a form"},
			{"/image/", relaytest.Part("image"), []string{"Content-Type: Multipart/X-Mixed-Replace"}, 415, "/stream/{session}"},
			{"/image/", "image", []string{"Content-Type: multipartx"}, 200, ""},
			{"/image/", "image", []string{whole}, 200, ""},
			{"/image/", "image", []string{"Content-Range: bytes 5-9/10"}, 400, "such as bytes 0-99/100"},
			{"/image/", "image", []string{"Content-Range: bytes 0-4/10"}, 400, "the whole image"},
			{"/image/", "image", []string{"Content-Range: bytes 0-4/*"}, 400, "the whole image"},
			{"/image/", "image", []string{"Content-Range: nonsense"}, 400, "the whole image"},
			{"/imageForm/", relaytest.Form("image"), []string{form, whole}, 200, ""},
			{"/imageForm/", relaytest.Form("image"), []string{form, "Content-Range: bytes 5-9/10"}, 400, "the whole image"},
			{"/stream/", relaytest.Part("image"), []string{"Content-Range: bytes 5-9/10"}, 400, "the whole image"},
		} {
			for _, method := range []string{"POST", "PUT"} {
				if method == "PUT" && row.path == "/imageForm/" {
					continue
				}
				id := session.New()
				got := s.Do(t, method, row.path+id, sized(row.body), row.headers...)
				if got.StatusCode != row.status || !strings.Contains(got.Text, row.text) {
					t.Errorf("%s %s, %q: got status %d, %s, want %d, %q",
						method, row.path, row.headers, got.StatusCode, got.Text, row.status, row.text)
				}
				if n := s.Len(t, id); n != map[bool]int{true: 1}[row.status == 200] {
					t.Errorf("%s %s, %q: %d images stored", method, row.path, row.headers, n)
				}
			}
		}
	})
}

// encodings write a body with a Content-Encoding.
var encodings = map[string]func(io.Writer) io.WriteCloser{
	"gzip":   func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
	"X-GZIP": func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
	"identity, deflate": func(w io.Writer) io.WriteCloser {
		return zlib.NewWriter(w)
	},
	"deflate": func(w io.Writer) io.WriteCloser {
		raw, _ := flate.NewWriter(w, flate.DefaultCompression)
		return raw
	},
}

func encoded(t testing.TB, encoding, body string) string {
	t.Helper()
	var out strings.Builder
	w := encodings[encoding](&out)
	testkit.Must(io.WriteString(w, body))(t)
	w.Close()
	return out.String()
}

// A body with a Content-Encoding is stored without it, within the limits of the image.
func TestPushContentEncoding(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		image := string(noDataJPEG(64, 36))
		for _, way := range waysToSend {
			id := session.New()
			send := func(encoding, body string) relaytest.Response {
				return s.Do(t, "POST", way.path+id, way.framed(body),
					"Content-Type: "+way.contentType, "Content-Encoding: "+encoding)
			}
			for encoding := range encodings {
				body := encoded(t, encoding, way.body(image))
				send(encoding, body).WantStatus(t, 200)
				if got := s.Take(t, id); string(got.Data) != image {
					t.Errorf("%s, %s: stored %d bytes, want %d", way.name, encoding, len(got.Data), len(image))
				}
				send(encoding, body[:len(body)-3]).WantStatus(t, 400)
				send(encoding, body+"more").WantStatus(t, 400)
				for s.Len(t, id) > 0 { // a stream keeps what was whole before the fault
					s.Take(t, id)
				}
				bomb := encoded(t, encoding, way.body(string(noDataJPEG(64, 36))[:20]+strings.Repeat("\x00", 3*mebi)))
				if got := send(encoding, bomb).WantStatus(t, 413); !strings.Contains(got.Text, "1048576 bytes") {
					t.Errorf("%s, %s: got %s", way.name, encoding, got.Text)
				}
			}
			for _, encoding := range []string{"br", "gzip, gzip", "nonsense"} {
				if got := send(encoding, "x").WantStatus(t, 415); !strings.Contains(got.Text, "gzip, deflate and identity") {
					t.Errorf("%s, %s: got %s", way.name, encoding, got.Text)
				}
			}
			s.WantEmpty(t, id)
		}
	})
}

// An image that is sent as text is stored as the bytes that it stands for. Their number has to be within the limit.
func TestPushText(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, s *testServer) {
		id := session.New()
		largest := strings.Repeat("\xff\xd8\xff", mebi/3) + "\x00"
		inBase64 := func(image string) string { return base64.StdEncoding.EncodeToString([]byte(image)) }
		url := func(image string) string { return "data:image/jpeg;base64," + inBase64(image) }
		const plain, binary, by = "text/plain;charset=UTF-8", "image/jpeg", "Content-Transfer-Encoding: base64"
		for _, row := range []struct {
			body, contentType, header, want string
			status                          int
		}{
			{url("image"), plain, "X-None: 0", "image", 200},
			{url("image"), binary, "X-None: 0", "image", 200},
			{url("image"), "application/x-www-form-urlencoded", "X-None: 0", "image", 200},
			{url(largest), plain, "X-None: 0", largest, 200},
			{url(largest + "x"), plain, "X-None: 0", "1048576 bytes", 413},
			{"data:image/png,%89PNG", plain, "X-None: 0", "not in base64", 400},
			{"data: image", plain, "X-None: 0", "data: image", 200},
			{inBase64("image"), binary, by, "image", 200},
			{inBase64(largest), binary, by, largest, 200},
			{"image!", binary, by, "base64", 400},
		} {
			for how, framed := range framings {
				got := s.Do(t, "POST", "/image/"+id, framed(row.body), "Content-Type: "+row.contentType, row.header)
				text := got.Text
				if got.StatusCode == 200 {
					text = string(s.Take(t, id).Data)
				}
				if got.StatusCode != row.status || !strings.Contains(text, row.want) || row.status == 200 && text != row.want {
					t.Errorf("%s, %.50s, %s: got status %d, %.99q, want %d, %.50q",
						how, row.body, row.contentType, got.StatusCode, text, row.status, row.want)
				}
			}
		}
		s.WantEmpty(t, id)
	})
}
