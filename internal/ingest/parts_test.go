package ingest

import (
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// withClaim is the header of a part that claims a length, and the content.
func withClaim(length int, content string) string {
	return fmt.Sprintf("Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s", length, content)
}

const (
	pngPhoto   = "\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR data\x00\x00\x00\x00IEND\xaeB`\x82"
	event      = "Content-Type: application/xml; charset=\"UTF-8\"\r\nContent-Length: 8\r\n\r\n<event/>\r\n"
	attachment = "Content-Disposition: form-data; name=\"f\"; filename=\"f.jpg\"\r\n"
)

// What a part is, its header and its first bytes tell. What is no image is skipped, and counted.
func TestSplitTellsImages(t *testing.T) {
	const end = "\r\n--b--\r\n"
	picture := withLength(photoA) + "\r\n"
	field := "Content-Disposition: form-data; name=\"note\"\r\n"
	testSplit(t, []splitRow{
		{
			"events and images in turn", mixed,
			"--b\r\n" + event + "--b\r\n" + picture + "--b\r\n" + event + "--b\r\n" + picture + "--b--\r\n",
			[]string{bad, photoA, bad, photoA},
		},
		{
			"text", mixed,
			"--b\r\nContent-Type: Text/Plain; x=y\r\n\r\n1\r\n--b\r\nContent-Type:application/JSON ;x\r\n" +
				"Content-Length: 7\r\n\r\n\r\n--b\r\n\r\n--b\r\n" + noLength + "image" + end,
			[]string{bad, bad, "image"},
		},
		{
			"a field", mixed,
			"--b\r\n" + field + "\r\nhello\r\n--b\r\n" + attachment + "\r\nimage" + end,
			[]string{bad, "image"},
		},
		{"an empty field", mixed, "--b\r\n" + field + "\r\n\r\n--b\r\n" + picture + end, []string{bad, photoA}},
		{"a field with an image", mixed, "--b\r\n" + field + "\r\n" + pngPhoto + end, []string{pngPhoto}},
		{"no text by its bytes", mixed, "--b\r\nContent-Type: text/plain\r\n\r\n" + photoA + end, []string{photoA}},
		{"a file of text", mixed, "--b\r\n" + attachment + "Content-Type: text/csv\r\n\r\n1;2" + end, []string{bad}},
		{"bytes", mixed, "--b\r\nContent-Type: application/octet-stream\r\n\r\nimage" + end, []string{"image"}},
		{"no type at all", mixed, "--b\r\nContent-Type: jpeg\r\n\r\nimage" + end, []string{"image"}},
		{
			"nested", mixed,
			"--b\r\n" + picture + "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\npreamble\r\n--c\r\n" + event +
				"--c\r\n" + picture + "--c--\r\nepilogue\r\n--b\r\n" + picture + "--b--\r\n",
			[]string{photoA, bad, photoA, photoA},
		},
		{
			"nested, no lengths", mixed,
			"--b\r\nContent-Disposition: form-data; name=f\r\nContent-Type: multipart/mixed;\r\n boundary=\"bb\"\r\n\r\n" +
				"--bb\r\n" + noLength + photoA + "\r\n--bb\r\n" + attachment + "\r\nimage\r\n--b\r\n" + noLength + "last" + end,
			[]string{photoA, "image", "last"},
		},
		{
			"the inner boundary is forgotten", mixed,
			"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n" + picture + "--b\r\n" + noLength +
				"x\r\n--c\r\ny" + end,
			[]string{photoA, "x\r\n--c\r\ny"},
		},
		{"nested without a boundary", mixed, "--b\r\nContent-Type: multipart/mixed\r\n\r\nx" + end, []string{bad}},
		{
			"nested too deep", mixed,
			"--b\r\nContent-Type: multipart/a; boundary=c\r\n\r\n--c\r\nContent-Type: multipart/a; boundary=d\r\n\r\n" +
				"--d\r\nContent-Type: multipart/a; boundary=e\r\n\r\n--e\r\n" + picture +
				"--e\r\nContent-Type: multipart/a; boundary=f\r\n\r\n--f\r\n" + picture + "--e\r\n" + picture + end,
			[]string{photoA, bad, photoA},
		},
	})
}

// The length of a part counts where a delimiter follows it, or nothing yet. Otherwise the delimiter decides, and what
// is not whole is skipped.
func TestSplitLengths(t *testing.T) {
	const end = "\r\n--b--\r\n"
	next := "\r\n--b\r\n" + withLength(photoB)
	start := "--b\r\n" + withLength(photoA) + "\r\n--b\r\n"
	size := len(photoB)
	var rows []splitRow
	for _, wrong := range []int{-size + 2, -3, -2, -1, 1, 2, 3, 8, 50, len(next) - 1, len(next), 200, splitMax, 9999} {
		rows = append(
			rows,
			splitRow{
				fmt.Sprintf("%+d", wrong), mixed,
				start + withClaim(size+wrong, photoB) + next + next + end,
				[]string{photoA, photoB, photoB, photoB},
			},
			splitRow{
				fmt.Sprintf("%+d, again and again", wrong), mixed,
				"--b\r\n" + strings.Repeat(withClaim(size+wrong, photoB)+"\r\n--b\r\n", 3) + withLength(photoB) + end,
				[]string{photoB, photoB, photoB, photoB},
			},
			splitRow{
				fmt.Sprintf("%+d, at the end", wrong), mixed,
				start + withClaim(size+wrong, photoB),
				[]string{photoA, photoB},
			},
			splitRow{
				fmt.Sprintf("%+d, cut", wrong), mixed,
				start + withClaim(size+wrong, photoB[:size-4]) + next + next + end,
				[]string{photoA, bad, photoB, photoB},
			},
		)
	}
	testSplit(t, append(rows, []splitRow{
		{"0", mixed, "--b\r\n" + withClaim(0, photoA) + next + end, []string{photoA, photoB}},
		{
			"of a text, too large", mixed,
			"--b\r\nContent-Type: text/plain\r\nContent-Length: 999\r\n\r\nx" + next + end,
			[]string{bad, photoB},
		},
		{
			"of a PNG", mixed,
			"--b\r\n" + withClaim(len(pngPhoto)+9, pngPhoto) + next + "\r\n--b\r\n" + withClaim(9, pngPhoto) + end,
			[]string{pngPhoto, photoB, pngPhoto},
		},
		{
			"within a preview", mixed,
			"--b\r\n" + withClaim(strings.Index(preview, "\xff\xd9")+2, preview) + next + end,
			[]string{preview, photoB},
		},
		{"of no image, at the end", mixed, "--b\r\n" + withClaim(9, "image"), []string{bad}},
	}...))
}

// An image that is not known to be whole by its bytes ends where its length says, if a delimiter follows there.
func TestSplitWrongLengthsOfUnknownImages(t *testing.T) {
	t.Parallel()
	for _, wrong := range []int{-3, -1, 1, 2, 15, 999, 9999} {
		body := "--b\r\n" + withClaim(len("image")+wrong, "image") + "\r\n--b\r\n" + withLength("two") + "\r\n--b--\r\n"
		got, err := splitAll(t, strings.NewReader(body), mixed, splitMax)
		if !slices.Equal(got, []string{"image", "two"}) || err != io.EOF {
			t.Errorf("%+d: got %q, error %v", wrong, got, err)
		}
	}
}

// A length that counts the delimiter behind the last part, or some of it, is wrong too.
func TestSplitLengthsAtTheEnd(t *testing.T) {
	t.Parallel()
	for _, image := range []string{photoB, pngPhoto, "image"} {
		for _, end := range []string{"\r\n--b--", "\r\n--b--\r\n", "\r\n--b\r\n", "\n--b--\n\n"} {
			for wrong := range len(end) + 2 {
				body := "--b\r\n" + withClaim(len(image)+wrong, image) + end
				for how, reader := range deliveries(body) {
					if image == "image" && how != "whole" {
						continue // it is stored before the delimiter has come
					}
					got, err := splitAll(t, reader, mixed, splitMax)
					if !slices.Equal(got, []string{image}) || err != io.EOF {
						t.Errorf("%q, %+d, %s: got %q, error %v, want %q", end, wrong, how, got, err, image)
					}
				}
			}
		}
	}
}

// A wrong length shows for an image of any size, if what stands behind the image has arrived.
func TestSplitWrongLengthsOfLargeUnknownImages(t *testing.T) {
	t.Parallel()
	for _, size := range []int{readAhead, 3 * readAhead, 2 * smallImage} {
		image := strings.Repeat("image", size/5)
		for _, wrong := range []int{-5000, -1, 1, 5000} {
			body := "--b\r\n" + withClaim(len(image)+wrong, image) + "\r\n--b\r\n" + withLength(image) + "\r\n--b--\r\n"
			got, err := splitAll(t, strings.NewReader(body), mixed, 1<<20)
			if !slices.Equal(got, []string{image, image}) || err != io.EOF {
				t.Errorf("%d%+d: got %d images, error %v, want 2", size, wrong, len(got), err)
			}
		}
	}
}

// A sender whose lengths are far too large is not held up: its first image comes with the delimiter behind it, and
// then each at once.
func TestSplitPauses(t *testing.T) {
	t.Parallel()
	claim := withClaim(len(photoB)+900, photoB)
	for piece, wants := range map[string][]int{
		"\r\n--b\r\n" + claim: {2, 2, 3, 4},
		claim + "\r\n--b\r\n": {1, 2, 3, 4},
	} {
		sent := 0
		pieces := readerFunc(func(p []byte) (int, error) {
			sent++
			return copy(p, piece), nil
		})
		s := newSplitter(t, pieces, mixed, splitMax, testUpload(t, bytesOf))
		for _, want := range wants {
			if image, err := s.Next(); string(image) != photoB || err != nil || sent != want {
				t.Errorf("%.9q: got %q, error %v, after %d pieces, want %d", piece, image, err, sent, want)
			}
		}
	}
}

// mpo is one image of several pictures, of which the first has the index.
func mpo(padding int, pictures ...string) string {
	entries, places := "", 0
	number := func(n int) string { return string([]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}) }
	const tiffPlace = 2 + 4 + 4
	index := func(first int) string {
		entries, places = "", first
		for i, picture := range pictures {
			at := 0
			if i > 0 {
				at = places - tiffPlace
				places += len(picture) + padding
			}
			entries += number(0x030000) + number(len(picture)) + number(at) + number(0)
		}
		return jpegSegment(app2, "MPF\x00II*\x00\x08\x00\x00\x00\x01\x00\x02\xb0\x07\x00"+number(len(entries))+number(26)+
			number(0)+entries)
	}
	withIndex := func(first int) string { return pictures[0][:2] + index(first) + pictures[0][2:] }
	all := withIndex(0)
	all = withIndex(len(all) + padding)
	for _, picture := range pictures[1:] {
		all += strings.Repeat("\x00", padding) + picture
	}
	return all
}

