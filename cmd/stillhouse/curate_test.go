package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stillhouse/internal/testkit"
	"stillhouse/pipelines"
)

// Another selection is tried, and becomes a run that shares candidates and scores: its books balance, it is reported, goes on and is exported.
func TestCurate(t *testing.T) {
	inProject(t)
	dir := t.TempDir()
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Answer: sums})
	config := write(t, dir, "small.yaml", `
name: small
prompts: {path: `+problems(t, dir, "prompts.jsonl", 10, 24)+`, prompt: q, reference: a}
distill: {endpoint: "`+teacher.URL()+`", model: scripted, samples: 4, max_tokens: 40, concurrency: 4, budget: {requests: 1000}}
curate: {rewards: [math, {length: {max_tokens: 40, weight: 0.1}}], select: {min_reward: 1}}
filter: [truncated, exact]
train: {student: testdata/parity/train/models/tiny-llama, max_steps: 1, per_device_train_batch_size: 4}
`)
	if code, _, stderr := cli(t, "run", config, "--runs", dir); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	run := filepath.Join(dir, "small")
	asked, before := teacher.Requests(), shards(t, run)

	var table pipelines.WhatIf
	code, stdout, stderr := cli(t, "curate", run, "--what-if", "--json",
		"--select", "{policy: shortest_right}", "--select", "policy=threshold min_reward=0.05 best=3", "--select", "policy=pairs margin=0.5", "--select", "band=[0.3,0.8] best=2")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	decode(t, stdout, &table)
	if table.Candidates != 96 || len(table.Tries) != 4 {
		t.Errorf("%+v", table)
	}
	for _, tried := range table.Tries {
		if pairs := strings.Contains(tried.Select, "pairs"); pairs != (tried.TrainingSeconds == 0) || tried.Rows == 0 {
			t.Errorf("%+v", tried)
		}
	}
	code, stdout, stderr = cli(t, "curate", run, "--what-if", "--training-time=false")
	if code != 0 || strings.Contains(stdout, "TRAINING") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
	// The grid of itself, with the time of a training.
	code, stdout, stderr = cli(t, "curate", run, "--what-if")
	for _, part := range []string{"96 candidates for 24 prompts", "TRAINING", "{policy: right_distinct, best: 4}", "{best: 1, min_reward: 1}"} {
		if code != 0 || !strings.Contains(stdout, part) {
			t.Errorf("exit code %d, %q is not in\n%s%s", code, part, stdout, stderr)
		}
	}

	for i, name := range []string{"short", "all", "pairs"} {
		args := []string{"curate", run, "--select", table.Tries[i].Select, "--name", name, "--json"}
		var report struct {
			Ledger  map[string]struct{ Kept int }
			Derived pipelines.Derived
		}
		code, stdout, stderr := cli(t, args...)
		if code != 0 {
			t.Fatalf("%s: exit code %d: %s", name, code, stderr)
		}
		decode(t, stdout, &report)
		if report.Ledger["curate"].Kept != table.Tries[i].Rows || report.Derived.From != "../small" || report.Derived.Select != table.Tries[i].Select {
			t.Errorf("%s: %+v, the table said %d rows", name, report, table.Tries[i].Rows)
		}
		// Once more, it has nothing to do; and the run's own command has only the training to do.
		if code, again, stderr := cli(t, args...); code != 0 || again != stdout {
			t.Errorf("%s again: exit code %d: %s%s", name, code, stderr, cmp.Diff(stdout, again))
		}
		made := shards(t, filepath.Join(dir, name))
		if code, _, stderr := cli(t, "run", filepath.Join(dir, name, "config.yaml"), "--runs", dir); code != 0 {
			t.Errorf("run %s: exit code %d: %s", name, code, stderr)
		}
		for file, sum := range shards(t, filepath.Join(dir, name)) {
			if was, ok := made[file]; ok && was != sum && file != "ledger.json" {
				t.Errorf("%s: %s changed", name, file)
			}
		}
		_, err := os.Stat(filepath.Join(dir, name, "student", "model.safetensors"))
		if trained := err == nil; trained != (name != "pairs") {
			t.Errorf("%s: trained: %t", name, trained)
		}
		if code, stdout, stderr := cli(t, "report", filepath.Join(dir, name)); code != 0 || !strings.Contains(stdout, "are those of ../small, which selects {best: 1, min_reward: 1}") {
			t.Errorf("report %s: exit code %d: %s%s", name, code, stdout, stderr)
		}
		if code, _, stderr := cli(t, "export", filepath.Join(dir, name), filepath.Join(dir, "exported", name)); code != 0 {
			t.Errorf("export %s: exit code %d: %s", name, code, stderr)
		}
	}
	if n := teacher.Requests(); n != asked {
		t.Errorf("%d requests were sent", n-asked)
	}
	if d := cmp.Diff(before, shards(t, run)); d != "" {
		t.Errorf("the run itself changed: %s", d)
	}
	if card, err := os.ReadFile(filepath.Join(dir, "exported", "pairs", "README.md")); err != nil || !strings.Contains(string(card), "preference pairs") {
		t.Errorf("%s, %v", card, err)
	}
	_, first, _ := cli(t, "inspect", filepath.Join(dir, "pairs"), "--rows", "kept", "--limit", "1")
	for _, part := range []string{`"chosen": [`, `"rejected": [`, `"role": "assistant"`} {
		if !strings.Contains(first, part) {
			t.Errorf("%q is not in %s", part, first)
		}
	}

	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"curate", run}, "give one --select"},
		{[]string{"curate", run, "--select", "best=1", "--select", "best=2"}, "2 selections are given"},
		{[]string{"curate", run, "--select", "bset=1"}, `bset: is not a key: did you mean "best"?`},
		{[]string{"curate", run, "--select", "best=1 x"}, `"x" is no KEY=VALUE`},
		{[]string{"curate", run, "--select", ""}, "--select is empty"},
		{[]string{"curate", run, "--select", "{best: ["}, "neither YAML nor KEY=VALUE"},
		{[]string{"curate", run, "--select", "policy=bset"}, `curate.select.policy: is "bset"`},
		{[]string{"curate", run, "--select", "best=1", "--name", "small"}, "is the run itself"},
		{[]string{"curate", run, "--select", "best=3", "--name", "short"}, "give the run another name"},
		{[]string{"curate", run, "--select", "best=1", "--name", "a/b"}, "name: is \"a/b\""},
		{[]string{"curate", dir, "--what-if"}, "is no run"},
	} {
		if code, out, said := cli(t, tc.args...); code != exitInput || !strings.Contains(said, tc.want) || out != "" {
			t.Errorf("%v: %d: %s%s", tc.args, code, out, said)
		}
	}
}

// Pairs are not trained on, and no filter looks at them.
func TestPairsAreNotTrainedOn(t *testing.T) {
	inProject(t)
	dir := t.TempDir()
	rows := write(t, dir, "rows.jsonl", `{"q": "1+1?", "a": "2"}`+"\n")
	for block, want := range map[string]string{
		"train: {student: testdata/parity/train/models/tiny-llama}": "line 5: train: takes rows of prompt and completion, and curate.select.policy pairs makes preference pairs",
		"filter: [exact]": "line 5: filter: takes rows of prompt and completion",
	} {
		config := write(t, dir, "c.yaml", `prompts: {path: `+rows+`, prompt: q, reference: a}
distill: {endpoint: "http://127.0.0.1:9/v1", model: m, samples: 4}
curate: {rewards: [math], select: {policy: pairs}}

`+block+"\n")
		if code, _, stderr := cli(t, "validate", config); code != exitInput || !strings.Contains(stderr, want) {
			t.Errorf("%s: %d: %s", block, code, stderr)
		}
	}
}
