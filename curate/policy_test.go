package curate

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"stillhouse"
	"stillhouse/internal/options"
	"stillhouse/internal/testkit"
)

// policyFile is testdata/policies.yaml: what docs/curate.md says of the policies.
type policyFile struct {
	Sets map[string][]struct {
		Reward        float64
		Verdict, Text string
		Tokens        int
	}
	Policies []struct {
		Name, Says string
		Cases      []struct {
			Select, Set string
			Kept        []int
			Rejected    int
			Dropped     map[string][]int
		}
	}
}

func readPolicies(t *testing.T) (f policyFile) {
	t.Helper()
	text, err := os.ReadFile("testdata/policies.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, &f))
	return f
}

// set are the rows of a set, as candidates of one prompt.
func (f policyFile) set(t *testing.T, name string) (rows []stillhouse.Scored) {
	require.Contains(t, f.Sets, name)
	for i, r := range f.Sets[name] {
		rows = append(rows, stillhouse.Scored{Candidate: candidate("p1", i, "42", r.Text, r.Tokens), Reward: r.Reward,
			Scores: []stillhouse.Score{{Name: "math", Verdict: r.Verdict, Score: r.Reward}}})
	}
	return rows
}

// selecting reads a selection as a config has it.
func selecting(t testing.TB, text string) *Select {
	t.Helper()
	var node yaml.Node
	require.NoError(t, yaml.Unmarshal([]byte(text), &node))
	s := &Select{}
	require.NoError(t, options.Decode(node.Content[0], s))
	s.EnsureDefaults()
	require.NoError(t, s.Validate())
	return s
}

// Every policy has examples, and they are true. Whatever is not kept is dropped for a reason, in any order of the rows.
func TestPolicyExamples(t *testing.T) {
	f := readPolicies(t)
	seen := map[string]bool{}
	for _, p := range f.Policies {
		for i, c := range p.Cases {
			t.Run(fmt.Sprintf("%s/%d", p.Name, i), func(t *testing.T) {
				s := selecting(t, c.Select)
				seen[s.policy()] = true
				rows := f.set(t, c.Set)
				for range 5 {
					got := s.Choose(rows)
					kept := []int{}
					for _, at := range got.Kept {
						kept = append(kept, int(rows[at].Sample))
					}
					require.Equal(t, c.Kept, kept)
					if s.policy() == PolicyPairs && len(kept) > 0 {
						require.EqualValues(t, c.Rejected, rows[got.Rejected].Sample)
					} else {
						require.Equal(t, -1, got.Rejected)
					}
					dropped := map[string][]int{}
					for _, d := range got.Dropped {
						require.NotEmpty(t, d.Detail)
						for _, at := range d.Rows {
							dropped[d.Reason] = append(dropped[d.Reason], int(rows[at].Sample))
						}
						slices.Sort(dropped[d.Reason])
					}
					require.Equal(t, c.Dropped, dropped)
					rand.New(rand.NewPCG(7, 7)).Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
				}
			})
		}
	}
	require.ElementsMatch(t, Policies, slices.Collect(maps.Keys(seen)))
}

// The policies in docs/curate.md are those of the examples.
func TestPoliciesPage(t *testing.T) {
	f := readPolicies(t)
	var b strings.Builder
	b.WriteString("| rows | sample | reward | verdict | tokens | completion |\n|---|---|---|---|---|---|\n")
	for _, name := range []string{"mixed", "equal", "one", "none"} {
		for i, r := range f.Sets[name] {
			reward := fmt.Sprint(r.Reward)
			if math.IsNaN(r.Reward) {
				reward = "none"
			}
			fmt.Fprintf(&b, "| %s | %d | %s | %s | %d | `%s` |\n", name, i, reward, r.Verdict, r.Tokens, r.Text)
		}
	}
	for _, p := range f.Policies {
		fmt.Fprintf(&b, "\n### %s\n\n%s\n| select | rows | kept | dropped |\n|---|---|---|---|\n", p.Name, p.Says)
		for _, c := range p.Cases {
			var dropped []string
			for _, reason := range slices.Sorted(maps.Keys(c.Dropped)) {
				dropped = append(dropped, reason+" "+numbers(c.Dropped[reason]))
			}
			kept := numbers(c.Kept)
			if strings.Contains(c.Select, PolicyPairs) && len(c.Kept) > 0 {
				kept = fmt.Sprintf("%d over %d", c.Kept[0], c.Rejected)
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", c.Select, c.Set, kept, strings.Join(dropped, "; "))
		}
	}
	testkit.Section(t, "../docs/curate.md", "policies", b.String()+"\n")
}

func numbers(list []int) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ", "), "[]")
}