// The pictures of one index stay together. In a part so does everything.
func TestSplitPictures(t *testing.T) {
	const end = "\r\n--b--\r\n"
	two, three, padded := mpo(0, photoA, photoB), mpo(0, photoA, preview, photoB), mpo(40, photoA, photoB)
	stale := two[:len(two)-len(photoB)]
	last := strings.LastIndex(three, "\x00\x00\x03\x00") + 8 // the place of the last picture in the index
	passed := three[:last-16] + "\x00\x00\x00\x00" + three[last-12:last] + three[last-16:last-12] + three[last+4:]
	passed = strings.Replace(passed, preview, "", 1)
	testSplit(t, []splitRow{
		{"one of them at a place that is passed", "", passed + photoA, []string{passed, photoA}},
		{"back to back", "", two + two + photoA + three + padded + photoB, []string{two, two, photoA, three, padded, photoB}},
		{"an index left over, another place", "", stale + "\x00" + photoB, []string{stale, photoB}},
		{"an index left over, text behind", "", stale + "text" + photoB, []string{stale, photoB}},
		{"an index left over, the end", "", photoA + stale, []string{photoA, stale}},
		{"cut", "", two[:len(two)-3] + photoA, []string{bad, photoA}},
		{"malformed index", "", photoA[:2] + jpegSegment(app2, "MPF\x00MM\x00*\xff\xff\xff\xff") + photoA[2:], []string{
			photoA[:2] + jpegSegment(app2, "MPF\x00MM\x00*\xff\xff\xff\xff") + photoA[2:],
		}},
		{
			"in parts without lengths", mixed,
			"--b\r\n" + noLength + two + "\r\n--b\r\n" + noLength + three + "\x00tail\r\n--b\r\n" + noLength + photoA + end,
			[]string{two, three + "\x00tail", photoA},
		},
		{"in parts with lengths", mixed, "--b\r\n" + withLength(two) + "\r\n--b\r\n" + withLength(three) + end, []string{
			two, three,
		}},
		{
			"a file, and its tail", mixed,
			"--b\r\n" + attachment + "\r\n" + photoA + "\x00\x00ftypmp42\r\n" + end,
			[]string{photoA + "\x00\x00ftypmp42\r\n"},
		},
		{"a file that is cut", mixed, "--b\r\n" + attachment + "\r\n" + photoA[:19] + end, []string{photoA[:19]}},
	})
}

