package pipelines

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/curate"
	"stillhouse/curate/candidates"
	"stillhouse/distill/prompts"
	"stillhouse/internal/rowfile"
	"stillhouse/internal/rundir"
)

// answersFile has n sums with k answers each, of which the last is wrong; every seventh prompt has one that failed.
func answersFile(t *testing.T, dir string, n, k int) string {
	t.Helper()
	var b strings.Builder
	for j := range k { // far apart
		for i := range n {
			said := fmt.Sprintf("%q", fmt.Sprintf("I add %d and 1. The answer is %d.", i, i+1+j/(k-1)))
			if i%7 == 0 && j == 0 {
				said = "null"
			}
			fmt.Fprintf(&b, `{"input":"What is %d + 1?","output":%s,"right":"%d"}`+"\n", i, said, i+1)
		}
	}
	path := filepath.Join(dir, "answers.jsonl")
	require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o600))
	return path
}

func curationConfig(t *testing.T, more string) *Config {
	t.Helper()
	c, err := Load(writeConfig(t, more))
	require.NoError(t, err)
	return c
}

const curationText = `name: curation
candidates: {path: '%s', reference: right}
curate: {rewards: [math], select: {best: 1, min_reward: 1}}
`

// A run that begins with candidates keeps its books, and goes on after it was stopped.
func TestCurationAlone(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "") // none is needed
	dir := t.TempDir()
	path := answersFile(t, dir, 600, 3)
	text := fmt.Sprintf(curationText, path)
	r, said, err := runIn(t, curationConfig(t, text), dir, "")
	require.NoError(t, err)
	assert.Contains(t, said, "candidates.path: OpenRLHF generations (600 prompts, 1714 candidates, 86 rows that are none)")
	assert.Contains(t, said, "candidates 1800 rows in, 1714 kept, 86 failed (no_content 86)")
	require.NoError(t, r.Balanced())
	assert.Equal(t, stillhouse.Account{In: 1800, Kept: 1714, Dropped: map[string]int64{}, Failed: map[string]int64{"no_content": 86}}, r.Ledger["candidates"].Account)
	assert.EqualValues(t, []int64{1714, 600}, []int64{r.Ledger["curate"].In, r.Ledger["curate"].Kept})
	assert.NotContains(t, r.Ledger, "distill")
	assert.Nil(t, r.Requests)
	var b bytes.Buffer
	require.NoError(t, r.WriteText(&b))
	assert.Contains(t, b.String(), "600 of 1714 candidates kept, for 600 of 600 prompts")

	run := filepath.Join(dir, "curation")
	d, err := rundir.View(run, rundir.Options{})
	require.NoError(t, err)
	files, err := d.Files("candidates")
	require.NoError(t, err)
	assert.Len(t, files, 3, "of 256 prompts")
	src, err := d.Source("candidates")
	require.NoError(t, err)
	seen, last := map[string]bool{}, ""
	for i := range src.Shards() {
		batch, err := src.Read(context.Background(), i, memory.DefaultAllocator)
		require.NoError(t, err)
		rows, err := stillhouse.Candidates(batch)
		require.NoError(t, err)
		batch.Release()
		for _, row := range rows {
			if row.ID != last {
				require.False(t, seen[row.ID], "the candidates of a prompt stand side by side")
				seen[row.ID], last = true, row.ID
			}
		}
	}
	lostRows, err := rundir.ReadParquet(context.Background(), d.Path("failed", "candidates", "part-00000.parquet"), memory.DefaultAllocator)
	require.NoError(t, err)
	defer lostRows.Release()
	column := func(name string) string {
		return lostRows.Column(lostRows.Schema().FieldIndices(name)[0]).(*array.String).Value(0)
	}
	assert.Equal(t, []string{"no_content", "candidates", "answers.jsonl line 1: the answer has no text, tool call or reasoning"}, []string{column("reason"), column("stage"), column("detail")})

	again, err := ReadReport(context.Background(), run)
	require.NoError(t, err)
	assert.Equal(t, r.Ledger, again.Ledger)
	_, err = Export(context.Background(), run, filepath.Join(dir, "exported"))
	require.NoError(t, err)

	// What is there stays; what is missing is made again, the same bytes.
	before := map[string][]byte{}
	for _, f := range files {
		before[f], err = os.ReadFile(f)
		require.NoError(t, err)
	}
	require.NoError(t, os.Remove(files[2]))
	require.NoError(t, os.RemoveAll(filepath.Join(run, "kept")))
	_, _, err = runIn(t, curationConfig(t, text), dir, "")
	require.NoError(t, err)
	for f, was := range before {
		is, err := os.ReadFile(f)
		require.NoError(t, err)
		assert.Equal(t, was, is, f)
	}
	other, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, bytes.Replace(other, []byte("I add 5"), []byte("We add 5"), 1), 0o600))
	_, _, err = runIn(t, curationConfig(t, text), dir, "")
	require.ErrorContains(t, err, "is not what it was when run")
	r, _, err = runIn(t, curationConfig(t, text), dir, "candidates")
	require.NoError(t, err)
	require.NoError(t, r.Balanced())
	_, _, err = runIn(t, curationConfig(t, text), dir, "distill")
	require.ErrorContains(t, err, "--from distill: this run has no such step: it begins with candidates")
	_, _, err = runIn(t, curationConfig(t, strings.Replace(text, "reference: right", "limit: 5, reference: right", 1)), dir, "")
	require.ErrorContains(t, err, "candidates.limit: the run has 0, the config has 5; give the run another name or use --from candidates")

	// A run's own candidates are candidates too.
	r, said, err = runIn(t, curationConfig(t, fmt.Sprintf("name: second\ncandidates: {path: '%s'}\ncurate: {rewards: [math], select: {best: 1}}\n", run)), dir, "")
	require.NoError(t, err)
	assert.Contains(t, said, "candidates.path: candidates of a run (600 prompts, 1714 candidates)")
	assert.EqualValues(t, 600, r.Ledger["filter"].Kept)

	// Another selection of them is a run that goes on, though nobody knows from the config how many a prompt has.
	for _, policy := range []string{curate.PolicyMajority, curate.PolicyPairs} {
		made, err := Derive(t.Context(), filepath.Join(dir, "second"), curate.Select{Policy: policy, Best: 1}, DeriveOptions{UI: UI{Out: io.Discard}})
		require.NoError(t, err)
		require.NoError(t, made.Balanced())
		assert.Greater(t, made.Ledger["curate"].Kept, int64(0))
		c, err := Load(filepath.Join(dir, "second-"+policy, "config.yaml"))
		require.NoError(t, err)
		again, _, err := runIn(t, c, dir, "")
		require.NoError(t, err)
		assert.Equal(t, made.Ledger, again.Ledger)
	}
}

