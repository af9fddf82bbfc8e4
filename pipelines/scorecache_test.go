package pipelines

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// rowsWith writes n questions, of which the first so many have an answer.
func rowsWith(t *testing.T, n, answered int) string {
	t.Helper()
	var b strings.Builder
	for i := range n {
		answer := "null"
		if i < answered {
			answer = fmt.Sprintf(`"%d"`, i)
		}
		fmt.Fprintf(&b, `{"q": "What is %d+0?", "a": %s}`+"\n", i, answer)
	}
	path := filepath.Join(t.TempDir(), "rows.jsonl")
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRewardsAreChecked checks what a run's rewards need before the teacher is asked for anything.
func TestRewardsAreChecked(t *testing.T) {
	for _, tc := range []struct {
		answered        int
		distill, curate string
		wrong, warning  string
	}{
		{10, "samples: 4", "rewards: [math, majority]", "", ""},
		{10, "samples: {min: 2, max: 8, enough: 1}", "rewards: [math, {majority: {name: vote}}], select: {min_reward: 1}",
			`distill.samples.enough: is 1, and reward "vote" judges all candidates of a prompt together, not one after the other: write samples: 8`, ""},
		{10, "samples: 2, target: {accepted: 5}", "rewards: [majority]", `distill.target.accepted: is 5, and reward "majority" judges`, ""},
		{0, "samples: 2", "rewards: [math]", `prompts.reference: is "a", which is empty in all of 10 rows: reward "math" compares with it`, ""},
		{5, "samples: 2", "rewards: [math]", "", `5 of 10 prompts have no reference answer in column "a": reward "math" will find their candidates unparsable`},
		{5, "samples: 2", "rewards: [majority]", "", ""},
	} {
		c, err := Load(writeConfig(t, fmt.Sprintf("prompts: {path: %s, prompt: q, reference: a}\ndistill: {endpoint: \"http://127.0.0.1:9/v1\", model: m, %s}\ncurate: {%s}\n",
			rowsWith(t, 10, tc.answered), tc.distill, tc.curate)))
		if err != nil {
			t.Fatal(err)
		}
		err = c.Check(context.Background())
		if (err == nil) != (tc.wrong == "") || err != nil && !strings.Contains(err.Error(), tc.wrong) {
			t.Errorf("%s: %v, not %q", tc.curate, err, tc.wrong)
		}
		if got := strings.Join(c.Warnings, "\n"); got != tc.warning {
			t.Errorf("%s: warning %q, not %q", tc.curate, got, tc.warning)
		}
	}
}

// TestWhoJudges says when rewards are asked while the teacher is: where it matters, or costs nothing.
func TestWhoJudges(t *testing.T) {
	for _, tc := range []struct {
		distill, rewards string
		judged           bool
	}{
		{"samples: 2", "[math]", true},
		{"samples: 2", "[majority]", false},
		{"samples: 2", "[{math: {cache: true}}]", false},
		{"samples: {min: 1, max: 2, enough: 1}", "[{math: {cache: true}}]", true},
		{"samples: 2, target: {accepted: 5}", "[{math: {cache: true}}]", true},
	} {
		c, err := Load(writeConfig(t, fmt.Sprintf("prompts: {path: rows.jsonl, prompt: q, reference: a}\ndistill: {endpoint: \"http://127.0.0.1:9/v1\", model: m, store: %s, %s}\ncurate: {rewards: %s, select: {min_reward: 1}}\n",
			filepath.Join(t.TempDir(), "responses.db"), tc.distill, tc.rewards)))
		if err != nil {
			t.Fatal(err)
		}
		judge, end, err := c.judge(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if (judge != nil) != tc.judged {
			t.Errorf("%s, %s: judged: %t", tc.distill, tc.rewards, judge != nil)
		}
		if err := end(); err != nil {
			t.Error(err)
		}
	}
}
