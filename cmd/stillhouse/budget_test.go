package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stillhouse/internal/testkit"
)

// asks is a config without a student: prompts to kept rows, with keys more in the block distill.
func asks(t *testing.T, dir, url, name, more string) string {
	t.Helper()
	return write(t, dir, name+".yaml", `
name: `+name+`
prompts: {path: `+problems(t, dir, "many.jsonl", 10, 700)+`, prompt: q, reference: a}
distill: {endpoint: "`+url+`", model: scripted, max_tokens: 40, concurrency: 8, prices: {input: 1, output: 10}, `+more+`}
curate: {rewards: [math], select: {min_reward: 1}}
filter: [truncated]
`)
}

type asked struct {
	Ledger   map[string]struct{ Unasked map[string]int64 }
	Requests struct {
		Requests, Asked, Stored, Answers, Late int64
		Cost                                   float64 `json:"cost_dollars"`
		Budget, Target                         *struct {
			Reached bool
			Unasked int64
			Text    string
		}
		BySamples []struct{ Samples, Prompts int } `json:"by_samples"`
	}
}

func runs(t *testing.T, dir, config string, more ...string) (a asked, stderr string) {
	t.Helper()
	code, stdout, stderr := cli(t, append([]string{"run", config, "--runs", dir, "--json"}, more...)...)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	decode(t, stdout, &a)
	return a, stderr
}

// sameRun holds the shards of two runs against each other.
func sameRun(t *testing.T, how, want, got string) {
	t.Helper()
	a, b := shards(t, want), shards(t, got)
	if !slices.Equal(slices.Sorted(maps.Keys(a)), slices.Sorted(maps.Keys(b))) {
		t.Errorf("%s: other files: %v, %v", how, slices.Sorted(maps.Keys(a)), slices.Sorted(maps.Keys(b)))
	}
	for name := range a {
		if a[name] != b[name] && name != "ledger.json" {
			t.Errorf("%s: %s differs", how, name)
		}
	}
	if len(a) < 9 {
		t.Errorf("%s: only %d files", how, len(a))
	}
}

// TestBudgetRaised runs out of its budget twice, gets a larger one each time, and ends as a run that had it from the start.
func TestBudgetRaised(t *testing.T) {
	inProject(t)
	dir := t.TempDir()
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Answer: sums})
	for i, budget := range []string{"requests: 300", "requests: 300", "dollars: 0.03", "requests: 5000"} {
		before := teacher.Requests()
		a, stderr := runs(t, dir, asks(t, dir, teacher.URL(), "budget", "samples: {min: 1, max: 6}, budget: {"+budget+"}"))
		r, distill := a.Requests, a.Ledger["distill"].Unasked
		last := i == 3
		switch {
		case r.Budget == nil || r.Budget.Reached == last || (distill["budget_spent"] == 0) != last || r.Budget.Unasked != distill["budget_spent"]:
			t.Errorf("%s: %+v, unasked %v", budget, r, distill)
		case strings.Contains(stderr, "the budget is spent") == last:
			t.Errorf("%s: %s", budget, stderr)
		case r.Requests != int64(teacher.Requests()) || r.Asked != r.Answers || r.Stored != 0:
			t.Errorf("%s: %+v, and the teacher saw %d requests", budget, r, teacher.Requests())
		case i == 1 && teacher.Requests() != before:
			t.Errorf("%d requests more of a budget that is spent", teacher.Requests()-before)
		case i == 2 && (r.Cost < 0.03 || r.Cost > 0.0301):
			t.Errorf("spent $%v of $0.03", r.Cost)
		}
		if n := teacher.Resent(); n > 0 {
			t.Errorf("%s: %d requests were sent again after their answer", budget, n)
		}
		code, stdout, _ := cli(t, "report", filepath.Join(dir, "budget"))
		for _, say := range []string{"Teacher: ", "The budget ", "│ answers a prompt │ prompts │"} {
			if code != 0 || !strings.Contains(strings.ToLower(stdout), strings.ToLower(say)) {
				t.Errorf("%s: report %d does not say %q: %s", budget, code, say, stdout)
			}
		}
	}
	whole, _ := runs(t, dir, asks(t, dir, teacher.URL(), "whole", "samples: {min: 1, max: 6}"))
	if whole.Requests.Requests != 0 || whole.Requests.Stored == 0 || whole.Requests.Budget != nil || len(whole.Requests.BySamples) < 3 {
		t.Errorf("on the same store: %+v", whole.Requests)
	}
	sameRun(t, "with a budget raised twice", filepath.Join(dir, "whole"), filepath.Join(dir, "budget"))
}

