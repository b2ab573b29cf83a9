package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image/color"
	"image/jpeg"
	"mime/multipart"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/image-streamer/image-streamer/internal/session"
	"github.com/image-streamer/image-streamer/internal/testkit"
)

// popJPEGs pops the images of a session, which has to get count of them, and returns how bright each is in the middle.
func popJPEGs(t testing.TB, p *process, id string, count int) (brightness []int) {
	t.Helper()
	p.awaitImages(t, id, count) // ffmpeg does not wait for answers
	if n := p.StatsLen(t, id); n != count {
		t.Fatalf("got %d images, want %d", n, count)
	}
	for n := 1; n <= count; n++ {
		got := p.Get(t, "/image/"+id).WantStatus(t, 200)
		picture := testkit.Must(jpeg.Decode(strings.NewReader(got.Text)))(t)
		sequence, size := got.Header.Get("X-Sequence"), picture.Bounds()
		if sequence != strconv.Itoa(n) || size.Dx() != 160 || size.Dy() != 90 {
			t.Errorf("got image %s of size %v, want image %d", sequence, size, n)
		}
		brightness = append(brightness, int(color.GrayModel.Convert(picture.At(80, 45)).(color.Gray).Y))
	}
	return brightness
}

// awaitImages waits until a session has at least count images.
func (p *process) awaitImages(t testing.TB, id string, count int) {
	t.Helper()
	eventually(t, func() bool { return p.StatsLen(t, id) >= count })
}

func TestFFmpegSends(t *testing.T) {
	t.Parallel()
	ffmpeg := findTool(t, "ffmpeg")
	for name, row := range map[string]struct {
		flags, path string
		frames      int
		anyOrder    bool
	}{
		"multipart": {"-f mpjpeg", "/stream/SESSION", 20, false},
		"multipart that says so": {
			"-f mpjpeg -content_type multipart/x-mixed-replace;boundary=ffmpeg", "/stream/SESSION", 20, false,
		},
		"multipart of another boundary": {"-f mpjpeg -boundary_tag -=_x.y", "/stream/SESSION", 20, false},
		"back to back":                  {"-f mjpeg", "/stream/SESSION", 20, false},
		"back to back by PUT":           {"-f mjpeg -method PUT", "/stream/SESSION", 20, false},
		"one image":                     {"-f mjpeg", "/image/SESSION", 1, false},
		"a request for each":            {"-f image2 -update 1", "/image/SESSION", 20, true}, // they overtake one another
		"a request for each, to a file": {"-update 1", "/image/SESSION.jpg", 20, true},       // the name chooses image2
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, id := startServer(t), session.New()
			const brightening = "-f lavfi -i nullsrc=size=160x90:rate=10,geq=16+10*N:128:128"
			ffmpeg.run(t, 0, nil, "-nostdin -v error %s -frames:v %d -c:v mjpeg -method POST %s %s",
				brightening, row.frames, row.flags, p.URL(strings.Replace(row.path, "SESSION", id, 1)))
			got := popJPEGs(t, p, id, row.frames)
			if row.anyOrder {
				slices.Sort(got)
			}
			for i := range got[1:] {
				if got[i] >= got[i+1] {
					t.Fatalf("got images as bright as %v, want each brighter than the one before", got)
				}
			}
		})
	}
}

func TestFFmpegReads(t *testing.T) {
	t.Parallel()
	ffmpeg := findTool(t, "ffmpeg")
	for name, flags := range map[string]string{
		"format given": "-f mpjpeg", "format found": "", "times by the clock": "-use_wallclock_as_timestamps 1",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, id := startServer(t), session.New()
			startProducer(t, p, id, 50*time.Millisecond)
			p.awaitImages(t, id, 1)
			const frames, pixels = 10, 4 // pixels of the corner of a picture
			corners := ffmpeg.run(t, 0, nil, "-nostdin -v error %s -i %s -frames:v %d -fps_mode passthrough "+
				"-vf crop=2:2:0:0 -f rawvideo -pix_fmt rgb24 -", flags, p.URL("/stream/"+id), frames)
			if len(corners) != frames*pixels*3 {
				t.Fatalf("got %d bytes, want those of %d corners", len(corners), frames)
			}
			var seen []int
			for corner := range slices.Chunk(corners, pixels*3) {
				seen = append(seen, numberOf(color.RGBA{corner[0], corner[1], corner[2], 255}))
			}
			wantRising(t, seen, 3)
		})
	}
}

// One ffmpeg reads the pictures of another one that is still sending, and sends them on.
func TestFFmpegToFFmpeg(t *testing.T) {
	t.Parallel()
	ffmpeg := findTool(t, "ffmpeg")
	p := startServer(t)
	ctx, hangUp := context.WithCancel(t.Context())
	endless := ffmpeg.command(ctx, "-nostdin -v error -re -f lavfi -i testsrc=size=160x90:rate=10 "+
		"-f mpjpeg -method POST %s", p.URL("/stream/a"))
	if err := endless.Start(); err != nil {
		t.Fatal(err)
	}
	defer endless.Wait()
	defer hangUp()
	p.awaitImages(t, "a", 1)
	ffmpeg.run(t, 0, nil, "-nostdin -v error -i %s -frames:v 5 -c copy -f mpjpeg -method POST %s",
		p.URL("/stream/a"), p.URL("/stream/b"))
	popJPEGs(t, p, "b", 5)
}

