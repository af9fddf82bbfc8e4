package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stillhouse/distill"
)

// stored is a store with 175 answers of three teachers; its path.
func stored(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("distill/testdata/store/version1.db")
	if err != nil {
		t.Fatal(err)
	}
	return write(t, t.TempDir(), "responses.db", string(data))
}

func TestStoreCommands(t *testing.T) {
	inProject(t)
	path := stored(t)
	dir := t.TempDir()
	out, other := filepath.Join(dir, "answers.jsonl.zst"), filepath.Join(dir, "other.db")
	short := filepath.Join(dir, "short.jsonl.zst")
	damaged := write(t, dir, "damaged.db", "")
	for _, step := range []struct {
		args           string
		code           int
		stdout, stderr string // must be in there
	}{
		{"ls", 0, "│ single  │ m     │        36 │      36 │", path},
		{"ls --by day --json", 0, `"responses":96,"answers":175,"truncated":7,"prompt_tokens":1240,"completion_tokens":1234`, ""},
		{"ls --by hour", 2, "", "teacher, model, day"},
		{"ls --since tomorrow", 2, "", "2026-11-29"},
		{"show 5c50c2163b37", 0, "answer    mash peat still peat barley spirit mash cut stone cask.", ""},
		{"show 5c50c2163b37 --json", 0, `"finish_reason":"length"`, ""},
		{"show 5c5", 2, "", "is no key"},
		{"show", 2, "", "Usage: stillhouse store show"},
		{"stats", 0, "175 under 168 keys; 7 truncated, 7 of these superseded", ""},
		{"stats --json", 0, `"finish_reasons":{"length":7,"stop":168}`, ""},
		{"verify", 0, "175 answers of 96 responses are whole; 0 answers, 0 responses, 0 facts and 0 scores are damaged", ""},
		{"verify --json", 0, `"responses":96,"answers":175,"unused":0,"damaged_responses":0`, ""},
		{"export " + out + " --json", 0, `{"responses":96,"answers":175,"left_out":0}`, "175 answers of 96 responses"},
		{"export " + out, 2, "", "is there already"},
		{"export " + short + " --teacher short", 0, "", "43 answers of 36 responses"},
		{"export -", 0, "\x28\xb5\x2f\xfd", "175 answers"},
		{"export " + filepath.Join(dir, "no", "such", "x"), 2, "", "no such file or directory"},
		{"gc", 2, "", "nothing is selected"},
		{"gc --older-than 90", 2, "", "--older-than 90: give an age such as 90d"},
		{"gc --older-than 90d", 0, "", "0 answers and 0 responses"},
		{"gc --superseded --dry-run --json", 0, `"responses":7,"answers":7`, ""},
		{"gc --teacher short", 0, "", "43 answers and 36 responses (277 completion tokens) deleted"},
		{"import " + short + " " + out, 0, "", "43 new answers, 0 were there already"},
		{"import " + short + " --json", 0, `{"responses":36,"answers":0,"left_out":43}`, "0 new answers, 43 were there already"},
		{"verify", 0, "175 answers of 96 responses are whole", ""},
		{"import " + damaged, 2, "", "not what `stillhouse store export` writes"},
		{"gc --before 2030-01-01 --vacuum --json", 0, `"responses":96,"answers":175`, ""},
		{"verify", 0, "0 answers of 0 responses are whole", ""},
		{"drop", 2, "", "no such command"},
	} {
		code, stdout, stderr := cli(t, append(append([]string{"store"}, strings.Fields(step.args)...), "--store", path)...)
		if code != step.code || !strings.Contains(stdout, step.stdout) || !strings.Contains(stderr, step.stderr) {
			t.Errorf("store %s: exit code %d, want %d\n%s\n%s", step.args, code, step.code, stdout, stderr)
		}
	}
	if code, _, stderr := cli(t, "store", "import", out, "--store", other); code != 0 || !strings.Contains(stderr, "175 new answers") {
		t.Errorf("import into a new store: exit code %d: %s", code, stderr)
	}
	for _, args := range []string{"ls", "stats", "verify", "gc --unused", "export " + filepath.Join(dir, "none")} {
		none := filepath.Join(dir, "none.db")
		code, _, stderr := cli(t, append(append([]string{"store"}, strings.Fields(args)...), "--store", none)...)
		if code != 2 || !strings.Contains(stderr, "there is no response store at "+none) {
			t.Errorf("store %s on nothing: exit code %d: %s", args, code, stderr)
		}
		if _, err := os.Stat(none); err == nil {
			t.Errorf("store %s made a store", args)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("%v was left: %v", left, err)
	}
}

// Without --store it is the store that runs use where distill.store is not set.
func TestDefaultStore(t *testing.T) {
	inProject(t)
	data, err := os.ReadFile(stored(t))
	if err != nil {
		t.Fatal(err)
	}
	path, err := distill.DefaultStore()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Dir(path), filepath.Base(path), string(data))
	code, stdout, stderr := cli(t, "store", "stats", "--json")
	var s distill.Stats
	if err := json.Unmarshal([]byte(stdout), &s); err != nil || code != 0 || s.Store != path || s.Total.Answers != 175 {
		t.Errorf("exit code %d: %s: %s: %v", code, stdout, stderr, err)
	}
}

// A damaged store has verify exit with 1, say where the damage is, and what to do.
func TestVerifyDamage(t *testing.T) {
	inProject(t)
	path := stored(t)
	if code, _, stderr := cli(t, "store", "verify", "--store", path); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(data), "single") // the teacher of a response
	data[at] = 'S'
	path = write(t, t.TempDir(), "damaged.db", string(data))
	code, stdout, stderr := cli(t, "store", "verify", "--store", path)
	if code != 1 || !strings.Contains(stdout, "the row of this response is not what was written") || !strings.Contains(stdout, "under a key that is not that of its request") ||
		!strings.Contains(stdout, "174 answers of 95 responses are whole; 1 answers, 1 responses, 0 facts and 0 scores are damaged") || !strings.Contains(stderr, "stillhouse store export") {
		t.Errorf("exit code %d:\n%s\n%s", code, stdout, stderr)
	}
	code, stdout, _ = cli(t, "store", "verify", "--json", "--store", path)
	var v distill.Verdict
	if err := json.Unmarshal([]byte(stdout), &v); err != nil || code != 1 || v.DamagedAnswers != 1 || len(v.Damages) != 2 {
		t.Errorf("exit code %d: %v: %s", code, err, stdout)
	}
	out := filepath.Join(t.TempDir(), "saved")
	code, _, stderr = cli(t, "store", "export", out, "--store", path)
	if code != 1 || !strings.Contains(stderr, "174 answers of 95 responses") || !strings.Contains(stderr, "what is whole was written") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if code, _, stderr := cli(t, "store", "import", out, "--store", filepath.Join(t.TempDir(), "new.db")); code != 0 || !strings.Contains(stderr, "174 new answers") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}
