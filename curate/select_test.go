package curate

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/testkit"
)

func one() *float64 { v := 1.0; return &v }

// someScored are the scored candidates of the fixture, with a reward that timed out on p5 sample 1.
func someScored(t testing.TB) []stillhouse.Scored {
	rows := scored(t, demoRewards(t))
	last := &rows[len(rows)-1]
	last.Reward, last.Scores[0].Score, last.Scores[0].Verdict = math.NaN(), math.NaN(), stillhouse.Timeout
	return rows
}

func TestSelectConforms(t *testing.T) {
	testkit.Conform(t, testkit.Case{
		New:      func() stillhouse.Stage { return &Select{Best: 1, MinReward: one()} },
		Input:    func(mem memory.Allocator) arrow.RecordBatch { return stillhouse.ScoredBatch(mem, someScored(t)) },
		Needs:    []string{"prompt_id", "reward", "sample", "completion_tokens"},
		Output:   stillhouse.SampleSchema,
		BadInput: []*arrow.Schema{stillhouse.CandidateSchema},
		Account: &stillhouse.Account{In: 10, Kept: 3, Dropped: map[string]int64{
			"no_acceptable_candidate": 3, "not_best": 2, "below_minimum": 1, "unscored": 1}},
	})
}

func TestSelectChoose(t *testing.T) {
	rows := someScored(t)
	s := &Select{Best: 1, MinReward: one()}
	c := s.Choose(rows[:3])
	require.Equal(t, []int{2}, c.Kept, "as good in fewer tokens")
	require.Equal(t, []Drop{
		{[]int{0}, "not_best", "kept 1 of 3, the best is sample 2 with reward 1.1 in 3 tokens"},
		{[]int{1}, "below_minimum", "reward is below min_reward 1"},
	}, c.Dropped)
	c = s.Choose(rows[3:5])
	require.Equal(t, []Drop{{[]int{0, 1}, "no_acceptable_candidate",
		`the best of 2 candidates, sample 1, has reward 0.1, below min_reward 1: math wrong (read 6 from "#### 6", reference 5), length right (3 tokens)`}}, c.Dropped)
	c = s.Choose(rows[5:7])
	require.Equal(t, []int{0}, c.Kept, "a right answer of any length is acceptable")
	c = s.Choose(rows[8:])
	require.Equal(t, []Drop{{[]int{1}, "unscored", "reward is not a number: a reward timed out or failed, see scores"}}, c.Dropped)
	c = (&Select{}).Choose(rows[9:])
	require.Empty(t, c.Kept, "what is not a number is never chosen")
	require.Contains(t, c.Dropped[0].Detail, "none of 1 candidates has a reward that is a number: math timeout")
	require.Equal(t, Choice{Rejected: -1}, s.Choose(nil))
	require.Equal(t, []int{1}, (&Select{}).Choose(rows[3:5]).Kept, "the zero value keeps the best one, with no minimum")
}

type goldenPrompt struct {
	Prompt  string
	Samples []struct {
		Sample     int32
		Completion string
		Tokens     int32 `json:"completion_tokens"`
		Reward     *float64
		Answer     *string
		Correct    bool
	}
}

func (p goldenPrompt) rated() (out []Rated, correct int) {
	for _, s := range p.Samples {
		r := Rated{Sample: s.Sample, Tokens: s.Tokens, Reward: math.NaN(), Right: s.Correct, Path: PathOf("", s.Completion, false)}
		if s.Reward != nil {
			r.Reward = *s.Reward
		}
		if s.Answer != nil {
			r.Answer = strings.TrimSpace(*s.Answer)
		}
		if s.Correct {
			correct++
		}
		out = append(out, r)
	}
	return out, correct
}