func TestCurlSends(t *testing.T) {
	t.Parallel()
	curl := findTool(t, "curl")
	dir := t.TempDir()
	var pictures []string
	for n := 1; n <= 3; n++ {
		jpeg := picture(t, n)
		pictures = append(pictures, string(jpeg))
		if err := os.WriteFile(fmt.Sprintf("%s/%d.jpg", dir, n), jpeg, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first, all := pictures[0], strings.Join(pictures, "")
	for name, row := range map[string]struct {
		args, path, stdin string
		images            int
	}{
		"POST":                      {"--data-binary @1.jpg", "/image/", "", 1},
		"POST, HTTP/1.0":            {"--http1.0 --data-binary @1.jpg", "/image/", "", 1},
		"PUT":                       {"-T 1.jpg", "/image/", "", 1},
		"PUT of unknown size":       {"-T -", "/image/", first, 1},
		"PUT, HTTP/1.0":             {"--http1.0 -T 1.jpg", "/image/", "", 1},
		"form":                      {"-F image=@1.jpg", "/imageForm/", "", 1},
		"form, HTTP/1.0":            {"--http1.0 -F note=text -F image=@1.jpg", "/imageForm/", "", 1},
		"many back to back":         {"--data-binary @-", "/stream/", all, 3},
		"many, HTTP/1.0":            {"--http1.0 --data-binary @-", "/stream/", all, 3},
		"many, PUT of unknown size": {"-T -", "/stream/", all, 3},
		"many in a form":            {"-F a=@1.jpg -F b=@2.jpg -F note=text -F c=@3.jpg", "/stream/", "", 3},
		"form without a file name":  {"-F image=<1.jpg -F note=text", "/imageForm/", "", 1},
		"form, encoded":             {"-F image=@1.jpg;encoder=base64", "/imageForm/", "", 1},
		"many in a form, encoded":   {"-F a=@1.jpg;encoder=base64 -F b=@2.jpg", "/stream/", "", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, id := startServer(t), session.New()
			args := strings.NewReplacer("@-", "@-", "@", "@"+dir+"/", "<", "<"+dir+"/", "-T 1", "-T "+dir+"/1").Replace(row.args)
			answer := curl.run(t, 0, strings.NewReader(row.stdin), "-q -sSf %s -H Accept:application/json %s",
				args, p.URL(row.path+id))
			wantFields(t, answer, map[string]any{"session": id, "sequence": float64(row.images)})
			popped := filepath.Join(t.TempDir(), "popped.jpg")
			for i, want := range pictures[:row.images] {
				curl.run(t, 0, nil, "-q -sSf -o %s %s", popped, p.URL("/image/"+id))
				if got := testkit.Must(os.ReadFile(popped))(t); string(got) != want {
					t.Errorf("image %d: got %d bytes, want the %d that were sent", i+1, len(got), len(want))
				}
			}
		})
	}
}

// wantFields checks some fields of a JSON answer.
func wantFields(t testing.TB, answer []byte, want map[string]any) {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal(answer, &got); err != nil {
		t.Fatalf("got %q: %v", answer, err)
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("got %s, want %s: %v", bytes.TrimSpace(answer), name, value)
		}
	}
}

const (
	boundary   = "boundarydonotcross"
	streamType = "multipart/x-mixed-replace;boundary=" + boundary
)

// numbersIn returns the numbers of the pictures in a recording, whose last part may be cut short.
func numbersIn(film []byte) (numbers []int) {
	for parts := multipart.NewReader(bytes.NewReader(film), boundary); ; {
		part, err := parts.NextPart()
		if err != nil {
			return numbers
		}
		picture, err := jpeg.Decode(part)
		if err != nil {
			return numbers
		}
		numbers = append(numbers, numberOf(picture.At(4, 4)))
	}
}

// record records a stream by curl for as long as it takes to get at least least different pictures, and returns the
// recording with their numbers. On a busy machine the first second may show fewer.
func record(t *testing.T, curl tool, url, version string, least int) (film []byte, numbers []int) {
	t.Helper()
	const timeIsUp = 28 // curl's exit status
	for seconds := 1; seconds <= 16; seconds *= 2 {
		film = curl.run(t, timeIsUp, nil, "-q -sSN --max-time %d %s %s", seconds, version, url)
		numbers = numbersIn(film)
		if len(slices.Compact(slices.Clone(numbers))) >= least {
			break
		}
	}
	wantRising(t, numbers, least)
	return film, numbers
}

// What a viewer recorded can be sent as it is.
func TestCurlRecords(t *testing.T) {
	t.Parallel()
	curl := findTool(t, "curl")
	for _, version := range []string{"--http1.1", "--http1.0"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			p, id := startServer(t), session.New()
			startProducer(t, p, id, 100*time.Millisecond)
			p.awaitImages(t, id, 1)
			film, numbers := record(t, curl, p.URL("/stream/"+id), version, 3)
			for _, contentType := range []string{streamType, "video/x-motion-jpeg"} {
				copied := session.New()
				answer := curl.run(t, 0, bytes.NewReader(film), "-q -sSf --data-binary @- -H Content-Type:%s %s",
					contentType, p.URL("/stream/"+copied))
				images := float64(len(numbers))
				wantFields(t, answer, map[string]any{
					"session": copied, "stored": images, "refused": 0.0, "sequence": images,
				})
			}
		})
	}
}
