package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// cli runs one command line in this process and returns its exit code and what it wrote.
func cli(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = execute(context.Background(), args, &out, &errs)
	return code, out.String(), errs.String()
}

// inProject makes the project's folder the working directory, as the examples expect, and gives the test a response
// store of its own.
func inProject(t *testing.T) {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Chdir("../..")
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWrongInput(t *testing.T) {
	inProject(t)
	dir := t.TempDir()
	rows := write(t, dir, "rows.jsonl", `{"q": "1+1?", "a": "2"}`+"\n"+`{"q": "2+2?", "a": "4"}`+"\n")
	broken := write(t, dir, "broken.jsonl", `{"q": "1+1?"}`+"\n"+`{"q": `+"\n")
	empty := write(t, dir, "empty.jsonl", "")
	config := func(name, text string) string {
		return write(t, dir, name, strings.NewReplacer("ROWS", rows, "BROKEN", broken, "EMPTY", empty).Replace(text))
	}
	const good = `
prompts: {path: ROWS, prompt: q, reference: a}
distill: {endpoint: "http://127.0.0.1:9/v1", model: m}
curate: {rewards: [math]}
`
	for _, tc := range []struct {
		name string
		args []string
		want []string // all in what is written to stderr
	}{
		{"no such config", []string{"validate", "nowhere.yaml"}, []string{"nowhere.yaml", "no such file"}},
		{"empty config", []string{"validate", config("e.yaml", "")}, []string{"e.yaml", "empty"}},
		{"not YAML", []string{"validate", config("n.yaml", "a: [")}, []string{"n.yaml", "line 1"}},
		{"unknown key", []string{"validate", config("u.yaml", good+"trian: {}\n")}, []string{"u.yaml", "line 5", "trian", `"train"`}},
		{"unknown nested key", []string{"validate", config("u2.yaml", strings.Replace(good, "model: m", "modell: m", 1))}, []string{"line 3", "distill.modell", `"model"`}},
		{"wrong type", []string{"validate", config("t.yaml", strings.Replace(good, "model: m", "model: m, samples: many", 1))}, []string{"line 3", "distill.samples", "whole number", "many"}},
		{"impossible value", []string{"validate", config("v.yaml", strings.Replace(good, "model: m", "model: m, samples: -1", 1))}, []string{"v.yaml", "line 3", "samples", "-1"}},
		{"unknown reward", []string{"validate", config("r.yaml", strings.Replace(good, "[math]", "[maths]", 1))}, []string{"line 4", "maths", `"math"`}},
		{"unknown filter option", []string{"validate", config("f.yaml", good+"filter: [{minhash: {treshold: 1}}]\n")}, []string{"line 5", "treshold", `"threshold"`}},
		{"missing prompts file", []string{"validate", config("m.yaml", strings.Replace(good, "ROWS", "gone.jsonl", 1))}, []string{"gone.jsonl"}},
		{"empty prompts file", []string{"validate", config("m2.yaml", strings.Replace(good, "ROWS", "EMPTY", 1))}, []string{"empty.jsonl", "empty"}},
		{"broken prompts line", []string{"validate", config("m3.yaml", strings.Replace(good, "ROWS", "BROKEN", 1))}, []string{"broken.jsonl", "line 2"}},
		{"missing column", []string{"validate", config("m4.yaml", strings.Replace(good, "prompt: q", "prompt: question", 1))}, []string{"question", "q", "a"}},
		{"student without weights", []string{"validate", config("s.yaml", good+"train: {student: "+dir+"}\n")}, []string{"config.json"}},
		{"no key", []string{"run", config("k.yaml", strings.Replace(good, `"http://127.0.0.1:9/v1"`, `"https://example.invalid/v1", api_key_env: STILLHOUSE_TEST_NO_KEY`, 1)), "--runs", dir}, []string{"STILLHOUSE_TEST_NO_KEY"}},
		{"unknown step", []string{"run", config("g.yaml", good), "--from", "filtre", "--runs", dir}, []string{"filtre", `"filter"`}},
		{"no such run", []string{"report", filepath.Join(dir, "none")}, []string{"none"}},
		{"unknown flag", []string{"run", "x.yaml", "--frm", "filter"}, []string{"--frm", "Usage"}},
		{"unknown command", []string{"rum", "x.yaml"}, []string{"rum", `"run"`}},
		{"help on an unknown command", []string{"help", "rum"}, []string{"rum", `"run"`}},
		{"no argument", []string{"validate"}, []string{"Usage"}},
		{"unknown model", []string{"ask", filepath.Join(dir, "nothing"), "hello"}, []string{"nothing"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, _, stderr := cli(t, tc.args...)
			if code != exitInput {
				t.Errorf("exit code %d, not %d", code, exitInput)
			}
			for _, w := range tc.want {
				if !strings.Contains(stderr, w) {
					t.Errorf("no %q in what was said:\n%s", w, stderr)
				}
			}
		})
	}
}

// Candidates that are there already need no teacher: what was read is said.
func TestCandidates(t *testing.T) {
	inProject(t)
	dir := t.TempDir()
	const said = "candidates.path: distilabel generations (8 prompts, 23 candidates, 1 rows that are none)"
	for _, args := range [][]string{{"validate", "examples/candidates.yaml"}, {"plan", "examples/candidates.yaml"}, {"run", "examples/candidates.yaml", "--runs", dir}} {
		if code, stdout, stderr := cli(t, args...); code != 0 || !strings.Contains(stdout+stderr, said) {
			t.Errorf("%v: exit code %d: %s%s", args, code, stdout, stderr)
		}
	}
	code, stdout, stderr := cli(t, "inspect", filepath.Join(dir, "candidates"), "--rows", "failed/candidates", "--json")
	if code != 0 || !strings.Contains(stdout, `"reason":"no_content"`) {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}

func TestEndpointRefuses(t *testing.T) {
	inProject(t)
	dir := t.TempDir()
	rows := write(t, dir, "rows.jsonl", `{"q": "1+1?", "a": "2"}`+"\n")
	config := write(t, dir, "c.yaml", `
prompts: {path: `+rows+`, prompt: q, reference: a}
distill: {endpoint: "http://127.0.0.1:9/v1", model: m, max_retries: 0, give_up_after: 1ms}
curate: {rewards: [math]}
`)
	code, _, stderr := cli(t, "run", config, "--runs", dir)
	if code != exitFailed || !strings.Contains(stderr, "127.0.0.1:9") {
		t.Errorf("exit code %d, said: %s", code, stderr)
	}
}

func TestVersion(t *testing.T) {
	code, stdout, _ := cli(t, "version")
	if code != 0 || !strings.HasPrefix(stdout, "stillhouse ") {
		t.Errorf("exit code %d: %q", code, stdout)
	}
}

func decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
}