// A plan of a run that begins with candidates, and the arms that are trained of it.
func TestCurationTrains(t *testing.T) {
	dir := t.TempDir()
	path := answersFile(t, dir, 12, 3)
	problems := filepath.Join(dir, "problems.jsonl")
	require.NoError(t, os.WriteFile(problems, []byte(`{"question":"What is 1 + 1?","answer":"2"}`+"\n"), 0o600))
	text := fmt.Sprintf(curationText, path) + fmt.Sprintf("train: {student: '%smodels/tiny-llama', max_steps: 1, max_length: 256}\neval: {path: '%s', prompt: question, reference: answer, samples: 1, max_tokens: 4, arms: [curated, uncurated, base]}\n", goldens, problems)
	config := writeConfig(t, text)
	plan, err := PlanFile(context.Background(), config, PlanOptions{Runs: dir})
	require.NoError(t, err)
	p := plan.(*CurationPlan)
	assert.Equal(t, []int64{12, 34, 2}, []int64{p.Prompts, p.Candidates, p.Failed["no_content"]})
	assert.Equal(t, []int{12, 1, 6}, []int{p.Training.Each.Rows, p.Training.Each.Updates, p.EvalAsked})
	var b bytes.Buffer
	require.NoError(t, p.WriteText(&b))
	for _, say := range []string{"34 candidates of 12 prompts, and 2 rows that are none (no_content 2). Nobody is asked.", "OpenRLHF generations", "1 updates at most for each of 2 arms", "Ask 1 held-out problems: 6 answers"} {
		assert.Contains(t, b.String(), say)
	}
	raw, err := json.Marshal(p)
	require.NoError(t, err)
	assert.Contains(t, string(raw), `"formats":["OpenRLHF generations"]`)
	c, err := Load(config)
	require.NoError(t, err)
	r, _, err := runIn(t, c, dir, "")
	require.NoError(t, err)
	require.NoError(t, r.Balanced())
	assert.Len(t, r.Eval.Arms, 3)
	assert.Equal(t, 1, r.Train.Steps)
	rows, err := rundir.ReadParquet(context.Background(), filepath.Join(dir, "curation", "arms", "uncurated", "rows", "part-00000.parquet"), memory.DefaultAllocator)
	require.NoError(t, err)
	defer rows.Release()
	assert.EqualValues(t, r.Ledger["filter"].Kept, rows.NumRows(), "as many as are kept, of the candidates")
}

