package testkit

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write golden files, and the parts of documents that tests make, anew")

// Golden compares a text with a file, which -update writes.
func Golden(t testing.TB, path, text string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, got := strings.Split(string(raw), "\n"), strings.Split(text, "\n")
	for i := range max(len(want), len(got)) {
		if i >= len(want) || i >= len(got) || want[i] != got[i] {
			t.Fatalf("%s: line %d is another: run go test with -run %s -update, and look at what changes", path, i+1, t.Name())
		}
	}
}

// Section is [Golden] for the part of a document between the lines <!-- NAME --> and <!-- end of NAME -->.
func Section(t testing.TB, page, name, text string) {
	t.Helper()
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- "+name+" -->\n", "<!-- end of "+name+" -->"
	head, rest, begins := strings.Cut(string(raw), begin)
	_, tail, ends := strings.Cut(rest, end)
	if !begins || !ends {
		t.Fatalf("%s: the lines %q and %q are missing", page, strings.TrimSpace(begin), end)
	}
	Golden(t, page, head+begin+text+end+tail)
}