// Every key of the table in testdata/parity/data/selection/README.md, for every prompt.
func TestSelectionParity(t *testing.T) {
	const dir = "../testdata/parity/data/selection/"
	want := testkit.Lines[map[string]json.RawMessage](t, dir+"bestofk_expected.jsonl")
	prompts := testkit.Lines[goldenPrompt](t, dir+"bestofk.jsonl")
	require.Len(t, prompts, len(want))
	for i, p := range prompts {
		rated, correct := p.rated()
		samples := func(at []int) []int32 {
			out := []int32{}
			for _, i := range at {
				out = append(out, rated[i].Sample)
			}
			return out
		}
		picked := func(text string) []int32 { return samples(selecting(t, text).Pick(p.Prompt, rated).Kept) }
		pair := func(margin float64, length int, policy string) any {
			chosen, rejected, ok := Preference(rated, margin, length)
			pick := selecting(t, policy).Pick(p.Prompt, rated)
			if !ok {
				require.Empty(t, pick.Kept)
				return nil
			}
			require.Equal(t, Pick{Kept: []int{chosen}, Rejected: rejected}, pick)
			return samples([]int{chosen, rejected})
		}
		got := map[string]any{
			"prompt": p.Prompt,
			"best_1": picked("{best: 1}"), "best_2": picked("{best: 2}"), "best_4": picked("{policy: best, best: 4}"),
			"threshold_0.5":    picked("{policy: threshold, min_reward: 0.5}"),
			"right_distinct_1": picked("{policy: right_distinct, best: 1}"), "right_distinct_2": picked("{policy: right_distinct, best: 2}"), "right_distinct_4": picked("{policy: right_distinct}"),
			"shortest_right":    picked("{policy: shortest_right}"),
			"pass_rate":         []int{correct, len(rated)},
			"in_band_0.1_0.9":   InBand(rated, 0.1, 0.9),
			"in_band_0.25_0.75": InBand(rated, 0.25, 0.75),
			"majority":          nil,
			"pairs": map[string]any{
				"margin_0.0625_length_None": pair(0.0625, -1, "{policy: pairs, margin: 0.0625}"),
				"margin_0.25_length_20":     pair(0.25, 20, "{policy: pairs, margin: 0.25, max_length_difference: 20}"),
				"margin_0.5_length_10":      pair(0.5, 10, "{policy: pairs, margin: 0.5, max_length_difference: 10}"),
				"margin_0.0_length_0":       pair(0, 0, "{policy: pairs, max_length_difference: 0}"),
			},
		}
		if v := Majority(rated); v.Votes > 0 {
			got["majority"] = map[string]any{"answer": v.Answer, "votes": v.Votes, "of": len(rated), "tied": v.Tied, "rows": samples(v.Rows), "best": picked("{policy: majority}")}
		}
		for key, value := range got {
			text, err := json.Marshal(value)
			require.NoError(t, err)
			require.JSONEq(t, string(want[i][key]), string(text), "%s of %s", key, p.Prompt)
		}
		var pass []*float64
		require.NoError(t, json.Unmarshal(want[i]["pass_at"], &pass))
		for k, pass := range pass {
			got := PassAtK(len(rated), correct, k+1)
			if pass == nil {
				require.True(t, math.IsNaN(got))
			} else {
				require.InDelta(t, *pass, got, 1e-9, "pass@%d of %s", k+1, p.Prompt)
			}
		}
		require.Len(t, want[i], len(got)+1, "a key is not looked at")
	}
}

