package pipelines

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	_ "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/testkit"
)

// judged answers as the teacher, whose first sample of every second prompt is poor, and as the model judge, who knows.
func judged(c testkit.Call) testkit.Choice {
	if c.Model == "judge" {
		if strings.Contains(c.Prompt(), "poor answer") {
			return testkit.Choice{Content: "It is poor.\nScore: 2"}
		}
		return testkit.Choice{Content: "It is fine.\nScore: 9"}
	}
	if n := strings.Count(c.Prompt(), "odd"); n > 0 && c.Seed != nil && *c.Seed%2 == 0 {
		return testkit.Choice{Content: fmt.Sprintf("A poor answer, %d: poor answer", *c.Seed)}
	}
	return testkit.Choice{Content: fmt.Sprintf("A fine answer, %d", *c.Seed)}
}

// countJudged counts the requests to the judge.
func countJudged(t *testkit.Teacher) (n int) {
	for _, c := range t.Calls() {
		if c.Model == "judge" {
			n++
		}
	}
	return n
}

func judgedConfig(t *testing.T, dir, url, samples, more string) *Config {
	t.Helper()
	var b strings.Builder
	for i := range 12 {
		fmt.Fprintf(&b, `{"q": "Question %d, %s"}`+"\n", i, [2]string{"even", "odd"}[i%2])
	}
	rows := filepath.Join(dir, "rows.jsonl")
	require.NoError(t, os.WriteFile(rows, []byte(b.String()), 0o644))
	c, err := Load(writeConfig(t, fmt.Sprintf("name: judged\nprompts: {path: '%s', prompt: q}\ndistill: {endpoint: '%s', model: teacher, samples: %s, store: '%s'}\n"+
		"curate: {rewards: [{judge: {endpoint: '%[2]s', model: judge, rubric: helpfulness%[5]s}}], select: {best: 1, min_reward: 0.5}}\n", rows, url, samples, filepath.Join(dir, "store.db"), more)))
	require.NoError(t, err)
	return c
}

// A judge is asked while the teacher is, where that decides how many samples there are, and nothing is asked twice: not when
// the rows are scored later, not by another run, and not when the scores that are kept are lost.
func TestJudgedRun(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	t.Setenv("XDG_CACHE_HOME", elsewhere)
	model := testkit.StartTeacher(t, &testkit.Teacher{Answer: judged, MaxChoices: 1})
	c := judgedConfig(t, dir, model.URL(), "{min: 1, max: 6, enough: 1}", ", api_key_env: STILLHOUSE_TEST_JUDGE_KEY")
	_, said, err := runIn(t, c, dir, "")
	require.ErrorContains(t, err, "STILLHOUSE_TEST_JUDGE_KEY", said)
	assert.Zero(t, model.Requests(), "nothing is asked before it is known that the judge can be")

	t.Setenv("STILLHOUSE_TEST_JUDGE_KEY", "sk-planted-judge")
	report, said, err := runIn(t, c, dir, "")
	require.NoError(t, err, said)
	assert.EqualValues(t, 12, report.Ledger["curate"].Kept, said)
	scored := report.Ledger["curate"].In
	assert.Greater(t, scored, int64(12), "the poor first samples are followed by others")
	assert.Less(t, scored, int64(72))
	assert.EqualValues(t, scored, countJudged(model), "one question for each candidate")
	assert.Zero(t, model.Resent())
	for _, call := range model.Calls() {
		if call.Model == "judge" {
			assert.Equal(t, "Bearer sk-planted-judge", call.Header.Get("Authorization"))
		}
	}

	assert.Contains(t, said, fmt.Sprintf("judge    %d requests to judge, 0 answers from the response store\n", scored))
	others, err := os.ReadDir(elsewhere)
	require.NoError(t, err)
	assert.Empty(t, others, "the judge's answers are in the run's store")

	all := model.Requests()
	_, said, err = runIn(t, c, dir, "curate")
	require.NoError(t, err, said)
	_, said, err = runIn(t, c, t.TempDir(), "")
	require.NoError(t, err, said)
	assert.Equal(t, all, model.Requests(), "all is in the response store")

	db, err := sql.Open("sqlite3", filepath.Join(dir, "store.db"))
	require.NoError(t, err)
	gone, err := db.Exec(`DELETE FROM scores`)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	n, err := gone.RowsAffected()
	require.NoError(t, err)
	assert.EqualValues(t, scored, n)
	_, said, err = runIn(t, c, dir, "curate")
	require.NoError(t, err, said)
	assert.Equal(t, all, model.Requests(), "the judge's answers are there though the scores are not")

	for _, name := range []string{"store.db", "store.db-wal"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if !os.IsNotExist(err) {
			require.NoError(t, err)
			assert.NotContains(t, string(data), "sk-planted-judge")
		}
	}
}

