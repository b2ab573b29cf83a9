package main

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

const modulePath = "github.com/image-streamer/image-streamer"

// mayImport says for each package, by its directory, which others of this module it may import. It is a statement of
// policy: a package that needs more than its row allows is in the wrong place or does too much. A new package gets a
// row.
var mayImport = map[string][]string{
	// Floor 0: nothing of ours.
	"lua":                 {},
	"internal/queue":      {},
	"internal/httpserver": {},
	"internal/session":    {},
	"internal/drawtext":   {},
	"internal/logwriter":  {},

	// Floor 1: packages of floor 0.
	"internal/memqueue":   {"internal/queue"},
	"internal/redisqueue": {"internal/queue", "lua"},
	"internal/live":       {"internal/queue", "internal/httpserver"},
	"internal/ingest":     {"internal/httpserver"},
	"internal/config":     {"internal/session", "internal/httpserver"},
	"internal/producer":   {"internal/session", "internal/drawtext"},

	// Floor 2: the program.
	".": {
		"lua", "internal/queue", "internal/httpserver", "internal/session", "internal/drawtext", "internal/memqueue",
		"internal/redisqueue", "internal/live", "internal/ingest", "internal/config", "internal/producer",
		"internal/logwriter",
	},

	// Helpers of tests (see testHelpers), and packages that have nothing but tests.
	"internal/testkit":   {},
	"internal/certtest":  {"internal/testkit"},
	"internal/queuetest": {"internal/queue", "internal/session", "internal/testkit"},
	"internal/redistest": {"internal/testkit"},
	"internal/relaytest": {"internal/queue", "internal/testkit"},
	"bench":              {"internal/queue"},
	"e2e":                {},
}

// testHelpers are the packages that test files of every package may import. The program may not import them.
var testHelpers = []string{
	"internal/testkit", "internal/certtest", "internal/queuetest", "internal/redistest", "internal/relaytest",
}

// The packages of engineDirs keep the images. The tests of a few packages run on an engine, and may import it.
var (
	engineDirs  = []string{"internal/memqueue", "internal/redisqueue"}
	engineUsers = []string{".", "internal/live", "bench", "e2e"}
)

// importedBy says which of our packages may import a package from elsewhere, or one below its path. It does not count
// for test files.
var importedBy = map[string][]string{
	"github.com/redis/go-redis": {".", "internal/config", "internal/redisqueue", "internal/redistest"},
	"github.com/prometheus": {
		".", "internal/httpserver", "internal/ingest", "internal/memqueue", "internal/redisqueue", "internal/relaytest",
	},
	"github.com/ory/dockertest": {"internal/redistest"},
	"github.com/chromedp":       {},
	"testing":                   testHelpers,
}

// notImportedBy is the opposite of importedBy: it says which of our packages may not import a package from elsewhere.
var notImportedBy = map[string][]string{
	"net/http": {"internal/queue", "internal/memqueue", "internal/redisqueue", "internal/session", "internal/config"},
}

// sourceFile is a Go file of the module.
type sourceFile struct {
	name, dir string // dir is "." at the root
	imports   []string
}

func (f sourceFile) isTest() bool { return strings.HasSuffix(f.name, "_test.go") }

// mayUse reports whether the file may import a package of the module. Test files may import more than other files:
// their own package, session for fresh ids, and what helps tests.
func (f sourceFile) mayUse(dir string) bool {
	if slices.Contains(testHelpers, dir) && !f.isTest() && !slices.Contains(testHelpers, f.dir) {
		return false
	}
	if slices.Contains(mayImport[f.dir], dir) {
		return true
	}
	return f.isTest() && (dir == f.dir || dir == "internal/session" || slices.Contains(testHelpers, dir) ||
		slices.Contains(engineDirs, dir) && slices.Contains(engineUsers, f.dir))
}

// mayUseForeign reports whether the file may import a package from elsewhere.
func (f sourceFile) mayUseForeign(importPath string) bool {
	if f.isTest() {
		return true
	}
	for tree, dirs := range importedBy {
		if isWithin(importPath, tree) && !slices.Contains(dirs, f.dir) {
			return false
		}
	}
	for tree, dirs := range notImportedBy {
		if isWithin(importPath, tree) && slices.Contains(dirs, f.dir) {
			return false
		}
	}
	return true
}

func isWithin(importPath, tree string) bool { return strings.HasPrefix(importPath+"/", tree+"/") }