// Every policy keeps the promises of a stage, and its books balance.
func TestPoliciesConform(t *testing.T) {
	for _, text := range []string{
		"{policy: threshold, min_reward: 1}", "{policy: right_distinct, similarity: 0.5}", "{policy: shortest_right, band: [0.1, 0.9]}", "{policy: majority}",
		"{policy: softmax, temperature: 0.3, seed: 2, best: 2}", "{policy: pairs, margin: 0.1}",
	} {
		t.Run(text, func(t *testing.T) {
			c := testkit.Case{
				New:      func() stillhouse.Stage { return selecting(t, text) },
				Input:    func(mem memory.Allocator) arrow.RecordBatch { return stillhouse.ScoredBatch(mem, someScored(t)) },
				Needs:    []string{"prompt_id", "reward", "sample", "completion_tokens"},
				Output:   stillhouse.SampleSchema,
				BadInput: []*arrow.Schema{stillhouse.CandidateSchema},
			}
			if strings.Contains(text, PolicyPairs) {
				c.Output = stillhouse.PairSchema
				c.Account = &stillhouse.Account{In: 10, Kept: 1, Dropped: map[string]int64{"no_pair": 7, "rejected": 1, "not_paired": 1}}
			}
			testkit.Conform(t, c)
		})
	}
}

// A pair's row holds both candidates.
func TestPairRow(t *testing.T) {
	f := readPolicies(t)
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	batch := stillhouse.ScoredBatch(mem, f.set(t, "mixed"))
	defer batch.Release()
	in := testkit.NewMemorySource(batch.Schema(), batch)
	defer in.Release()
	sink := &testkit.MemorySink{}
	defer sink.Release()
	_, err := stillhouse.Run(t.Context(), in, selecting(t, "{policy: pairs}"), sink, stillhouse.Options{Allocator: mem})
	require.NoError(t, err)
	kept := sink.Shards()[0].Kept
	row, err := kept.MarshalJSON()
	require.NoError(t, err)
	require.JSONEq(t, `[{"prompt": [{"role": "user", "content": "How many, p1?"}], "chosen": [{"role": "assistant", "content": "7*6 is 42. #### 42"}],
		"rejected": [{"role": "assistant", "content": "7*6 is 36. #### 36"}], "tools": null, "prompt_id": "p1", "chosen_sample": 0, "rejected_sample": 4,
		"score_chosen": 1, "score_rejected": 0.1, "chosen_completion_tokens": 12, "rejected_completion_tokens": 14, "chosen_reasoning": null, "rejected_reasoning": null,
		"chosen_tool_calls": null, "rejected_tool_calls": null, "chosen_finish_reason": "stop", "rejected_finish_reason": "stop", "chosen_model": "m", "rejected_model": "m",
		"chosen_request_key": "p1", "rejected_request_key": "p1", "meta": null, "system": null, "prompt_messages": null}]`, string(row))
}

// Softmax draws each candidate as often as its weight says, and what it draws depends on the seed.
func TestSoftmaxChances(t *testing.T) {
	rows := []Rated{{Sample: 0, Reward: 0}, {Sample: 1, Reward: math.Log(2)}, {Sample: 2, Reward: math.Log(5)}, {Sample: 3, Reward: math.NaN()}}
	const n = 20000
	first, second := map[int]float64{}, 0.0
	other := 0
	for i := range n {
		id := fmt.Sprint("p", i)
		order := Softmax(id, rows, 1, 1)
		require.Len(t, order, 3)
		first[order[0]]++
		if order[0] == 2 && order[1] == 1 {
			second++
		}
		if !slices.Equal(order, Softmax(id, rows, 1, 2)) {
			other++
		}
	}
	for i, want := range []float64{1.0 / 8, 2.0 / 8, 5.0 / 8} {
		require.InDelta(t, want, first[i]/n, 0.015, "5 standard errors are 0.017")
	}
	require.InDelta(t, 5.0/8*2/3, second/n, 0.018)
	require.Greater(t, other, n/4)
}