// A run that is stopped in the middle of judging goes on with the question that had no answer.
func TestJudgingIsStopped(t *testing.T) {
	dir := t.TempDir()
	ctx, stop := context.WithCancel(context.Background())
	var asked atomic.Int32
	hold := make(chan struct{})
	model := testkit.StartTeacher(t, &testkit.Teacher{Answer: judged, MaxChoices: 1, Fault: func(c testkit.Call) *testkit.Fault {
		if c.Model == "judge" && asked.Add(1) == 8 { // seven have been answered, since one at a time is asked
			stop()
			return &testkit.Fault{Hold: hold, Status: 500}
		}
		return nil
	}})
	t.Cleanup(func() { close(hold) })
	c := judgedConfig(t, dir, model.URL(), "2", ", concurrency: 1")
	var out bytes.Buffer
	_, err := Run(ctx, c, RunOptions{Runs: dir, UI: UI{Out: &out}})
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 8, countJudged(model))
	report, said, err := runIn(t, c, dir, "")
	require.NoError(t, err, said)
	assert.EqualValues(t, 24, report.Ledger["curate"].In)
	assert.Equal(t, 24+1, countJudged(model), "24 candidates, and the question that was never answered")
	assert.Zero(t, model.Resent())
	require.Len(t, report.Rewards, 1)
	assert.EqualValues(t, 24+1, report.Rewards[0].Requests, "of both processes")
	assert.EqualValues(t, 24, report.Rewards[0].Asked)
}

// scoreByJudge scores rows with completions as stillhouse score does.
func scoreByJudge(t *testing.T, model *testkit.Teacher, store, options string, completions ...string) (out []RowScore, said string) {
	t.Helper()
	var rows, to, ui bytes.Buffer
	for i, text := range completions {
		line, err := json.Marshal(map[string]any{"id": i / 2, "prompt": "Why?", "completion": text, "reference": "Because."})
		require.NoError(t, err)
		rows.Write(append(line, '\n'))
	}
	path := filepath.Join(t.TempDir(), "rows.jsonl")
	require.NoError(t, os.WriteFile(path, rows.Bytes(), 0o644))
	err := ScoreRows(context.Background(), ScoreOptions{Reward: "judge", Path: path, Store: store, UI: UI{Out: &ui},
		Options: fmt.Sprintf(`{"endpoint": %q, "model": "judge", "rubric": "helpfulness"%s}`, model.URL(), options)}, &to)
	require.NoError(t, err, ui.String())
	for line := range bytes.Lines(to.Bytes()) {
		var s RowScore
		require.NoError(t, json.Unmarshal(line, &s))
		out = append(out, s)
	}
	return out, ui.String()
}

// What a hostile or broken judge says is never a mark, and costs its own row alone.
func TestHostileJudge(t *testing.T) {
	t.Setenv("STILLHOUSE_TEST_JUDGE_KEY", "sk-planted-judge")
	answers := map[string]string{"long": strings.Repeat("Score: 7\n", 1_200_000), "garbage": "\x00\xff{{{[[[\"", "nothing": "I like it.", "out of range": "Score: 1000000",
		"several": "Score: 1\nScore: 10", "fine": "Fine.\nScore: 10", "thinks": "<think>\nScore: 3\nNo.\n</think>\nGood.\nScore: 10"}
	verdicts := map[string]string{"fine": stillhouse.Right, "thinks": stillhouse.Right, "refused": stillhouse.Errored}
	names := []string{"long", "garbage", "nothing", "fine", "out of range", "several", "refused", "thinks", "cut"}
	name := func(c testkit.Call) string {
		for _, n := range names {
			if strings.Contains(c.Prompt(), "answer: "+n+"\n") {
				return n
			}
		}
		return ""
	}
	model := testkit.StartTeacher(t, &testkit.Teacher{Answer: func(c testkit.Call) testkit.Choice {
		if name(c) == "cut" {
			return testkit.Choice{Content: "Score: 1", FinishReason: "length"}
		}
		return testkit.Choice{Content: answers[name(c)]}
	}, Fault: func(c testkit.Call) *testkit.Fault {
		if name(c) == "refused" {
			return &testkit.Fault{Status: 400, Body: `{"error": {"message": "not for %KEY%"}}`}
		}
		return nil
	}})
	var completions []string
	for _, n := range names {
		completions = append(completions, "answer: "+n)
	}
	scores, said := scoreByJudge(t, model, filepath.Join(t.TempDir(), "store.db"), `, "api_key_env": "STILLHOUSE_TEST_JUDGE_KEY"`, completions...)
	require.Len(t, scores, len(names))
	for i, s := range scores {
		want := verdicts[names[i]]
		if want == "" {
			want = stillhouse.Unparsable
			assert.Zero(t, *s.Score, names[i])
		}
		if names[i] == "long" && s.Verdict == stillhouse.Errored { // distill bounds answers as well
			continue
		}
		assert.Equal(t, want, s.Verdict, "%s: %s", names[i], s.Evidence)
		assert.Less(t, len(s.Evidence), 700, names[i])
		assert.NotContains(t, s.Evidence+said, "sk-planted-judge", names[i])
	}
}