// policyBreaches compares the module below a root with the tables above and returns a line for each difference.
func policyBreaches(root fs.FS) (breaches []string, err error) {
	files, err := sourceFiles(root)
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, f := range files {
		if _, planned := mayImport[f.dir]; !planned && !found[f.dir] {
			breaches = append(breaches, f.dir+": the package has no row in mayImport")
		}
		found[f.dir] = true
		for _, importPath := range f.imports {
			dir, ours := strings.CutPrefix(importPath, modulePath+"/")
			if ours && !f.mayUse(dir) || !ours && !f.mayUseForeign(importPath) {
				breaches = append(breaches, fmt.Sprintf("%s: may not import %s", f.name, importPath))
			}
		}
	}
	for dir := range mayImport {
		if !found[dir] {
			breaches = append(breaches, dir+": has a row in mayImport and no Go files")
		}
	}
	slices.Sort(breaches)
	return breaches, nil
}

// sourceFiles returns the Go files of the module, whatever system they are for.
func sourceFiles(root fs.FS) (files []sourceFile, err error) {
	err = fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && isForeign(root, name):
			return fs.SkipDir
		case entry.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		f, err := readSource(root, name)
		files = append(files, f)
		return err
	})
	return files, err
}

// isForeign reports whether the Go tool leaves a directory out of the module.
func isForeign(root fs.FS, dir string) bool {
	if dir == "." {
		return false
	}
	base := path.Base(dir)
	_, err := fs.Stat(root, path.Join(dir, "go.mod"))
	return base[0] == '.' || base[0] == '_' || base == "testdata" || err == nil
}

func readSource(root fs.FS, name string) (sourceFile, error) {
	f := sourceFile{name: name, dir: path.Dir(name)}
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return f, err
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly)
	if err != nil {
		return f, err
	}
	for _, spec := range parsed.Imports {
		importPath, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return f, fmt.Errorf("%s: %w", name, err)
		}
		f.imports = append(f.imports, importPath)
	}
	return f, nil
}

func TestArchitecture(t *testing.T) {
	t.Parallel()
	breaches, err := policyBreaches(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	for _, breach := range breaches {
		t.Error(breach)
	}
}

// rulesKept returns a module in which every package keeps the rules.
func rulesKept() fstest.MapFS {
	module := fstest.MapFS{}
	for dir := range mayImport {
		module[path.Join(dir, "x_test.go")] = &fstest.MapFile{Data: []byte("package x")}
	}
	return module
}

func TestArchitectureFindsImports(t *testing.T) {
	t.Parallel()
	const ours = modulePath + "/"
	for _, row := range []struct {
		file, imports string
		allowed       bool
	}{
		{"internal/queue/a.go", ours + "internal/session", false},
		{"internal/live/a.go", ours + "internal/queue", true},
		{"internal/live/a.go", ours + "internal/memqueue", false},
		{"internal/live/a_test.go", ours + "internal/memqueue", true},
		{"internal/ingest/a_test.go", ours + "internal/memqueue", false},
		{"internal/ingest/a_test.go", ours + "internal/ingest", true},
		{"internal/ingest/a_test.go", ours + "internal/queuetest", true},
		{"a.go", ours + "internal/config", true},
		{"a.go", ours + "internal/testkit", false},
		{"a.go", ours + "internal/unknown", false},
		{"a.go", "testing/fstest", false},
		{"a.go", "github.com/chromedp/chromedp", false},
		{"a_test.go", "github.com/chromedp/chromedp", true},
		{"a.go", "github.com/redis/go-redis/v9", true},
		{"internal/live/a.go", "github.com/redis/go-redis/v9", false},
		{"internal/live/a.go", "github.com/prometheus/client_golang/prometheus", false},
		{"internal/queue/a.go", "net/http", false},
		{"internal/queue/a.go", "net/http/httptest", false},
		{"internal/queue/a.go", "net/netip", true},
		{"testdata/a.go", ours + "internal/unknown", true},
	} {
		module, want := rulesKept(), ""
		module[row.file] = &fstest.MapFile{Data: []byte("package x\nimport " + strconv.Quote(row.imports))}
		if !row.allowed {
			want = row.file + ": may not import " + row.imports
		}
		got, err := policyBreaches(module)
		if text := strings.Join(got, "\n"); err != nil || text != want {
			t.Errorf("%s imports %s: got %q, error %v, want %q", row.file, row.imports, text, err, want)
		}
	}
}

func TestArchitectureFindsPackages(t *testing.T) {
	t.Parallel()
	module := rulesKept()
	delete(module, "internal/live/x_test.go")
	for _, name := range []string{
		"internal/extra/a.go", "internal/extra/b.go", "testing/a_test.go", ".ci/a.go", "_old/a.go", "lua/testdata/a.go",
		"examples/a.go", "examples/camera/a.go",
	} {
		module[name] = &fstest.MapFile{Data: []byte("package x")}
	}
	module["examples/go.mod"] = &fstest.MapFile{Data: []byte("module examples")}
	want := []string{
		"internal/extra: the package has no row in mayImport",
		"internal/live: has a row in mayImport and no Go files",
		"testing: the package has no row in mayImport",
	}
	if got, err := policyBreaches(module); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, error %v, want %q", got, err, want)
	}
}