func TestSelectErrors(t *testing.T) {
	for text, want := range map[string]string{
		"{policy: bset}":                                     `policy: is "bset", which is none: did you mean "best"?`,
		"{policy: threshold}":                                "min_reward: is missing",
		"{band: [0.9, 0.1]}":                                 "band: is [0.9, 0.1], which no share is in",
		"{band: [0.5]}":                                      "band: has 1 numbers",
		"{band: [0, 1.5]}":                                   "band: is [0, 1.5]: both shares must be between 0 and 1",
		"{policy: shortest_right, band: [0, 0]}":             "keeps only right ones",
		"{temperature: 2}":                                   "temperature: is for policy softmax, and the policy is best",
		"{policy: softmax, temperature: -1}":                 "temperature: is -1",
		"{policy: softmax, margin: 1}":                       "margin: is for policy pairs",
		"{policy: pairs, margin: -1}":                        "margin: is -1",
		"{policy: pairs, best: 2}":                           "best: is 2",
		"{policy: pairs, max_length_difference: -1}":         "max_length_difference: is -1",
		"{policy: right_distinct, similarity: 1.5}":          "similarity: is 1.5",
		"{best: -1}":                                         "best: is -1: it must be 1 or more",
		"{min_reward: .nan}":                                 "min_reward: is NaN",
		"{policy: right_distinct, max_length_difference: 3}": "max_length_difference: is for policy pairs",
	} {
		var node yaml.Node
		require.NoError(t, yaml.Unmarshal([]byte(text), &node))
		s := &Select{}
		require.NoError(t, options.Decode(node.Content[0], s))
		s.EnsureDefaults()
		require.ErrorContains(t, s.Validate(), want, text)
		require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(s.Validate()))
	}
}

func TestKeepsAny(t *testing.T) {
	for _, c := range []struct {
		text     string
		k        int
		adaptive bool
		want     string // empty for fine
	}{
		{"{policy: majority}", 1, false, "one answer is no majority"},
		{"{policy: majority}", 2, false, ""},
		{"{policy: pairs}", 1, false, "a pair takes two"},
		{"{band: [0.1, 0.9]}", 1, false, "of 1 samples no number of right ones is in it"},
		{"{band: [0.3, 0.4]}", 2, false, "of 2 samples"},
		{"{band: [0.3, 0.4]}", 3, false, ""},
		{"{band: [0, 0.1]}", 4, false, ""},
		{"{policy: shortest_right, band: [0, 0.1]}", 4, false, "of 4 samples"},
		{"{band: [0.1, 0.9]}", 8, true, "looks at all candidates"},
		{"{policy: right_distinct}", 8, true, "looks at all candidates"},
		{"{policy: softmax}", 8, true, "looks at all candidates"},
		{"{policy: threshold, min_reward: 1}", 8, true, ""},
		{"{policy: shortest_right}", 8, true, ""},
	} {
		err := selecting(t, c.text).KeepsAny(c.k, c.adaptive)
		if c.want == "" {
			require.NoError(t, err, c.text)
		} else {
			require.ErrorContains(t, err, c.want, c.text)
		}
	}
}

