package config

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/joho/godotenv"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

var (
	readmeRow   = regexp.MustCompile("(?m)^\\| *`?([A-Z][A-Z_]+)`? *" + strings.Repeat("\\| *([^|\n]*?) *", 3) + "\\|$")
	exampleRow  = regexp.MustCompile(`(?m)^# (.*)\n# allowed: (.*)\n([A-Z_]+)=(.*)$`)
	helpRow     = regexp.MustCompile(`(?m)^  ([A-Z_]+) +(.*?)  +(.*?)\n +(.*?)$`)
	emptyInDocs = map[string]string{"": "empty", "(empty)": "empty"}
)

// README.md, .env.example and the help text show the table of settings, row by row.
func TestConfigIsDocumented(t *testing.T) {
	t.Parallel()
	readme := string(testkit.Must(os.ReadFile("../../README.md"))(t))
	example := string(testkit.Must(os.ReadFile("../../.env.example"))(t))
	var want, inReadme, inExample, inHelp []setting
	for _, s := range settings {
		want = append(want, setting{name: s.name, fallback: s.fallback, meaning: s.meaning, allowed: s.allowed})
	}
	for _, m := range readmeRow.FindAllStringSubmatch(readme, -1) {
		inReadme = append(inReadme, setting{name: m[1], fallback: strings.Trim(m[2], "`"), meaning: m[3], allowed: m[4]})
	}
	for _, m := range exampleRow.FindAllStringSubmatch(example, -1) {
		inExample = append(inExample, setting{name: m[3], fallback: m[4], meaning: m[1], allowed: m[2]})
	}
	for _, m := range helpRow.FindAllStringSubmatch(HelpTable(), -1) {
		inHelp = append(inHelp, setting{name: m[1], fallback: m[2], meaning: m[3], allowed: m[4]})
	}
	for where, got := range map[string][]setting{"README.md": inReadme, ".env.example": inExample, "help": inHelp} {
		if len(got) != len(want) {
			t.Errorf("%s: got %d settings, want %d", where, len(got), len(want))
		}
		for i := range min(len(got), len(want)) {
			if got, want := plain(got[i]), plain(want[i]); got != want {
				t.Errorf("%s, row %d: got %s, want %s", where, i, got, want)
			}
		}
	}
	file := testkit.Must(godotenv.Unmarshal(example))(t)
	if len(file) != len(settings) {
		t.Errorf(".env.example: got %v, want the %d settings and no other", file, len(settings))
	}
	if got := testkit.Must(Load(unset.Over(file)))(t); got != load(t) {
		t.Errorf(".env.example: got %+v, want the defaults", got)
	}
}

// plain writes a row for comparison: an empty default in the same way, wherever the row is from.
func plain(s setting) string {
	if word, ok := emptyInDocs[s.fallback]; ok {
		s.fallback = word
	}
	return strings.Join([]string{s.name, s.fallback, s.meaning, s.allowed}, " | ")
}