// An image does not wait for a picture that cannot come: its index gives a place in front of the end, or far behind it.
func TestSplitPicturesElsewhere(t *testing.T) {
	t.Parallel()
	whole := mpo(0, photoA, photoB)
	image := whole[:len(whole)-len(photoB)]
	at := strings.LastIndex(image, "\x00\x00\x03\x00") + 8 // in the entry of the second picture
	for _, place := range []string{"\x00\x00\x00\x00", "\x09\x00\x00\x00", "\x00\x00\x10\x00", "\xff\xff\xff\xff"} {
		want := image[:at] + place + image[at+4:]
		for head, contentType := range map[string]string{"": "", "\r\n--b\r\n" + noLength: mixed} {
			sent := 0
			images := readerFunc(func(p []byte) (int, error) {
				sent++
				return copy(p, head+want), nil
			})
			s := newSplitter(t, images, contentType, splitMax, testUpload(t, bytesOf))
			if got, err := s.Next(); string(got) != want || err != nil || sent != 1 {
				t.Errorf("place %q, %q: got %q, error %v, after %d images", place, contentType, got, err, sent)
			}
		}
	}
}

// Blanks or dashes behind an image are a delimiter or they are not: that is decided within the length of one, since
// each of them is looked at again with the next.
func TestFollowingDecides(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"\n", "-", " ", "\r\n"} {
		body := iotest.OneByteReader(strings.NewReader(strings.Repeat(text, readAhead)))
		r := newBoundaryReader(body, []byte("b"))
		next, err := r.following([]byte("x"), true)
		if ahead := r.buf.Buffered(); next != moreContent || ahead > maxDelimiter || err != nil {
			t.Errorf("%q: got %d, error %v, after %d bytes", text, next, err, ahead)
		}
	}
}

