package live

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/queue"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// A part has its headers, its image and the boundary behind it, whatever the image contains.
func TestPartForm(t *testing.T) {
	t.Parallel()
	arrived := time.UnixMicro(1_700_000_000_000_042)
	data := "\xff\xd8 \r\n\r\n--boundarydonotcross\r\n\x00"
	for contentType, want := range map[string]string{
		"image/png": "image/png",
		"image/jpg": "image/jpeg", // the name that every viewer knows
	} {
		e := Encoder{Type: contentType, NoData: func() []byte { return nil }}.prepared()
		got := string(e.part(&queue.Image{Ref: queue.Ref{Arrived: arrived}, Data: []byte(data)}).whole())
		if want := "Content-Type: " + want + "\r\nContent-Length: 30\r\nX-Timestamp: 1700000000.000042\r\n\r\n" +
			data + "\r\n--boundarydonotcross\r\n"; got != want {
			t.Errorf("%s: got %q, want %q", contentType, got, want)
		}
	}
}

// No Data is a JPEG of this moment, whatever the images are.
func TestNoDataPart(t *testing.T) {
	withFakeTime(t, func(t *testing.T) {
		e := Encoder{Type: "image/png", NoData: func() []byte { return []byte(noData) }}.prepared()
		for _, timestamp := range []string{"946684800.000000", "946684801.500000"} { // a test begins with the year 2000
			want := "Content-Type: image/jpeg\r\nContent-Length: 7\r\nX-Timestamp: " + timestamp + "\r\n\r\n" +
				noData + "\r\n--boundarydonotcross\r\n"
			if got := string(e.part(nil).whole()); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			time.Sleep(1500 * time.Millisecond)
		}
	})
}

// Each part goes out in one write: viewers paint as soon as they have all of it.
func TestPartIsOneWrite(t *testing.T) {
	withFakeTime(t, func(t *testing.T) {
		q := newFakeQueue()
		s := watch(t, newTestHub(q), "x", ViewerOptions{})
		s.want(t, noData)
		image := q.push("x", "image")
		want := string(Encoder{Type: "image/webp"}.part(&image).whole())
		buffer := make([]byte, 1<<10) // one Read gets at most one Write
		if n := testkit.Must(s.conn.Read(buffer))(t); string(buffer[:n]) != want {
			t.Errorf("got %q, want %q", buffer[:n], want)
		}
	})
}

func TestStreamHeaders(t *testing.T) {
	t.Parallel()
	want := http.Header{
		"Content-Type":      {"multipart/x-mixed-replace;boundary=boundarydonotcross"},
		"Cache-Control":     {"no-store, no-cache, must-revalidate, proxy-revalidate, pre-check=0, post-check=0, max-age=0"},
		"Pragma":            {"no-cache"},
		"Expires":           {"Mon, 3 Jan 2000 12:34:56 GMT"},
		"X-Accel-Buffering": {"no"},
		"Transfer-Encoding": {"identity"},
		"Connection":        {"close"},
	}
	r := httptest.NewRequest(http.MethodGet, "/stream/x", nil)
	got := http.Header{}
	if SetHeaders(got, r); !reflect.DeepEqual(got, want) {
		t.Errorf("HTTP/1.1: got %v, want %v", got, want)
	}
	want.Del("Transfer-Encoding") // HTTP/2 has its own framing
	want.Del("Connection")
	r.ProtoMajor = 2
	got = http.Header{}
	if SetHeaders(got, r); !reflect.DeepEqual(got, want) {
		t.Errorf("HTTP/2: got %v, want %v", got, want)
	}
}
