package main

import (
	"strings"
	"testing"

	"stillhouse/internal/testkit"
)

// TestInspectMask looks at rows of a run and of a training's data as the student is trained on them.
func TestInspectMask(t *testing.T) {
	inProject(t)
	dir := t.TempDir()
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Answer: sums})
	code, _, stderr := cli(t, "run", smallRun(t, dir, teacher.URL()), "--runs", dir)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	if !strings.Contains(stderr, "tokens are trained, shown in brackets\n  <|im_start|>│") || !strings.Contains(stderr, "rows train the end of a turn") {
		t.Errorf("the gate shows no row: %s", stderr)
	}
	run := dir + "/small"
	var m struct {
		Row                  string
		Tokens, Trained, Cut int
		List                 []struct {
			ID      int32
			Text    string
			Trained bool
		}
	}
	code, stdout, stderr := cli(t, "inspect", run, "--mask", "--json")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	decode(t, stdout, &m)
	var trained, all strings.Builder
	n := 0
	for _, token := range m.List {
		all.WriteString(token.Text)
		if token.Trained {
			n++
			trained.WriteString(token.Text)
		}
	}
	if m.Tokens != len(m.List) || m.Trained != n || !strings.Contains(trained.String(), "####") || strings.Contains(trained.String(), "What is") || !strings.Contains(all.String(), "What is") {
		t.Errorf("%+v", m)
	}
	id := strings.Split(m.Row, `"`)[1]
	code, text, stderr := cli(t, "inspect", run, "--mask", "--row", id)
	if code != 0 || !strings.HasPrefix(text, m.Row+": ") || strings.Count(text, " trained  ") != n {
		t.Errorf("exit code %d: %s%s", code, text, stderr)
	}
	if code, text, stderr = cli(t, "inspect", run, "--mask", "--rows", "arms/uncurated/rows", "--row", "2"); code != 0 || !strings.HasPrefix(text, "prompt ") {
		t.Errorf("exit code %d: %s%s", code, text, stderr)
	}
	config := write(t, dir, "course.yaml", `train: {student: testdata/parity/train/models/tiny-llama, data: {path: `+
		write(t, dir, "rows.jsonl", `{"text": "ab"}`+"\n"+`{"text": "Yes"}`+"\n")+`}}`)
	if code, text, stderr = cli(t, "inspect", config, "--mask", "--row", "2"); code != 0 || !strings.HasPrefix(text, "rows.jsonl line 2: 3 of 4 tokens are trained\n") || strings.Contains(text, "\x1b") {
		t.Errorf("exit code %d: %s%s", code, text, stderr)
	}
	for _, c := range []struct{ args, want string }{
		{run + " --mask --row 999", "--row 999: there is no such row: give a number from 1 to "},
		{run + " --row 1", "--row is for --mask"},
		{config + " --mask --rows kept", "--rows kept: is for runs"},
		{dir + "/none --mask", "there is no such run or config"},
		{dir + " --mask", "is no run"},
	} {
		if code, _, stderr := cli(t, append([]string{"inspect"}, strings.Fields(c.args)...)...); code != exitInput || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: exit code %d: %s", c.args, code, stderr)
		}
	}
}