// Several marks are several samples with seeds of their own; a schema is sent where it is asked for; and comparisons are two
// requests a pair.
func TestJudgeRequests(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store.db")
	model := testkit.StartTeacher(t, &testkit.Teacher{MaxChoices: 1, Answer: func(c testkit.Call) testkit.Choice {
		return testkit.Choice{Content: fmt.Sprintf(`{"reason": "so", "score": %d}`, 1+*c.Seed%10)}
	}})
	scores, _ := scoreByJudge(t, model, store, `, "samples": 4, "structured": true`, "one", "two")
	require.Len(t, scores, 2)
	assert.Contains(t, scores[0].Evidence, "4 of 4 parsed")
	seeds := map[int64]bool{}
	for _, c := range model.Calls() {
		seeds[*c.Seed] = true
		var format struct {
			Type       string
			JSONSchema struct {
				Schema json.RawMessage
				Strict bool
			} `json:"json_schema"`
		}
		require.NoError(t, json.Unmarshal(c.Fields["response_format"], &format), c.Body)
		assert.Equal(t, "json_schema", format.Type)
		assert.True(t, format.JSONSchema.Strict)
		assert.Contains(t, string(format.JSONSchema.Schema), `"score"`)
	}
	assert.Len(t, seeds, 8)

	longer := testkit.StartTeacher(t, &testkit.Teacher{Answer: func(testkit.Call) testkit.Choice { return testkit.Choice{Content: "Better: A"} }})
	scores, _ = scoreByJudge(t, longer, store, `, "pairwise": "all"`, "one", "two", "three", "four")
	assert.Equal(t, 4, longer.Requests(), "two prompts with two candidates each")
	for _, s := range scores {
		assert.Equal(t, 0.5, *s.Score, s.Evidence)
	}

	spent := testkit.StartTeacher(t, &testkit.Teacher{Answer: judged})
	scores, _ = scoreByJudge(t, spent, store, `, "max_requests": 3, "concurrency": 1`, "one", "two", "three", "four", "five")
	assert.Equal(t, 3, spent.Requests())
	for i, s := range scores {
		if i < 3 {
			assert.Equal(t, stillhouse.Right, s.Verdict, s.Evidence)
			continue
		}
		assert.Equal(t, stillhouse.Errored, s.Verdict)
		assert.Equal(t, "the judge's requests are spent (max_requests)", s.Evidence)
	}
}