func TestCandidatesInConfigs(t *testing.T) {
	dir := t.TempDir()
	path := answersFile(t, dir, 3, 3)
	for name, tc := range map[string]struct{ text, say string }{
		"beside prompts": {"candidates: {path: a}\nprompts: {path: b}\ncurate: {rewards: [math]}\n", "line 2: prompts: cannot be beside candidates"},
		"beside distill": {"candidates: {path: a}\ndistill: {endpoint: embedded}\ncurate: {rewards: [math]}\n", "line 2: distill: cannot be beside candidates"},
		"neither":        {"curate: {rewards: [math]}\n", "prompts: is missing: say where the prompts are and who answers them, in prompts and distill; or where answers are that are there already, in candidates"},
		"no path":        {"candidates: {}\ncurate: {rewards: [math]}\n", "line 1: candidates.path: is missing"},
		"a typo":         {"candidates: {path: a, formats: alpaca}\ncurate: {rewards: [math]}\n", `did you mean "format"?`},
		"format":         {"candidates:\n  path: a\n  format: sharegtp\ncurate: {rewards: [math]}\n", `line 3: candidates.format: is "sharegtp": did you mean "sharegpt"?`},
	} {
		_, err := Load(writeConfig(t, tc.text))
		require.ErrorContains(t, err, tc.say, name)
		assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), name)
	}
	c := curationConfig(t, strings.Replace(fmt.Sprintf(curationText, path), ", reference: right", "", 1))
	err := c.Check(context.Background())
	require.ErrorContains(t, err, `candidates.reference: is missing: reward "math" compares with it, and none of the 8 candidates has a right answer`)
	both := c
	both.Prompts.Path = prompts.Paths{"x"}
	require.ErrorContains(t, both.Validate(), "candidates: cannot be beside prompts and distill")
	_, _, err = runIn(t, &Config{Name: "x", Curate: c.Curate}, dir, "candidates")
	require.ErrorContains(t, err, "this run has no such step: it begins with prompts")

	half := filepath.Join(dir, "half.jsonl")
	require.NoError(t, os.WriteFile(half, []byte(`{"input":"a","output":"1","right":1}`+"\n"+`{"input":"b","output":"2","right":null}`+"\n"), 0o600))
	c = curationConfig(t, fmt.Sprintf(curationText, half))
	require.NoError(t, c.Check(context.Background()))
	assert.Equal(t, []string{"candidates.path: OpenRLHF generations (2 prompts, 2 candidates)", `candidates.reference: 1 of the 2 candidates have no right answer, and reward "math" compares with one`}, c.Notes)
}

// A prompt has the id that it would have as a prompt of files, so that candidates and prompts can be joined.
func TestIDsOfCandidates(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "rows.jsonl")
	require.NoError(t, os.WriteFile(path, []byte(`{"prompt":"What is <é>?","completion":"a"}`+"\n"), 0o600))
	read, err := prompts.Read(context.Background(), prompts.Options{Rows: prompts.Rows{Path: prompts.Paths{path}}})
	require.NoError(t, err)
	_, err = candidates.Scan(context.Background(), candidates.Options{Path: rowfile.Paths{path}}, func(items []candidates.Item) error {
		assert.Equal(t, read.Rows[0].ID, items[0].ID)
		return nil
	})
	require.NoError(t, err)
}

// Long answers make shards of fewer prompts, and none is split.
func TestShardsOfLongAnswers(t *testing.T) {
	defer func(was int) { shardBytes = was }(shardBytes)
	shardBytes = 6000
	dir := t.TempDir()
	var b strings.Builder
	for i := range 8 {
		fmt.Fprintf(&b, `{"input":"p%d","output":"%s"}`+"\n", i%4, strings.Repeat("x ", 1000))
	}
	path := filepath.Join(dir, "long.jsonl")
	require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o600))
	_, _, err := runIn(t, curationConfig(t, fmt.Sprintf("name: long\ncandidates: {path: '%s'}\ncurate: {rewards: [{regex: {pattern: x}}], select: {best: 2}}\n", path)), dir, "")
	require.NoError(t, err)
	d, err := rundir.View(filepath.Join(dir, "long"), rundir.Options{})
	require.NoError(t, err)
	src, err := d.Source("candidates")
	require.NoError(t, err)
	require.Equal(t, 2, src.Shards(), "of two prompts each")
	for i := range 2 {
		batch, err := src.Read(context.Background(), i, memory.DefaultAllocator)
		require.NoError(t, err)
		assert.EqualValues(t, 4, batch.NumRows())
		batch.Release()
	}
}