// What the rewards cannot say or reach is an error of the config.
func TestSelectionOfRewards(t *testing.T) {
	c := Config{Rewards: demoRewards(t), Select: Select{Right: "maths"}}
	c.EnsureDefaults()
	require.ErrorContains(t, c.Validate(), `select.right: is "maths", which no reward is named: did you mean "math"?`)
	c.Select = Select{Right: "length", MinReward: new(1.1)}
	c.EnsureDefaults()
	require.NoError(t, c.Validate())
	c.Select.MinReward = new(1.2)
	require.ErrorContains(t, c.Validate(), "select.min_reward: is 1.2, and no candidate can have more than 1.1")
	c.Rewards[1].Weight = new(-0.5)
	require.ErrorContains(t, c.Validate(), "more than 1")

	rows := readPolicies(t).set(t, "mixed")
	for i := range rows {
		rows[i].Scores = append(rows[i].Scores, stillhouse.Score{Name: "length", Verdict: []string{stillhouse.Wrong, stillhouse.Right}[i/5]})
	}
	require.Equal(t, []int{5}, selecting(t, "{policy: shortest_right, right: length}").Choose(rows).Kept)
}

func TestPathOf(t *testing.T) {
	require.Equal(t, PathOf("", "a b", false), PathOf("", "\tA \n B ", false))
	require.Equal(t, PathOf("", "ÄÖ é", false), PathOf("", "äö\u2003É", false))
	require.NotEqual(t, PathOf("x", "a", false), PathOf("", "x a", false), "reasoning is not text")
	require.NotEqual(t, PathOf("x", "a", false), PathOf("y", "a", false))
	require.NotZero(t, PathOf("", "", false).Hash)
	long := "one two three four five six seven eight nine ten"
	a, b := PathOf("", long, true), PathOf("", long+" eleven", true)
	require.True(t, a.like(b, 0.8))
	require.False(t, a.like(b, 0.9))
	require.False(t, a.like(b, 0))
	require.False(t, Path{}.like(Path{}, 0), "nothing is known of either")
	require.Equal(t, PathOf("", "\xff\xfe A", true), PathOf("", "\xff\xfe  a", true))
}

// Whatever a text holds, its path is that of the text in lower case with single spaces, and a text is like itself.
func FuzzPathOf(f *testing.F) {
	for _, s := range []string{"A  b", "\xff A\u2003B", "ÄÖ\n", "", " \v\f\r\t"} {
		f.Add("", s)
		f.Add(s, "x")
	}
	f.Fuzz(func(t *testing.T, reasoning, text string) {
		normal := func(s string) string { return strings.Join(strings.Fields(strings.ToLower(s)), " ") }
		p := PathOf(reasoning, text, true)
		if reasoning == "" || normal(reasoning) != "" { // without any word it is not known to have been there
			require.Equal(t, p.Hash, PathOf(normal(reasoning), normal(text), false).Hash)
		}
		require.True(t, p.like(PathOf(reasoning, text, true), 0.5))
		require.Equal(t, normal(text), string(squeeze(nil, text)))
	})
}

func TestAnswers(t *testing.T) {
	got := Answers([]string{"#### 0.5", "", `\boxed{1/2}`, "#### 3", "#### 3.0", "#### 1,000", ""})
	require.Equal(t, []string{got[0], "", got[0], got[3], got[3], got[5], ""}, got)
	require.Len(t, map[string]bool{got[0]: true, got[3]: true, got[5]: true}, 3)
}

// A right candidate whose reward is not a number may be kept by its verdict; what is summed up of it is a number.
func TestRightWithoutReward(t *testing.T) {
	rows := readPolicies(t).set(t, "one")
	rows[0].Reward = math.NaN()
	s := selecting(t, "{policy: shortest_right}")
	require.Equal(t, []int{0}, s.Choose(rows).Kept)
	tally := NewTally(*s)
	tally.Add(rows)
	require.Equal(t, 0.0, tally.Summary().KeptReward)
	trial := NewTrial(*s, 0)
	trial.Add("p1", s.rate(rows), 3)
	require.Equal(t, Outcome{Prompts: 1, KeptPrompts: 1, Rows: 1, Right: 1, CompletionTokens: 9, PromptTokens: 3, Lengths: Lengths{9, 9, 9, 9}, PassAt: map[int]float64{1: 1}}, trial.Outcome())
	c := selecting(t, "{policy: shortest_right, min_reward: 0}").Choose(rows)
	require.Empty(t, c.Kept)
	require.Equal(t, "no_acceptable_candidate", c.Dropped[0].Reason)
}