// TestPlanOfRun reads what a run would take before it and after it.
func TestPlanOfRun(t *testing.T) {
	inProject(t)
	dir := t.TempDir()
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Answer: sums})
	config := asks(t, dir, teacher.URL(), "planned", "samples: {min: 1, max: 6}, target: {accepted: 600}, budget: {dollars: 5}")
	for i, says := range [][]string{
		{"700 prompts × 1 to 6 samples", "700 to 4200 answers: 0 are in the response store", "in 700 to 4200 requests", "40 an answer (distill.max_tokens, the most): $0.",
			"when 600 rows are accepted", "when the budget is spent: $0.00 of $5.00"},
		{"are in the response store and cost nothing, ", "(the mean of the stored answers)"},
	} {
		code, stdout, stderr := cli(t, "plan", config)
		for _, say := range says {
			if code != 0 || !strings.Contains(stdout, say) {
				t.Errorf("plan %d: exit code %d, %q is not said: %s%s", i, code, say, stdout, stderr)
			}
		}
		var plan struct{ Distill struct{ Stored int64 } }
		_, stdout, _ = cli(t, "plan", config, "--json")
		decode(t, stdout, &plan)
		if requests := teacher.Requests(); (i == 0) != (requests == 0) || (i == 0) != (plan.Distill.Stored == 0) {
			t.Errorf("plan %d: %d requests, %s", i, requests, stdout)
		}
		runs(t, dir, config)
	}
}

// TestTargetMoved gives a run one target after the other: each time it ends as a run that had it from the start.
func TestTargetMoved(t *testing.T) {
	inProject(t)
	dir := t.TempDir()
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Answer: sums})
	config := func(name string, target int) string {
		return asks(t, dir, teacher.URL(), name, fmt.Sprintf("samples: {min: 1, max: 6}, target: {accepted: %d}", target))
	}
	for _, target := range []int{100, 400, 50, 0, 100000, 300} {
		a, stderr := runs(t, dir, config("moved", target))
		if r := a.Requests.Target; target == 0 && r != nil || target > 0 && (r == nil || r.Reached != (target < 1000)) {
			t.Errorf("target %d: %+v", target, r)
		}
		if strings.Contains(stderr, "the target is reached") != (target > 0 && target < 1000) {
			t.Errorf("target %d: %s", target, stderr)
		}
		alone := fmt.Sprint("alone", target)
		runs(t, dir, config(alone, target))
		sameRun(t, fmt.Sprint("target ", target), filepath.Join(dir, alone), filepath.Join(dir, "moved"))
	}
	if n := teacher.Resent(); n > 0 {
		t.Errorf("%d requests were sent again after their answer", n)
	}

	// How candidates are judged says how many are asked for, so it is a matter of distill.
	changed := strings.Replace(string(must(t, os.ReadFile, config("moved", 300))), "min_reward: 1", "min_reward: 0.5", 1)
	code, _, stderr := cli(t, "run", write(t, dir, "moved.yaml", changed), "--runs", dir, "--from", "curate")
	if code != exitInput || !strings.Contains(stderr, "curate.select.min_reward: the run has 1, the config has 0.5") || !strings.Contains(stderr, "--from distill") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func must[T any](t *testing.T, f func(string) (T, error), path string) T {
	t.Helper()
	v, err := f(path)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestLogFormatJSON reads all that a run, a training and an error say as objects, one a line.
func TestLogFormatJSON(t *testing.T) {
	inProject(t)
	dir := t.TempDir()
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Answer: sums})
	read := func(stderr string) (lines []map[string]any) {
		t.Helper()
		for line := range strings.Lines(stderr) {
			var l map[string]any
			if err := json.Unmarshal([]byte(line), &l); err != nil || l["time"] == nil || l["level"] == nil || l["msg"] == nil {
				t.Errorf("%v: %q", err, line)
			}
			lines = append(lines, l)
		}
		return lines
	}
	code, _, stderr := cli(t, "run", smallRun(t, dir, teacher.URL()), "--runs", dir, "--log-format", "json")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	count := map[string]int{}
	for _, l := range read(stderr) {
		switch msg := l["msg"].(string); msg {
		case "progress":
			if l["step"] != "distill" || l["requests"] != 24.0 || l["done"] != 96.0 || l["total"] != 96.0 || l["accepted"] == 0.0 || l["retries"] == nil {
				t.Errorf("progress: %v", l)
			}
			count[msg]++
		case "step":
			if a, ok := l["account"].(map[string]any); !ok || a["in"] == nil || l["seconds"] == nil {
				t.Errorf("step: %v", l)
			}
			count["step "+l["step"].(string)]++
		case "log":
			if line, ok := l["line"].(map[string]any); !ok || line["loss"] == nil || l["step"] != "train" {
				t.Errorf("log: %v", l)
			}
			count[msg]++
		}
	}
	for _, what := range []string{"progress", "step distill", "step score", "step curate", "step filter", "log"} {
		if count[what] == 0 {
			t.Errorf("no line %q in %s", what, stderr)
		}
	}
	for _, args := range [][]string{{"run", "missing.yaml", "--log-format", "json"}, {"run", "--log-format=json", "--no-such-flag"}} {
		_, _, stderr = cli(t, args...)
		if lines := read(stderr); len(lines) != 1 || lines[0]["level"] != "ERROR" {
			t.Errorf("%v: %s", args, stderr)
		}
	}
	if code, _, stderr := cli(t, "validate", "examples/demo.yaml", "--log-format", "yaml"); code != exitInput || !strings.Contains(stderr, `--log-format is "yaml": it can be text or json`) {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}
