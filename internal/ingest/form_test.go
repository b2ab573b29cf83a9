package ingest

import (
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"runtime"
	"strings"
	"testing"
	"weak"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// readForm reads a form whose body has the size of the request.
func readForm(t testing.TB, body, contentType string, maxBytes int64) (file string, err error) {
	t.Helper()
	r := httptest.NewRequest("POST", "/", strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Content-Length", "1") // it has one, even if it is 0
	image, err := ReadForm(httptest.NewRecorder(), r, maxBytes, testUpload(t, bytesOf))
	return string(image), err
}

const formType = "multipart/form-data; boundary=b"

// The boundary of a form is found in all the ways in which senders write it.
func TestFormBoundaries(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ boundary, contentType string }{
		{"b", "multipart/form-data; boundary=b"},
		{"b", "Multipart/Form-Data ; Boundary = b ; charset=utf-8"},
		{"a=b/c:d?e", "multipart/form-data; boundary=a=b/c:d?e"},
		{"(a,b)", "multipart/form-data;boundary=(a,b)"},
		{"----x", "multipart/form-data; boundary=----x"},
		{"----x", "multipart/form-data; boundary=x"},
		{"--x", `multipart/form-data; boundary="------x`},
		{"AaB03x", "multipart/form-data, boundary=AaB03x"},
		{"b", "multipart/form-data"},
		{"b", "multipart/form-data; boundary"},
		{"b", `multipart/form-data; boundary=""`},
		{"b", "multipart/form-data; boundary=another"},
	} {
		for _, lineEnd := range []string{"\r\n", "\n"} {
			body := "--" + row.boundary + "\r\n" + attachment + "\r\nimage\r\n--" + row.boundary + "--\r\n"
			body = strings.ReplaceAll(body, "\r\n", lineEnd)
			if file, err := readForm(t, body, row.contentType, 99); file != "image" || err != nil {
				t.Errorf("%s, %q: got %q, error %v", row.contentType, body, file, err)
			}
		}
	}
}

// The file of a form is the one part that holds an image, by its name, its type or its first bytes.
func TestFormFile(t *testing.T) {
	t.Parallel()
	const end = "--b--\r\n"
	text := part(`form-data; name="note"`, "", "hello") + part(`form-data; name="n"`, "Content-Type: text/plain\r\n", "2")
	xml := part(`form-data; name="e"; filename="e.xml"`, "Content-Type: text/xml\r\n", "<event/>")
	raw := part(`form-data; name="r"; filename="r.raw"`, "Content-Type: application/x-raw\r\n", "raw")
	file := part(`form-data; name="f"; filename="f.jpg"`, "", "image")
	encoded := "Content-Transfer-Encoding: base64\r\n"
	text64 := inBase64("image")
	for _, row := range []struct {
		name, body string
		want       string // the file, or a part of the error
		status     int
	}{
		{"by its bytes", part(`form-data; name="f"`, "", photoA), photoA, 200},
		{
			"by its bytes, a type of text",
			part(`form-data; name="f"`, "Content-Type: text/plain\r\n", pngPhoto), pngPhoto, 200,
		},
		{"by an empty name", part(`form-data; name="f"; filename=""`, "", "image"), "image", 200},
		{"by its type", part(`form-data; name="f"`, "CONTENT-TYPE: IMAGE/JPEG\r\n", "image"), "image", 200},
		{"by bytes as its type", part(`form-data`, "Content-type: application/octet-stream; x\r\n", "image"), "image", 200},
		{"by filename*", part(`form-data; name="f"; filename*=utf-8''%e2%82%ac.jpg`, "", "image"), "image", 200},
		{"a name without quotes", part(`form-data; name=f; filename=a b (1).jpg`, "", "image"), "image", 200},
		{"a quote without an end", part(`form-data; name="f"; filename="a.jpg`, "", "image"), "image", 200},
		{"odd parameters", part(`form-data;; name; filename="a;b\"c.jpg"; =; x`, "", "image"), "image", 200},
		{"a folded line", part("form-data;\r\n\tname=\"f\";\r\n filename=\"f.jpg\"", "", "image"), "image", 200},
		{"no disposition, a type", "--b\r\nContent-Type: image/webp\r\n\r\nimage\r\n", "image", 200},
		{"a length that is wrong", part(`form-data; filename="x"`, "Content-Length: 2\r\n", "image"), "image", 200},
		{"beside a file that is no image", xml + file + xml, "image", 200},
		{"behind two files that are no images", xml + xml + file, "image", 200},
		{"no image, and no other file", text + xml + text, "no file", 400},
		{"of a type that is not known, and no other file", text + raw + text, "raw", 200},
		{"beside a file of a type that is not known", raw + file + raw, "image", 200},
		{"a JPEG that is cut", part(`form-data; filename="x"`, "", photoA[:20]), photoA[:20], 200},
		{
			"a JPEG with more behind it",
			part(`form-data; filename="x"`, "", photoA+"\r\nmore\r\n"), photoA + "\r\nmore\r\n", 200,
		},
		{
			"nested",
			text + "--b\r\nContent-Disposition: form-data; name=f\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n" +
				"--c\r\nContent-Disposition: file; filename=\"f.jpg\"\r\n\r\nimage\r\n--c--\r\n" + text, "image", 200,
		},
		{"base64", part(`form-data; filename="x"`, encoded, text64[:3]+"\r\n"+text64[3:]), "image", 200},
		{
			"base64, too large",
			part(`form-data; filename="x"`, encoded, inBase64(strings.Repeat("image", 300))), "allowed are 1024 bytes", 413,
		},
		{"base64 that is none", part(`form-data; filename="x"`, encoded, "image!"), "base64", 400},
		{"a data URL", part(`form-data; name="f"`, "", "data:image/png;base64,"+text64), "image", 200},
		{"two, by name and by type", file + part(`form-data`, "Content-Type: image/png\r\n", "x"), "second file", 400},
		{"two, by bytes", file + part(`form-data; name="f"`, "", photoA), "second file", 400},
		{"two files of a type that is not known", raw + raw, "second file", 400},
		{"only text", text, "no file", 400},
		{"a part that says nothing", "--b\r\nX: y\r\n\r\nimage\r\n", "no file", 400},
		{"an empty file", part(`form-data; filename="x"`, "", ""), "empty image", 400},
		{"too large", part(`form-data; filename="x"`, "", strings.Repeat("x", 1025)), "allowed are 1024 bytes", 413},
		{
			"a header too long",
			part(`form-data; filename="x"`, strings.Repeat("X: y\r\n", 2000), "x"),
			"one part is not understood (its header is longer than 8192 bytes)", 400,
		},
		{"a header of bytes", part("form-data; filename=\"\x00\"", "", "x"), "header is not text", 400},
		{"much besides", part(`form-data; name="x"`, "", strings.Repeat("x", 1<<20)) + file, "and 1.0 MiB besides", 413},
		{"much besides, behind", file + part(`form-data; name="x"`, "", strings.Repeat("x", 1<<20)), "1.0 MiB besides", 413},
	} {
		got, err := readForm(t, row.body+end, formType, 1<<10)
		if err != nil {
			got = err.Error()
		}
		if statusOf(err) != row.status || row.status == 200 && got != row.want || !strings.Contains(got, row.want) {
			t.Errorf("%s: got status %d, %.200q, want %d, %q", row.name, statusOf(err), got, row.status, row.want)
		}
	}
}

// Of a form one file is held at a time: its bytes are reserved for one.
func TestFormHoldsOneFile(t *testing.T) {
	t.Parallel()
	var first weak.Pointer[byte]
	calls := 0
	u := testUpload(t, func(size int) []byte {
		if calls++; calls == 2 {
			if runtime.GC(); first.Value() != nil {
				t.Error("the file that is no image is held")
			}
		}
		buffer := make([]byte, size)
		first = weak.Make(&buffer[0])
		return buffer
	})
	raw := part(`form-data; filename="x"`, "Content-Type: application/x-raw\r\n", strings.Repeat("1;2", 99))
	r := httptest.NewRequest("POST", "/", strings.NewReader(raw+formWith("image")))
	r.Header.Set("Content-Type", formType)
	if image, err := ReadForm(httptest.NewRecorder(), r, 1<<10, u); string(image) != "image" || calls != 2 || err != nil {
		t.Errorf("got %q, %d buffers, error %v", image, calls, err)
	}
}

// FuzzForm holds ReadForm to what is promised of all bodies: what it returns is in the form, and what it refuses is the
// fault of the client.
func FuzzForm(f *testing.F) {
	file := part(`form-data; name="f"; filename="x"`, "", "image")
	for _, seed := range []string{
		formWith("image"), file + file + "--b--", file, "--b--", "", "--b\r\n\r\n\r\n--b--", "--b\n\nimage\n--b--",
		part("form-data", "Content-Type: image/png\r\n", "\x00") + "--b--\r\n", "junk\r\n" + file + "--b--junk",
		part(`form-data; filename="x"`, "Content-Transfer-Encoding: base64\r\n", "aW1h\r\nZ2U=") + "--b--\r\n",
		part("form-data; name=a;\r\n filename*=x", "Content-Type: multipart/mixed; boundary=c\r\n", "--c\r\n\r\n"+photoA),
	} {
		f.Add(seed, formType)
	}
	f.Add("--c\r\n", `multipart/form-data; boundary="`)
	const maxBytes = 1 << 10
	f.Fuzz(func(t *testing.T, body, contentType string) {
		image, err := readForm(t, body, contentType, maxBytes)
		switch status := statusOf(err); {
		case err == nil && len(image) > 0 && len(image) <= maxBytes:
			wantOf(t, body, []string{image})
		case image != "" || status < 400 || status > 499:
			t.Errorf("got %d bytes, error %v, want an error of the client", len(image), err)
		}
	})
}

// FuzzFormAndStream holds ReadForm and Splitter to one another: a form with one file, as the standard library writes
// it, gives that file by both, however it arrives.
func FuzzFormAndStream(f *testing.F) {
	for _, image := range []string{
		photoA, photoB + "\r\n", preview[:30], pngPhoto, "image", "\r\n--b\r\n\r\n", "\n", mpo(3, photoA, odd),
	} {
		f.Add(image, "f.jpg", "image/jpeg", "hello")
		f.Add(image, `"; name=";`, "", "\r\n--")
	}
	f.Add("x", "", "application/octet-stream", "")
	f.Fuzz(func(t *testing.T, image, name, mimeType, note string) {
		header := partHeader{length: unknownLength}
		var body strings.Builder
		form := multipart.NewWriter(&body)
		form.WriteField("note", note)
		fields := textproto.MIMEHeader{"Content-Disposition": {multipart.FileContentDisposition("f", name)}}
		if mimeType != "" {
			fields.Set("Content-Type", mimeType)
			header.addType(mimeType)
		}
		io.WriteString(testkit.Must(form.CreatePart(fields))(t), image)
		form.WriteField("note", note)
		form.Close()
		switch first := []byte(note); {
		case image == "" || len(image) > 1<<10 || isDataURL([]byte(image)), beginsAsImage(first), isDataURL(first),
			len(name) > 99, header.kind([]byte(image)) == otherFile, isMultipart(header.mimeType),
			strings.ContainsFunc(mimeType+name, func(r rune) bool { return r < ' ' || r > '~' }),
			header.mimeType != "" && header.kind([]byte(image)) != imageFile:
			return // not a form with one file
		}
		file, err := readForm(t, body.String(), form.FormDataContentType(), 1<<10)
		if file != image || err != nil {
			t.Errorf("got %q, error %v, from %q", file, err, body.String())
		}
		for how, reader := range deliveries(body.String()) {
			got, err := splitAll(t, reader, form.FormDataContentType(), 1<<10)
			if got := strings.Join(got, "|"); got != bad+"|"+image+"|"+bad || err != io.EOF {
				t.Errorf("%s: got %q, error %v, from %q", how, got, err, body.String())
			}
		}
	})
}

// A form that is cut, at any byte, is refused.
func TestFormCut(t *testing.T) {
	t.Parallel()
	body := part(`form-data; name="n"`, "", "text") + formWith(photoA)
	for at := range body {
		for how, cutBody := range map[string]io.Reader{"cut": new(cutOnce), "ended": strings.NewReader("")} {
			if how == "ended" && at >= len(body)-len("\r\n") {
				continue // the last line break may be missing
			}
			r := httptest.NewRequest("POST", "/", io.MultiReader(strings.NewReader(body[:at]), cutBody))
			r.Header.Set("Content-Type", formType)
			image, err := ReadForm(httptest.NewRecorder(), r, 1<<10, testUpload(t, bytesOf))
			if image != nil || statusOf(err) != http.StatusBadRequest {
				t.Errorf("%s at %d: got %q, error %v", how, at, image, err)
			}
		}
	}
}

// The memory for a form is bounded, whatever part of it does not end.
func TestFormMemory(t *testing.T) {
	endless := readerFunc(func(p []byte) (int, error) {
		return copy(p, strings.Repeat("x", len(p))), nil
	})
	for _, row := range []struct {
		name, start string
		status      int
	}{
		{"a header", "--b\r\nX: ", 400},
		{"a text", part(`form-data; name="x"`, "", ""), 413},
		{"a file", "--b\r\n" + attachment + "\r\n", 413},
		{"a line before", "", 413},
		{"a data URL", "--b\r\n\r\ndata:image/jpeg;base64,", 413},
	} {
		r := httptest.NewRequest("POST", "/", io.MultiReader(strings.NewReader(row.start), endless))
		r.Header.Set("Content-Type", formType)
		budget := NewBudget(BudgetOptions{Buffer: bytesOf})
		u := budget.Begin(t.Context(), ImageRate())
		image, err := ReadForm(httptest.NewRecorder(), r, 1<<16, u)
		if image != nil || statusOf(err) != row.status {
			t.Errorf("%s: got %d bytes, error %v, want status %d", row.name, len(image), err, row.status)
		}
		if held := budget.Usage().Bytes; held > 1<<18 {
			t.Errorf("%s: %d bytes were reserved", row.name, held)
		}
	}
}
