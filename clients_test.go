package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image/color"
	"image/jpeg"
	"io"
	"mime/multipart"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// tool is a program that people send or take images with; see browser_test.go
// for the one they look at them with.
type tool string

// findTool skips the test where a tool is not on PATH.
func findTool(t testing.TB, name string) tool {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		skip(t, err)
	}
	return tool(path)
}

// run runs a tool to its end, which has to come with this exit status, and returns
// what it wrote. Arguments are split at spaces.
func (c tool) run(t testing.TB, status int, stdin io.Reader, format string, args ...any) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	cmd := c.command(ctx, format, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	err := cmd.Run()
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got, err = exit.ExitCode(), nil
	}
	if err != nil || got != status {
		t.Fatalf("%v: got exit status %d, error %v, %s, want %d", cmd.Args, got, err, &stderr, status)
	}
	return stdout.Bytes()
}

func (c tool) command(ctx context.Context, format string, args ...any) *exec.Cmd {
	cmd := exec.CommandContext(ctx, string(c), strings.Fields(fmt.Sprintf(format, args...))...)
	cmd.Env = append(os.Environ(), "no_proxy=*")
	return cmd
}

// startCamera runs the test producer: its picture n has ground(n) and comes as
// image n.
func startCamera(t testing.TB, p *program, session, interval string) *program {
	t.Helper()
	return start(t, "tester", "NODATA_HEIGHT=90", "TEST_URL=http://"+p.addr, "TEST_SESSION="+session, "TEST_INTERVAL="+interval)
}

// grounds is after how many pictures of the test producer their colours come again.
const grounds = 48

// numberOf tells such a picture by the colour of its ground: 1 to grounds, or 0 for
// what is none.
func numberOf(c color.Color) int {
	number, least := 0, 15<<8 // codecs are a little off
	r, g, b, _ := c.RGBA()
	for n := 1; n <= grounds; n++ {
		r2, g2, b2, _ := ground(n).RGBA()
		distance := 0
		for _, d := range []int{int(r) - int(r2), int(g) - int(g2), int(b) - int(b2)} {
			distance += max(d, -d)
		}
		if distance < least {
			number, least = n, distance
		}
	}
	return number
}

// wantMoving checks that so many different pictures were shown, in their order.
// That one was shown again is no harm.
func wantMoving(t testing.TB, numbers []int, least int) {
	t.Helper()
	different := slices.Compact(slices.Clone(numbers))
	if len(different) < least {
		t.Errorf("got pictures %v, want %d different ones", numbers, least)
	}
	for i, n := range different {
		if n == 0 || i > 0 && (n-different[i-1]+grounds)%grounds > grounds/2 {
			t.Errorf("got pictures %v, want numbers that rise", numbers)
			return
		}
	}
}

// takeJPEGs takes all images of a session, so many, and returns how bright they are
// in the middle.
func takeJPEGs(t testing.TB, p *program, session string, count int) (brightness []int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); p.count(t, session) < count && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond) // ffmpeg waits for no answer
	}
	if n := p.count(t, session); n != count {
		t.Fatalf("got %d images, want %d", n, count)
	}
	for n := 1; n <= count; n++ {
		got := p.get(t, "/image/"+session).wantStatus(t, 200)
		picture := must(jpeg.Decode(strings.NewReader(got.body)))(t)
		if got.Header.Get("X-Sequence") != strconv.Itoa(n) || picture.Bounds().Dx() != 160 || picture.Bounds().Dy() != 90 {
			t.Errorf("got image %s of size %v, want image %d", got.Header.Get("X-Sequence"), picture.Bounds(), n)
		}
		brightness = append(brightness, int(color.GrayModel.Convert(picture.At(80, 45)).(color.Gray).Y))
	}
	return brightness
}

