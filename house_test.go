package stillhouse_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module   = "stillhouse"
	maxLines = 450 // of a file of code
)

// stagePackages never import each other, nor do the packages below them.
var stagePackages = []string{"distill", "curate", "filter", "train"}

// layer is the place of a package in the order in which imports point: cmd → pipelines → stages → root. Packages in
// internal stand beside that order: above the root, below all others.
func layer(pkg string) (rank int, part string) {
	part, _, _ = strings.Cut(strings.TrimPrefix(strings.TrimPrefix(pkg, module), "/"), "/")
	switch {
	case part == "":
		return 0, part
	case part == "internal":
		return 1, part
	case slices.Contains(stagePackages, part):
		return 2, part
	case part == "pipelines":
		return 3, part
	case part == "cmd":
		return 4, part
	}
	return -1, part
}

// mayImport says whether one package of the module may import another. A part's own packages may import each other,
// but no command another.
func mayImport(from, to string) bool {
	a, partA := layer(from)
	b, partB := layer(to)
	if a < 0 || b < 0 {
		return false
	}
	if partA == partB {
		return partA != "cmd"
	}
	return a > b
}

func TestMayImport(t *testing.T) {
	for _, arrow := range []struct {
		from, to string
		ok       bool
	}{
		{"stillhouse/cmd/stillhouse", "stillhouse/pipelines", true},
		{"stillhouse/cmd/stillhouse", "stillhouse/internal/serve", true},
		{"stillhouse/pipelines", "stillhouse/train", true},
		{"stillhouse/curate", "stillhouse/curate/answer", true},
		{"stillhouse/curate", "stillhouse/curate/reward", true},
		{"stillhouse/pipelines", "stillhouse/curate/reward", true},
		{"stillhouse/curate/candidates", "stillhouse/internal/rowfile", true},
		{"stillhouse/pipelines", "stillhouse/curate/candidates", true},
		{"stillhouse/train", "stillhouse", true},
		{"stillhouse/train", "stillhouse/internal/student", true},
		{"stillhouse/internal/rundir", "stillhouse", true},
		{"stillhouse/internal/student", "stillhouse/internal/kernel", true},

		{"stillhouse", "stillhouse/internal/rundir", false},
		{"stillhouse", "stillhouse/distill", false},
		{"stillhouse/internal/serve", "stillhouse/distill", false},
		{"stillhouse/internal/testkit", "stillhouse/pipelines", false},
		{"stillhouse/filter", "stillhouse/curate/answer", false},
		{"stillhouse/curate/reward", "stillhouse/distill", false},
		{"stillhouse/filter", "stillhouse/curate", false},
		{"stillhouse/curate/candidates", "stillhouse/distill/prompts", false},
		{"stillhouse/train", "stillhouse/pipelines", false},
		{"stillhouse/pipelines", "stillhouse/cmd/stillhouse", false},
		{"stillhouse/cmd/models", "stillhouse/cmd/stillhouse", false},
		{"stillhouse/pipelines", "stillhouse/tools", false},
	} {
		if got := mayImport(arrow.from, arrow.to); got != arrow.ok {
			t.Errorf("%s → %s: %t", arrow.from, arrow.to, got)
		}
	}
}

// sources calls do for every file of code or text in the repository that was written by hand.
func sources(t *testing.T, do func(name string, text []byte)) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := e.Name()
		if e.IsDir() {
			if name != "." && (strings.HasPrefix(base, ".") && base != ".ci" || slices.Contains([]string{"testdata", "bin", "runs"}, base)) {
				return fs.SkipDir
			}
			return nil
		}
		switch filepath.Ext(base) {
		case ".go", ".c", ".h", ".py", ".md", ".yaml", "":
		default:
			return nil
		}
		if !e.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		n++
		do(filepath.ToSlash(name), text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n < 10 {
		t.Errorf("only %d files were looked at", n)
	}
}

// TestImports walks the arrows between the packages. The tests of the root, which are a package of their own, may also
// use what is internal.
func TestImports(t *testing.T) {
	files := token.NewFileSet()
	sources(t, func(name string, text []byte) {
		if !strings.HasSuffix(name, ".go") {
			return
		}
		f, err := parser.ParseFile(files, name, text, parser.ImportsOnly)
		if err != nil {
			t.Error(err)
			return
		}
		pkg := path.Join(module, path.Dir(name))
		if slices.Contains([]string{"utils", "util", "helpers", "helper", "common", "manager", "misc"}, strings.TrimSuffix(f.Name.Name, "_test")) {
			t.Errorf("%s: a package named %s says nothing of what is in it", name, f.Name.Name)
		}
		for _, i := range f.Imports {
			to, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if to != module && !strings.HasPrefix(to, module+"/") {
				continue
			}
			external := strings.HasSuffix(f.Name.Name, "_test")
			if external && to == pkg || external && pkg == module && strings.HasPrefix(to, module+"/internal/") {
				continue
			}
			if !mayImport(pkg, to) {
				t.Errorf("%s: %s must not import %s: imports point cmd → pipelines → %s → %s, with internal below",
					files.Position(i.Pos()), pkg, to, strings.Join(stagePackages, ", "), module)
			}
		}
	})
}

// TestFiles looks at what no file may hold.
func TestFiles(t *testing.T) {
	// Put together here, so that this file does not hold them.
	unfinished := []string{"TO" + "DO", "FIX" + "ME", "X" + "XX"}
	machine := []string{"/wo" + "rk/", "/ro" + "ot/"}
	sources(t, func(name string, text []byte) {
		code := slices.Contains([]string{".go", ".c", ".h", ".py"}, filepath.Ext(name))
		if lines := strings.Count(string(text), "\n"); code && lines > maxLines {
			t.Errorf("%s has %d lines, more than %d: give its second idea a file of its own", name, lines, maxLines)
		}
		for i, line := range strings.Split(string(text), "\n") {
			for _, word := range append(unfinished, machine...) {
				if strings.Contains(line, word) {
					t.Errorf("%s:%d: holds %q", name, i+1, word)
				}
			}
			if strings.HasSuffix(name, "_test.go") && strings.Contains(line, "time."+"Sleep(") {
				t.Errorf("%s:%d: a test must not sleep: inject a clock or wait for an event", name, i+1)
			}
		}
	})
}