// A judge that takes no schemas is asked with one once, is asked in words then, and its scores are those of a judge that is
// asked in words; so it is with one that takes them, and schemas.
func TestJudgeThatTakesNoSchemas(t *testing.T) {
	for _, takes := range []bool{false, true} {
		dir := t.TempDir()
		var tried atomic.Int32
		model := testkit.StartTeacher(t, &testkit.Teacher{Answer: judged, MaxChoices: 1, Fault: func(c testkit.Call) *testkit.Fault {
			if c.Fields["response_format"] == nil {
				return nil
			}
			if tried.Add(1); takes {
				return nil
			}
			return &testkit.Fault{Status: 400, Body: `{"error": {"message": "response_format json_schema is not supported"}}`}
		}})
		report, said, err := runIn(t, judgedConfig(t, dir, model.URL(), "2", ""), dir, "")
		require.NoError(t, err, said)
		assert.EqualValues(t, 24, report.Ledger["curate"].In)
		assert.EqualValues(t, 12, report.Ledger["curate"].Kept, said)
		once := "it takes no schemas of answers, and is asked in words"
		asked := 24
		if takes {
			assert.EqualValues(t, 24, tried.Load())
			assert.NotContains(t, said, once)
		} else {
			asked++
			assert.EqualValues(t, 1, tried.Load())
			assert.Equal(t, 1, strings.Count(said, once), said)
		}
		assert.Equal(t, asked, countJudged(model))

		// Neither as it was said, nor as it was asked, is anything asked again; the scores are there.
		all := model.Requests()
		for _, more := range []string{"", fmt.Sprintf(", structured: %v", takes)} {
			other := t.TempDir()
			again, said, err := runIn(t, judgedConfig(t, dir, model.URL(), "2", more), other, "")
			require.NoError(t, err, said)
			assert.Equal(t, all, model.Requests(), more)
			assert.NotContains(t, said, "judge was asked about", "all scores are kept")
			assert.Equal(t, report.Selection, again.Selection)
			for _, name := range []string{"scored", "samples"} {
				want, err := os.ReadFile(filepath.Join(dir, "judged", name, "part-00000.parquet"))
				require.NoError(t, err)
				got, err := os.ReadFile(filepath.Join(other, "judged", name, "part-00000.parquet"))
				require.NoError(t, err)
				assert.True(t, bytes.Equal(want, got), "%s %q", name, more)
			}
		}
	}
}

// A plan asks no judge, neither for scores that could be kept nor for those that are not.
func TestPlanAsksNoJudge(t *testing.T) {
	for _, more := range []string{"", ", cache: false"} {
		dir := t.TempDir()
		model := testkit.StartTeacher(t, &testkit.Teacher{Answer: judged, MaxChoices: 1})
		c := judgedConfig(t, dir, model.URL(), "{min: 1, max: 6, enough: 1}", more)
		_, said, err := runIn(t, c, dir, "")
		require.NoError(t, err, said)
		n := model.Requests()
		plan, err := MakePlan(context.Background(), judgedConfig(t, dir, model.URL(), "{min: 1, max: 6, enough: 2}", ", temperature: 1"+more), PlanOptions{Runs: t.TempDir()})
		require.NoError(t, err)
		assert.Equal(t, 12, int(plan.Prompts))
		assert.Equal(t, n, model.Requests(), more)
	}
}

// What a reward lacks is told before anything is asked, of a teacher's answers and of those that are there already.
func TestMissingSandboxIsInvalid(t *testing.T) {
	rows := writeConfig(t, `{"prompt": "Write f.", "completion": "none", "tests": "assert f()"}`+"\n")
	t.Setenv("PATH", t.TempDir())
	for _, text := range []string{
		fmt.Sprintf("prompts: {path: '%s', reference: tests}\ndistill: {endpoint: 'http://127.0.0.1:9/v1', model: m}\ncurate: {rewards: [code]}\n", rows),
		fmt.Sprintf("candidates: {path: '%s', reference: tests}\ncurate: {rewards: [code]}\n", rows),
	} {
		c, err := Load(writeConfig(t, text))
		require.NoError(t, err)
		err = c.Check(context.Background())
		require.ErrorContains(t, err, `reward "code": there is no bwrap`, text)
		assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
	}
}

// An endpoint that fails is an error, one that says nothing in time a timeout: neither has a score.
func TestJudgeThatDoesNotAnswer(t *testing.T) {
	hold := make(chan struct{})
	model := testkit.StartTeacher(t, &testkit.Teacher{Answer: judged, Fault: func(c testkit.Call) *testkit.Fault {
		if strings.Contains(c.Prompt(), "silent") {
			return &testkit.Fault{Hold: hold, Status: 500}
		}
		return &testkit.Fault{Status: 500, Body: `{"error": {"message": "overheated"}}`}
	}})
	t.Cleanup(func() { close(hold) })
	store := filepath.Join(t.TempDir(), "store.db")
	for text, tc := range map[string]struct{ options, verdict, evidence string }{
		"silent": {`, "timeout": 0.05`, stillhouse.Timeout, "no verdict after 50ms"},
		"broken": {`, "max_retries": 0`, stillhouse.Errored, "overheated"},
	} {
		scores, _ := scoreByJudge(t, model, store, tc.options, text)
		require.Len(t, scores, 1)
		assert.Equal(t, tc.verdict, scores[0].Verdict, scores[0].Evidence)
		assert.Contains(t, scores[0].Evidence, tc.evidence)
		assert.Nil(t, scores[0].Score)
	}
}