func TestFFmpegSends(t *testing.T) {
	t.Parallel()
	ffmpeg := findTool(t, "ffmpeg")
	for name, row := range map[string]struct {
		flags, path string
		frames      int
		anyOrder    bool
	}{
		"multipart":                     {"-f mpjpeg", "/stream/", 20, false},
		"multipart that says so":        {"-f mpjpeg -content_type multipart/x-mixed-replace;boundary=ffmpeg", "/stream/", 20, false},
		"multipart of another boundary": {"-f mpjpeg -boundary_tag -=_x.y", "/stream/", 20, false},
		"back to back":                  {"-f mjpeg", "/stream/", 20, false},
		"back to back by PUT":           {"-f mjpeg -method PUT", "/stream/", 20, false},
		"one image":                     {"-f mjpeg", "/image/", 1, false},
		"a request for each":            {"-f image2 -update 1", "/image/", 20, true}, // none waits for the one before
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, session := startServer(t, ""), newSession()
			const brightening = "-f lavfi -i nullsrc=size=160x90:rate=10,geq=16+10*N:128:128"
			ffmpeg.run(t, 0, nil, "-nostdin -v error %s -frames:v %d -c:v mjpeg -method POST %s http://%s%s%s",
				brightening, row.frames, row.flags, p.addr, row.path, session)
			got := takeJPEGs(t, p, session, row.frames)
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
		"told what it is": "-f mpjpeg", "finds out": "", "by the clock": "-use_wallclock_as_timestamps 1",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, session := startServer(t, ""), newSession()
			startCamera(t, p, session, "0.05")
			eventually(t, func() bool { return p.count(t, session) > 0 })
			const pixels = 4 // of the corner of a picture
			corners := ffmpeg.run(t, 0, nil, "-nostdin -v error %s -i http://%s/stream/%s -frames:v 5 -fps_mode passthrough -vf crop=2:2:0:0 -f rawvideo -pix_fmt rgb24 -",
				flags, p.addr, session)
			if len(corners) != 5*pixels*3 {
				t.Fatalf("got %d bytes, want those of 5 corners", len(corners))
			}
			var seen []int
			for corner := range slices.Chunk(corners, pixels*3) {
				seen = append(seen, numberOf(color.RGBA{corner[0], corner[1], corner[2], 255}))
			}
			wantMoving(t, seen, 3)
		})
	}
}

// One ffmpeg sees the pictures of another that is still sending, and sends them on.
func TestFFmpegToFFmpeg(t *testing.T) {
	t.Parallel()
	ffmpeg := findTool(t, "ffmpeg")
	p := startServer(t, "")
	ctx, hangUp := context.WithCancel(t.Context())
	endless := ffmpeg.command(ctx, "-nostdin -v error -re -f lavfi -i testsrc=size=160x90:rate=10 -f mpjpeg -method POST http://%s/stream/a", p.addr)
	if err := endless.Start(); err != nil {
		t.Fatal(err)
	}
	defer endless.Wait()
	defer hangUp()
	eventually(t, func() bool { return p.count(t, "a") > 0 })
	ffmpeg.run(t, 0, nil, "-nostdin -v error -i http://%s/stream/a -frames:v 5 -c copy -f mpjpeg -method POST http://%s/stream/b", p.addr, p.addr)
	takeJPEGs(t, p, "b", 5)
}

func TestCurlSends(t *testing.T) {
	t.Parallel()
	curl := findTool(t, "curl")
	dir := t.TempDir()
	var pictures []string
	for n := 1; n <= 3; n++ {
		picture := numberedJPEG(n, 160, 90)
		pictures = append(pictures, string(picture))
		if err := os.WriteFile(fmt.Sprintf("%s/%d.jpg", dir, n), picture, 0o600); err != nil {
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
		"many in a form":            {"-F a=@1.jpg -F b=@2.jpg -F c=@3.jpg", "/stream/", "", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, session := startServer(t, ""), newSession()
			args := strings.NewReplacer("@-", "@-", "@", "@"+dir+"/", "-T 1", "-T "+dir+"/1").Replace(row.args)
			answer := curl.run(t, 0, strings.NewReader(row.stdin), "-q -sSf %s -H Accept:application/json http://%s%s%s",
				args, p.addr, row.path, session)
			wantFields(t, answer, map[string]any{"session": session, "sequence": float64(row.images)})
			taken := filepath.Join(t.TempDir(), "taken.jpg")
			for i, want := range pictures[:row.images] {
				curl.run(t, 0, nil, "-q -sSf -o %s http://%s/image/%s", taken, p.addr, session)
				if got := must(os.ReadFile(taken))(t); string(got) != want {
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

// What a viewer recorded can be sent as it is.
func TestCurlRecords(t *testing.T) {
	t.Parallel()
	curl := findTool(t, "curl")
	const timeIsUp = 28 // as an exit status
	for _, version := range []string{"--http1.1", "--http1.0"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			p, session := startServer(t, ""), newSession()
			startCamera(t, p, session, "0.1")
			eventually(t, func() bool { return p.count(t, session) > 0 })
			film := curl.run(t, timeIsUp, nil, "-q -sSN --max-time 1 %s http://%s/stream/%s", version, p.addr, session)
			var seen []int
			for parts := multipart.NewReader(bytes.NewReader(film), boundary); ; {
				part, err := parts.NextPart()
				if err != nil {
					break // the end, somewhere
				}
				picture, err := jpeg.Decode(part)
				if err != nil {
					break
				}
				seen = append(seen, numberOf(picture.At(4, 4)))
			}
			wantMoving(t, seen, 3)
			for _, kind := range []string{streamType, "video/x-motion-jpeg"} {
				again := newSession()
				answer := curl.run(t, 0, bytes.NewReader(film), "-q -sSf --data-binary @- -H Content-Type:%s http://%s/stream/%s", kind, p.addr, again)
				images := float64(len(seen))
				wantFields(t, answer, map[string]any{"session": again, "stored": images, "refused": 0.0, "sequence": images})
			}
		})
	}
}
