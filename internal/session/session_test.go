package session

import (
	"strings"
	"testing"
)

func TestSessionIsUnique(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	letters := map[rune]int{}
	const count = 10000
	for range count {
		id := New()
		if seen[id] || !Valid(id) {
			t.Fatalf("got %q: known %v, valid %v", id, seen[id], Valid(id))
		}
		seen[id] = true
		letters[rune(id[0])]++
	}
	for letter, times := range letters { // 32 letters of 5 bits each
		if len(letters) != 32 || times < count/32/2 || times > count/32*2 {
			t.Errorf("%d different first letters, %c came %d times of %d", len(letters), letter, times, count)
		}
	}
}

func TestBadSession(t *testing.T) {
	t.Parallel()
	for _, escaped := range []string{
		strings.Repeat("a", 65), strings.Repeat("a", 10000), "a%20b", ".jpg", "a.jpg", "a.PNG", "a+b", "a%2Fb", "..%2f..",
		"%2e%2e", "%2e",
		"", "%2F", "a%0d%0ab", "a%0aX-Evil:%201", "%00", "a%00", "{a}", "%7Ba%7D", "{", "}", "%C3%A9", "é", "%ff", "a%25b",
		"*", "a;b", "a,b", "~", "$", "a@b", "%E2%80%8B",
	} {
		if id := unescaped(t, escaped); Valid(id) {
			t.Errorf("%.80q is valid", id)
		}
	}
}

// An id that was never issued is as good as one that was.
func TestGoodSession(t *testing.T) {
	t.Parallel()
	own := New()[:8]
	for _, id := range []string{
		own, own + "-_", "-" + own, "_" + own, own + strings.Repeat("z", 56), strings.ToLower(own), "a", "-", "_", "xyzabc",
		"AA:BB:CC:00:11:22", "front.door", "cam1.example.org", "...", ":", ".a", "a.", "a.jpg.", "jpg", "a.txt", "a:jpg",
	} {
		if !Valid(id) {
			t.Errorf("%q is not valid", id)
		}
	}
}

func FuzzSession(f *testing.F) {
	for _, seed := range []string{
		"", "a", "xyzabc", "..", ".", "a/b", "../..", "a b", "a\r\nb", "\x00", "{a}", "é", "a%2Fb", "?", "#", "-", "_",
		strings.Repeat("a", 64), strings.Repeat("a", 65), "a.jpg", "a.MJPEG", "a:b.c", "...", "a.jpeg.",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, id string) {
		want := sessionForm.MatchString(id) && !noSession.MatchString(id)
		if got := Valid(id); got != want {
			t.Errorf("%q: got valid %v, want %v", id, got, want)
		}
	})
}
