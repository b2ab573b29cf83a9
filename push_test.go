package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const mebi = 1 << 20 // the MAX_IMAGE_BYTES of these tests

// chunked hides a body's length, so that it is sent in chunks.
func chunked(body string) io.Reader { return io.MultiReader(strings.NewReader(body)) }

func sized(body string) io.Reader { return strings.NewReader(body) }

func everyByte() string {
	var all []byte
	for i := range 256 {
		all = append(all, byte(i))
	}
	return string(all)
}

func TestPush(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		for _, method := range []string{"POST", "PUT"} {
			for how, framed := range map[string]func(string) io.Reader{"sized": sized, "chunked": chunked} {
				session := newSession()
				for i, row := range []struct{ body, header, query string }{
					{"no type", "X-None: 0", ""},
					{everyByte(), "Content-Type: application/octet-stream", "?1595805826022"},
					{"a=b&c=%zz&token=1", "Content-Type: application/x-www-form-urlencoded", "?_cb=1"},
					{"\xff\xd8\xff image", "Content-Type: image/jpg", "?a=%zz;&=&session=other"},
					{oneFileForm, "Content-Type: multipart/form-data; boundary=b", ""},
					{"{}", "Content-Type: application/json", ""},
					{"nonsense type", "Content-Type: ;;/", ""},
					{"\x00", "Content-Encoding: gzip", ""},
					{"\r\n\r\n", "Content-Type: text/html", ""},
					{strings.Repeat("\x00jpeg\xff", mebi/6), "Content-Type: image/jpeg", ""},
				} {
					got := s.do(t, method, "/image/"+session+row.query, framed(row.body), row.header).wantStatus(t, 200)
					if got.body != "" || got.Header.Get("Content-Length") != "0" {
						t.Errorf("%s %s %d: got %q, want an empty body", method, how, i, got.body)
					}
					if image := s.take(t, session); string(image.data) != row.body {
						t.Errorf("%s %s %d: stored %.99q, want %.99q", method, how, i, image.data, row.body)
					}
				}
				s.wantEmpty(t, session)
			}
		}
	})
}

