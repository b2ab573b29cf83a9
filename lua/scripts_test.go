package lua

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

var (
	headerEntry = regexp.MustCompile(`(?m)^(KEYS|ARGV)\[(\d+)\]  (\w+) +(\w+)(?: +(.+))?$`)
	bodyEntry   = regexp.MustCompile(`(KEYS|ARGV)\[(\d+)\]`)
	localLine   = regexp.MustCompile(`(?m)^local ([\w, ]+) = ((?:KEYS|ARGV)\[.*)$`)
	section     = regexp.MustCompile(`(?m)^(Returns|Cost|Derived) +\S`)
	builtKey    = regexp.MustCompile(`\.\. (id|session|string)\b`)
	keyShape    = regexp.MustCompile(`^is:\{b\}:\w+(:<\w+>)?\s\s+\S`)
	longLine    = regexp.MustCompile(`(?m)^.{121,}$`)
)

// Every script of the folder is embedded, and its header is the truth about its body.
func TestScripts(t *testing.T) {
	t.Parallel()
	files, all := testkit.Must(filepath.Glob("*.lua"))(t), All()
	if len(files) == 0 || len(files) != len(all) {
		t.Errorf("the folder has %d scripts, All has %d", len(files), len(all))
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			source := string(testkit.Must(os.ReadFile(file))(t))
			if all[file] != source {
				t.Errorf("All has %.60q for it", all[file])
			}
			if !strings.HasSuffix(source, "\n") || strings.HasSuffix(source, "\n\n") || strings.ContainsAny(source, "\t\r") {
				t.Error("got tabs or carriage returns, or not one line end at the end")
			}
			if line := longLine.FindString(source); line != "" {
				t.Errorf("got a line of %d characters, want at most 120: %s", len(line), line)
			}
			header, body, ok := strings.Cut(source, "\n]]\n")
			if !ok || !strings.HasPrefix(header, "--[[\n"+file+": ") {
				t.Fatalf("got header %.60q, want a block comment that starts with the file's name", header)
			}
			if lines := strings.Count(body, "\n"); lines > 75 {
				t.Errorf("got %d lines below the header, want at most 75", lines)
			}
			wantHeader(t, header, body)
		})
	}
}

// wantHeader compares a script's header with its body: they have the same keys and arguments, under the same names, and
// the header has all sections.
func wantHeader(t *testing.T, header, body string) {
	t.Helper()
	names := map[string][]string{}
	for _, entry := range headerEntry.FindAllStringSubmatch(header, -1) {
		kind, index, name, rest := entry[1], entry[2], entry[3], entry[5]
		names[kind] = append(names[kind], name)
		if strconv.Itoa(len(names[kind])) != index {
			t.Errorf("%s[%s] is entry %d of the header", kind, index, len(names[kind]))
		}
		if kind == "KEYS" && !keyShape.MatchString(rest) {
			t.Errorf("KEYS[%s]: got %q, want type, key and meaning", index, rest)
		}
	}
	used := map[string]int{}
	for _, m := range bodyEntry.FindAllStringSubmatch(body, -1) {
		index, _ := strconv.Atoi(m[2])
		used[m[1]] = max(used[m[1]], index)
	}
	for _, kind := range []string{"KEYS", "ARGV"} {
		if len(names[kind]) != used[kind] || kind == "KEYS" && used[kind] == 0 {
			t.Errorf("%s: the header has %d, the body uses %d", kind, len(names[kind]), used[kind])
		}
	}
	var locals, sources, want []string
	for _, m := range localLine.FindAllStringSubmatch(body, -1) {
		locals = append(locals, strings.Split(m[1], ", ")...)
		sources = append(sources, strings.Split(m[2], ", ")...)
	}
	for _, kind := range []string{"KEYS", "ARGV"} {
		for i := range names[kind] {
			want = append(want, kind+"["+strconv.Itoa(i+1)+"]")
		}
	}
	if all := slices.Concat(names["KEYS"], names["ARGV"]); !slices.Equal(locals, all) || !slices.Equal(sources, want) {
		t.Errorf("the locals are %v = %v, the header has %v", locals, sources, all)
	}
	var sections []string
	for _, m := range section.FindAllStringSubmatch(header, -1) {
		sections = append(sections, m[1])
	}
	for _, name := range []string{"Returns", "Cost"} {
		if !slices.Contains(sections, name) {
			t.Errorf("the header lacks %s", name)
		}
	}
	if built := builtKey.MatchString(body); built != slices.Contains(sections, "Derived") {
		t.Errorf("keys are built: %v, the header has %v", built, sections)
	}
}