func TestPassAtKParity(t *testing.T) {
	var g struct {
		PassAtK []struct {
			N, C   int
			PassAt []*float64 `json:"pass_at"`
		} `json:"pass_at_k"`
	}
	data, err := os.ReadFile("../testdata/parity/data/selection/bestofk.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &g))
	require.NotEmpty(t, g.PassAtK)
	for _, x := range g.PassAtK {
		for i, want := range x.PassAt {
			if got := PassAtK(x.N, x.C, i+1); want == nil {
				require.True(t, math.IsNaN(got))
			} else {
				require.InDelta(t, *want, got, 1e-9, "n %d, c %d, k %d", x.N, x.C, i+1)
			}
		}
	}
}

func TestUncurated(t *testing.T) {
	var all []stillhouse.Candidate
	for p := range 50 {
		for s := range 4 {
			all = append(all, candidate(fmt.Sprint("p", p), s, "", fmt.Sprint("answer ", s), 3))
		}
	}
	key := func(rows []stillhouse.Sample) (out []string) {
		for _, r := range rows {
			out = append(out, fmt.Sprint(r.PromptID, "/", r.Sample))
		}
		slices.Sort(out)
		return out
	}
	drawn := Uncurated(all, 30, 1, 0)
	require.Len(t, drawn, 30)
	prompts, samples := map[string]bool{}, map[int32]int{}
	for _, r := range drawn {
		require.False(t, prompts[r.PromptID], "one candidate a prompt")
		prompts[r.PromptID] = true
		samples[r.Sample]++
	}
	require.Greater(t, len(samples), 2, "candidates of all numbers are drawn")
	shuffled := slices.Clone(all)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	require.Equal(t, key(drawn), key(Uncurated(shuffled, 30, 1, 0)), "the order of the candidates does not matter")
	require.NotEqual(t, key(drawn), key(Uncurated(all, 30, 2, 0)), "the seed does")
	more := key(Uncurated(all, 40, 1, 0))
	for _, k := range key(drawn) {
		require.Contains(t, more, k, "more rows of one seed are the same rows and others")
	}
	rows := Uncurated(all, 75, 1, 0)
	count := map[string]int{}
	for _, r := range rows {
		count[r.PromptID]++
	}
	require.Len(t, rows, 75)
	require.Len(t, count, 50, "every prompt once before one twice")
	require.Len(t, Uncurated(all, 1000, 1, 0), 200)
	require.Empty(t, Uncurated(nil, 5, 1, 0))

	for _, r := range Uncurated(all, 100, 1, 2) {
		require.Less(t, r.Sample, int32(2), "what was asked for because of others is drawn last")
	}
	require.Equal(t, key(Uncurated(all, 1000, 1, 0)), key(Uncurated(all, 1000, 1, 2)))
}

func TestSummary(t *testing.T) {
	tally := NewTally(Select{MinReward: one()})
	rows := someScored(t)
	tally.Add(rows[:3])
	tally.Add(rows[3:])
	s := tally.Summary()
	require.InDelta(t, (2.0/3+0+1+0+0.5)/5, s.RightShare, 1e-12)
	require.InDelta(t, (2.0/3+0+1+0+0.5)/5, s.PassAt[1], 1e-12)
	require.InDelta(t, (1.0+0+1+1)/4, s.PassAt[2], 1e-12, "p4 has one candidate and says nothing of pass@2")
	require.InDelta(t, (1.1*3+0.1*4+1.05+1)/9, s.MeanReward, 1e-12)
	require.InDelta(t, (1.1+1.05+1.1)/3, s.KeptReward, 1e-12)
	require.InDelta(t, (3+60+5)/3.0, s.KeptTokens, 1e-12)
	require.Len(t, s.Pairs, 1)
	require.Equal(t, 4, s.Pairs[0].Disagreements)
	s.RightShare, s.PassAt, s.MeanReward, s.KeptReward, s.KeptTokens, s.Pairs = 0, nil, 0, 0, 0, nil
	require.Equal(t, Summary{Prompts: 5, Candidates: 10, KeptPrompts: 3, Kept: 3, Judge: "math", Verdicts: map[string]map[string]int{
		"math": {"right": 5, "wrong": 2, "unparsable": 2, "timeout": 1}, "length": {"right": 8, "wrong": 2}}}, s)
	tally = NewTally(Select{MinReward: one()})
	tally.First = 1
	tally.Add(rows)
	s = tally.Summary()
	require.InDelta(t, (1.0+0+1+0+1)/5, s.RightShare, 1e-12, "of the first candidates alone")
	require.Equal(t, map[int]float64{1: s.RightShare}, s.PassAt)
	require.Equal(t, 10, s.Candidates)
	_, err := json.Marshal(NewTally(Select{}).Summary())
	require.NoError(t, err, "a summary of nothing has no number that JSON has not")
}

// Rows of earlier versions lack columns that can be null. They are null in what is selected.
func TestSelectFromOlderRows(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	batch := stillhouse.ScoredBatch(mem, []stillhouse.Scored{{Candidate: candidate("p1", 0, "", "a", 1), Reward: 1}})
	defer batch.Release()
	var fields []arrow.Field
	var columns []arrow.Array
	for i, f := range batch.Schema().Fields() {
		if !f.Nullable {
			fields, columns = append(fields, f), append(columns, batch.Column(i))
		}
	}
	older := array.NewRecordBatch(arrow.NewSchema(fields, nil), columns, 1)
	defer older.Release()
	in := testkit.NewMemorySource(older.Schema(), older)
	defer in.Release()
	sink := &testkit.MemorySink{}
	_, err := stillhouse.Run(context.Background(), in, &Select{}, sink, stillhouse.Options{Allocator: mem})
	require.NoError(t, err)
	defer sink.Release()
	kept := sink.Shards()[0].Kept
	require.True(t, kept.Schema().Equal(stillhouse.SampleSchema), "%v", kept.Schema())
	rows, err := stillhouse.Samples(kept)
	require.NoError(t, err)
	require.Equal(t, "p1", rows[0].PromptID)
	require.Nil(t, rows[0].Refusal)
}