func TestPushAnswersJSON(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, s *site) {
		session := newSession()
		for i, row := range []struct{ path, body string }{{"/image/", "image"}, {"/imageForm/", oneFileForm}, {"/image/", "3"}} {
			got := s.do(t, "POST", row.path+session, sized(row.body),
				"Accept: text/plain, application/json;q=0.5", "Content-Type: multipart/form-data; boundary=b").wantStatus(t, 200)
			var fields struct {
				Session          string
				Sequence, Queued int
			}
			decoder := json.NewDecoder(strings.NewReader(got.body))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(&fields); err != nil || fields.Session != session || fields.Sequence != i+1 || fields.Queued != i+1 {
				t.Errorf("push %d: got %q, error %v, want %s, %d, %d", i, got.body, err, session, i+1, i+1)
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
	onSites(t, func(t *testing.T, s *site) {
		session := newSession()
		for _, row := range []struct {
			path string
			wrap func(string) string
		}{
			{"/image/", func(image string) string { return image }},
			{"/imageForm/", formWith},
		} {
			for how, framed := range map[string]func(string) io.Reader{"sized": sized, "chunked": chunked} {
				for _, over := range []int{1, mebi / 2, 3 * mebi, 0} {
					image := strings.Repeat("x", mebi+over)
					want := http.StatusRequestEntityTooLarge
					if over == 0 {
						want = http.StatusOK
					}
					got := s.do(t, "POST", row.path+session, framed(row.wrap(image)), "Content-Type: multipart/form-data; boundary=b")
					if got.StatusCode != want || over > 0 && !strings.Contains(got.body, "1048576 bytes") {
						t.Errorf("%s %s, %d over: got %d, %s, want %d", row.path, how, over, got.StatusCode, got.body, want)
					}
				}
				if image := s.take(t, session); len(image.data) != mebi {
					t.Errorf("%s %s: stored %d bytes", row.path, how, len(image.data))
				}
				s.wantEmpty(t, session)
			}
		}
	})
}

// raw sends bytes as they stand and reads the answer. With cut it then closes
// its half of the connection, as a device does that gives up.
func (s *site) raw(t testing.TB, request string, cut bool) response {
	t.Helper()
	conn := s.dial(t)
	must(io.WriteString(conn, request))(t)
	if cut {
		conn.CloseWrite()
	}
	return received(t, must(http.ReadResponse(bufio.NewReader(conn), nil))(t), "POST")
}

// None of these is a whole image: each is refused, and nothing is stored.
func TestPushRefused(t *testing.T) {
	t.Parallel()
	const form = "Content-Type: multipart/form-data; boundary=b\r\n"
	inChunks := func(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }
	onSites(t, func(t *testing.T, s *site) {
		for _, row := range []struct {
			name, line, headers, body string
			cut                       bool
			status                    int
		}{
			{"empty", "/image/%s HTTP/1.1", "Content-Length: 0\r\n", "", false, 400},
			{"empty in chunks", "/image/%s HTTP/1.1", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n", false, 400},
			{"empty form", "/imageForm/%s HTTP/1.1", form + "Content-Length: 0\r\n", "", false, 400},
			{"no length", "/image/%s HTTP/1.1", "", "", false, 411},
			{"no length but a body", "/image/%s HTTP/1.1", "", "image", false, 411},
			{"no length, HTTP/1.0", "/image/%s HTTP/1.0", "", "image", true, 411},
			{"no length, form", "/imageForm/%s HTTP/1.1", form, "", false, 411},
			{"cut by length", "/image/%s HTTP/1.1", "Content-Length: 100\r\n", "half", true, 400},
			{"cut by one byte", "/image/%s HTTP/1.1", "Content-Length: 5\r\n", "half", true, 400},
			{"nothing came", "/image/%s HTTP/1.1", "Content-Length: 5\r\n", "", true, 400},
			{"cut by length, HTTP/1.0", "/image/%s HTTP/1.0", "Content-Length: 100\r\n", "half", true, 400},
			{"no last chunk", "/image/%s HTTP/1.1", "Transfer-Encoding: chunked\r\n", inChunks("image"), true, 400},
			{"half a chunk", "/image/%s HTTP/1.1", "Transfer-Encoding: chunked\r\n", inChunks("image") + "5\r\nha", true, 400},
			{"chunk size that is none", "/image/%s HTTP/1.1", "Transfer-Encoding: chunked\r\n", inChunks("image") + "zz\r\n", true, 400},
			{"form cut in its image", "/imageForm/%s HTTP/1.1", form + "Content-Length: 999\r\n", oneFileForm[:len(oneFileForm)-9], true, 400},
			{"form cut behind its end", "/imageForm/%s HTTP/1.1", form + "Content-Length: 999\r\n", oneFileForm, true, 400},
			{"form without a last chunk", "/imageForm/%s HTTP/1.1", form + "Transfer-Encoding: chunked\r\n", inChunks(oneFileForm), true, 400},
			{"too large, and not sent", "/image/%s HTTP/1.1", "Content-Length: 1048577\r\n", "", false, 413},
			{"too large, and asks first", "/image/%s HTTP/1.1", "Content-Length: 1048577\r\nExpect: 100-continue\r\n", "", false, 413},
			{"far too large", "/image/%s HTTP/1.1", "Content-Length: 9223372036854775807\r\n", "", false, 413},
			{"too large a form, and not sent", "/imageForm/%s HTTP/1.1", form + "Content-Length: 9999999\r\n", "", false, 413},
		} {
			session := newSession()
			got := s.raw(t, fmt.Sprintf("POST "+row.line+"\r\nHost: x\r\n%s\r\n%s", session, row.headers, row.body), row.cut)
			if got.StatusCode != row.status {
				t.Errorf("%s: got status %d, %s, want %d", row.name, got.StatusCode, got.body, row.status)
			}
			s.wantEmpty(t, session)
		}
	})
}

// What cameras in the field get wrong without losing a byte of the image.
func TestPushSloppy(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{
		"line ends after the body":   "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nimage\r\n\r\n",
		"chunked and a length":       "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nimage\r\n0\r\n\r\n",
		"the length twice":           "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nimage",
		"HTTP/1.0":                   "POST %s HTTP/1.0\r\nContent-Length: 5\r\n\r\nimage",
		"HTTP/1.0 that is kept open": "POST %s HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nimage",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onSites(t, func(t *testing.T, s *site) {
				session := newSession()
				request := fmt.Sprintf(request, "/image/"+session)
				if name != "HTTP/1.0" {
					request += request // the connection goes on
				}
				s.raw(t, request, false).wantStatus(t, 200)
				eventually(t, func() bool { return s.length(t, session) == strings.Count(request, "POST") })
				if image := s.take(t, session); string(image.data) != "image" {
					t.Errorf("stored %q", image.data)
				}
			})
		})
	}
}

// A part of a form, and forms of the boundary b.
func part(disposition, more, body string) string {
	return "--b\r\nContent-Disposition: " + disposition + "\r\n" + more + "\r\n" + body + "\r\n"
}

func formWith(image string) string {
	return part(`form-data; name="f"; filename="x.jpg"`, "Content-Type: image/jpeg\r\n", image) + "--b--\r\n"
}

var oneFileForm = formWith("image")

func TestPushForm(t *testing.T) {
	t.Parallel()
	const form = "multipart/form-data; boundary=b"
	text := part(`form-data; name="text"`, "", "not an image") + part(`form-data; name="n"`, "Content-Type: text/plain\r\n", "2")
	file := part(`form-data; name="f"; filename="x.jpg"`, "", "image")
	const end = "--b--\r\n"
	onSites(t, func(t *testing.T, s *site) {
		for _, row := range []struct {
			name, kind, body string
			status           int
		}{
			{"plain", form, oneFileForm, 200},
			{"another field name", form, part(`form-data; name="imageFile"; filename="x"`, "Content-Type: application/octet-stream\r\n", "image") + end, 200},
			{"no field name", form, part(`form-data; filename="x"`, "", "image") + end, 200},
			{"odd file name", form, part(`form-data; name="f"; filename="C:\\a b\\snäp ../../1.jpg"`, "", "image") + end, 200},
			{"encoded file name", form, part(`form-data; name="f"; filename*=UTF-8''sn%C3%A4p.jpg`, "", "image") + end, 200},
			{"type of a text", form, part(`form-data; name="f"; filename="x"`, "Content-Type: text/html\r\n", "image") + end, 200},
			{"image without a file name", form, part(`form-data; name="f"`, "Content-Type: image/jpeg\r\n", "image") + end, 200},
			{"text fields before", form, text + file + end, 200},
			{"text fields after", form, file + text + end, 200},
			{"text fields around", form, text + file + text + end, 200},
			{"words around the form", form, "preamble\r\n" + file + "--b--\r\nepilogue", 200},
			{"quoted boundary", `multipart/form-data; charset=utf-8; boundary="b"`, oneFileForm, 200},
			{"upper case type", "Multipart/Form-Data; Boundary=b", oneFileForm, 200},
			{"empty file input beside", form, part(`form-data; name="g"; filename=""`, "Content-Type: application/octet-stream\r\n", "") + file + end, 200},
			{"second file", form, file + file + end, 400},
			{"second file behind text", form, file + text + file + end, 400},
			{"second file, empty", form, file + part(`form-data; name="g"; filename="y"`, "", "") + end, 400},
			{"no file", form, text + end, 400},
			{"no part", form, end, 400},
			{"empty file", form, part(`form-data; name="f"; filename="x"`, "", "") + end, 400},
			{"empty file input", form, part(`form-data; name="f"; filename=""`, "Content-Type: application/octet-stream\r\n", "") + end, 400},
			{"no last boundary", form, file, 400},
			{"no last boundary behind text", form, file + text, 400},
			{"last boundary cut", form, file + "--b-", 400},
			{"another boundary", "multipart/form-data; boundary=c", oneFileForm, 400},
			{"no boundary", "multipart/form-data", oneFileForm, 400},
			{"empty boundary", `multipart/form-data; boundary=""`, oneFileForm, 400},
			{"malformed type", "multipart/form-data; boundary", oneFileForm, 400},
			{"malformed part", form, "--b\r\nno header\r\n\r\nimage\r\n" + end, 400},
			{"not a form at all", form, "image", 400},
			{"no type", "", oneFileForm, 415},
			{"an image", "image/jpeg", "image", 415},
			{"curl's default", "application/x-www-form-urlencoded", "a=b", 415},
			{"another multipart", "multipart/mixed; boundary=b", oneFileForm, 415},
		} {
			session := newSession()
			got := s.do(t, "POST", "/imageForm/"+session+"?_cb=1", sized(row.body), "Content-Type: "+row.kind)
			if got.StatusCode != row.status {
				t.Errorf("%s: got status %d, %s, want %d", row.name, got.StatusCode, got.body, row.status)
			}
			if got.StatusCode == 200 {
				if image := s.take(t, session); string(image.data) != "image" || got.body != "" {
					t.Errorf("%s: stored %q, answered %q", row.name, image.data, got.body)
				}
			}
			s.wantEmpty(t, session)
		}
	})
}

// FuzzForm holds readForm against a reader that keeps every part: what it returns
// is the only file of a form that is whole, and what it refuses is the client's fault.
func FuzzForm(f *testing.F) {
	file := part(`form-data; name="f"; filename="x"`, "", "image")
	for _, seed := range []string{
		oneFileForm, file + file + "--b--", file, "--b--", "", "--b\r\n\r\n\r\n--b--", "--b\n\nimage\n--b--",
		part("form-data", "Content-Type: image/png\r\n", "\x00") + "--b--\r\n", "junk\r\n" + file + "--b--junk",
		part(`form-data; filename="x"`, "Content-Transfer-Encoding: quoted-printable\r\n", "=41=") + "--b--\r\n",
	} {
		f.Add(seed, "multipart/form-data; boundary=b")
	}
	f.Add("--c\r\n", `multipart/form-data; boundary="`)
	const most = 1 << 10
	f.Fuzz(func(t *testing.T, body, kind string) {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Header.Set("Content-Type", kind)
		r.Header.Set("Content-Length", fmt.Sprint(len(body)))
		image, err := readForm(recorder{httptest.NewRecorder()}, r, most, testUpload(t, bytesOf))
		if err != nil {
			refused, ok := errors.AsType[*refusal](err)
			if !ok || refused.status < 400 || refused.status > 499 || image != nil {
				t.Errorf("got %d bytes, error %v, want a refusal", len(image), err)
			}
			return
		}
		if parts := namedParts(t, body, kind); len(image) == 0 || len(image) > most || len(parts) > 1 ||
			len(parts) == 1 && !bytes.Equal(parts[0], image) {
			t.Errorf("got image %q, the named files are %q", image, parts)
		}
	})
}

// namedParts returns the parts that have a file name, of a form that must be whole.
func namedParts(t *testing.T, body, kind string) (parts [][]byte) {
	r := httptest.NewRequest("POST", "/", strings.NewReader(body))
	r.Header.Set("Content-Type", kind)
	form := must(r.MultipartReader())(t)
	for {
		p, err := form.NextPart()
		if err == io.EOF {
			return parts
		}
		if err != nil {
			t.Fatalf("accepted, but it is not whole: %v", err)
		}
		if data := must(io.ReadAll(p))(t); p.FileName() != "" {
			parts = append(parts, data)
		}
	}
}