// A part is the image, all of it, when what stands behind the JPEG is there with it.
func TestSplitTails(t *testing.T) {
	t.Parallel()
	for _, tail := range []string{"\x00\x00\x00\x18ftypmp42 film", "\n\x00", photoB, "\r\n--c\r\n", "-"} {
		body := "--b\r\n" + noLength + photoA + tail + "\r\n--b\r\n" + noLength + photoB + "\r\n--b--\r\n"
		got, err := splitAll(t, strings.NewReader(body), mixed, splitMax)
		if !slices.Equal(got, []string{photoA + tail, photoB}) || err != io.EOF {
			t.Errorf("%q: got %q, error %v", tail, got, err)
		}
	}
}

// Images that are sent as text are decoded, and their size is that of the bytes.
func TestSplitText(t *testing.T) {
	const (
		end     = "\r\n--b--\r\n"
		encoded = "Content-Transfer-Encoding: BASE64\r\n" + noLength
	)
	lines := func(s string) (out string) {
		for len(s) > 76 {
			out, s = out+s[:76]+"\r\n", s[76:]
		}
		return out + s
	}
	over := "Content-Transfer-Encoding: base64\r\nContent-Length: 7\r\n"
	testSplit(t, []splitRow{
		{
			"base64", mixed,
			"--b\r\n" + encoded + inBase64(photoA) + "\r\n--b\r\n" + encoded + inBase64("x") + end,
			[]string{photoA, "x"},
		},
		{
			"base64 in lines, the largest", mixed,
			"--b\r\n" + encoded + lines(inBase64(largest)) + "\r\n\r\n--b\r\n" + encoded + lines(inBase64(tooLargeBy1)) + end,
			[]string{largest, bad},
		},
		{"base64 with a length", mixed, "--b\r\n" + over + "\r\n" + inBase64(photoB) + end, []string{photoB}},
		{
			"base64 for URLs, no padding", mixed,
			"--b\r\n" + encoded + base64.RawURLEncoding.EncodeToString([]byte(photoB)) + end,
			[]string{photoB},
		},
		{"not base64", mixed, "--b\r\n" + encoded + "image!\r\n--b\r\n" + withLength(photoA) + end, []string{bad, photoA}},
		{"an image all the same", mixed, "--b\r\n" + encoded + photoA + end, []string{photoA}},
		{"another encoding", mixed, "--b\r\nContent-Transfer-Encoding: x-uue\r\n\r\nimage" + end, []string{bad}},
		{"no encoding", mixed, "--b\r\nContent-Transfer-Encoding: binary\r\n" + withLength("image") + end, []string{"image"}},
		{
			"data URLs", mixed,
			"--b\r\n\r\ndata:image/jpeg;base64," + inBase64(photoA) + "\r\n--b\r\n" +
				withLength("Data:image/png;x=y;BASE64,"+inBase64(pngPhoto)) + "\r\n--b\r\n" +
				"Content-Disposition: form-data; name=i\r\nContent-Type: text/plain\r\n\r\n" +
				"data:image/png;base64," + inBase64(pngPhoto) + end,
			[]string{photoA, pngPhoto, pngPhoto},
		},
		{"a data URL that is none", mixed, "--b\r\n\r\ndata:image/svg+xml,<svg/>" + end, []string{bad}},
	})
}
