package pipelines

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse/curate"
	"stillhouse/curate/reward"
	"stillhouse/distill"
	"stillhouse/internal/testkit"
)

// What rewards asked of a judge and of a reward model stands in the report beside what the teacher was asked: over the steps
// of the run, those that are made again, and in runs that are derived.
func TestRewardRequestsAreReported(t *testing.T) {
	dir := t.TempDir()
	var served atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, `{"data":[{"score":0.5}],"usage":{"prompt_tokens":11,"total_tokens":11}}`)
	}))
	t.Cleanup(server.Close)
	model := testkit.StartTeacher(t, &testkit.Teacher{Answer: judged, MaxChoices: 1})
	c := judgedConfig(t, dir, model.URL(), "2", fmt.Sprintf(`, name: "fine/good"}}, {reward_model: {url: '%s', api: score, name: rm, weight: 0.1, cache: false, concurrency: 1`, server.URL))
	report, said, err := runIn(t, c, dir, "")
	require.NoError(t, err, said)
	require.Len(t, report.Rewards, 2)
	judge, rm := report.Rewards[0], report.Rewards[1]
	assert.Equal(t, []string{"fine/good", "rm"}, []string{judge.Reward, rm.Reward}, "as in the config")
	assert.EqualValues(t, countJudged(model), judge.Requests)
	assert.EqualValues(t, 24, judge.Asked)
	assert.Positive(t, judge.PromptTokens)
	assert.Positive(t, judge.CompletionTokens)
	assert.Equal(t, distill.Counters{Requests: 24, Answered: 24, Asked: 24, PromptTokens: 24 * 11, Retries: map[string]int64{}}, rm.Counters)
	assert.EqualValues(t, 24, report.Requests.Requests, "the teacher's are its own")

	var text bytes.Buffer
	require.NoError(t, report.WriteText(&text))
	assert.Contains(t, text.String(), fmt.Sprintf("\nReward fine/good: 24 requests brought 24 answers. Paid for: %d prompt tokens, %d completion tokens.\n", judge.PromptTokens, judge.CompletionTokens))
	assert.Contains(t, text.String(), "\nReward rm: 24 requests brought 24 answers. Paid for: 264 prompt tokens, 0 completion tokens.\n")
	out, err := json.Marshal(report)
	require.NoError(t, err)
	assert.Contains(t, string(out), `"reward_requests":[{"reward":"fine/good","requests":24,`)

	// The judge's scores are kept and the model's are not: made again, they are asked for again, and that is added.
	report, said, err = runIn(t, c, dir, "curate")
	require.NoError(t, err, said)
	assert.Equal(t, judge, report.Rewards[0])
	assert.EqualValues(t, 48, report.Rewards[1].Requests)
	assert.EqualValues(t, 48, served.Load())

	made, err := Derive(t.Context(), report.Run, curate.Select{Policy: curate.PolicyThreshold, MinReward: new(0.5)}, DeriveOptions{UI: UI{Out: io.Discard}})
	require.NoError(t, err)
	assert.Equal(t, report.Rewards, made.Rewards)
}

// A step's bounds are its own, whatever steps before it have asked.
func TestRewardBookBeginsAtNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "requests", "judge.json")
	for step := range 3 {
		b := &rewardBook{path: path}
		before, err := b.Load()
		require.NoError(t, err)
		assert.Zero(t, before.Requests)
		for n := range 4 {
			require.NoError(t, b.Save(distill.Counters{Requests: int64(n + 1), FromStore: 2, Retries: map[string]int64{"429": 1}}))
		}
		require.NoError(t, b.close())
		require.Error(t, b.Save(distill.Counters{}), "a reward that was left behind")
		require.Error(t, b.count(reward.Usage{}))
		got, _, err := distill.ReadBook(path)
		require.NoError(t, err)
		n := int64(step + 1)
		assert.Equal(t, distill.Counters{Requests: 4 * n, FromStore: 2 * n, Retries: map[string]int64{"429": n}}, got)
	}
	require.NoError(t, os.WriteFile(path, []byte("{"), 0o644))
	b := &rewardBook{path: path}
	_, err := b.Load()
	require.ErrorContains(t, err, "judge.json")
	require.NoError(t, b.close())
}

// Rewards that ask nobody leave nothing behind.
func TestRewardsThatAskNobodyAreNotReported(t *testing.T) {
	dir := t.TempDir()
	rows := writeConfig(t, `{"prompt": "2 + 2?", "completion": "4", "answer": "4"}`+"\n")
	c, err := Load(writeConfig(t, fmt.Sprintf("name: plain\ncandidates: {path: '%s', reference: answer}\ncurate: {rewards: [math]}\n", rows)))
	require.NoError(t, err)
	report, err := Run(context.Background(), c, RunOptions{Runs: dir, UI: UI{Out: io.Discard}})
	require.NoError(t, err)
	assert.Empty(t, report.Rewards)
	assert.NoDirExists(t, filepath.Join(report.Run, rewardBooks))
}
