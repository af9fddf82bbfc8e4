package filter

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"stillhouse"
	"stillhouse/internal/testkit"
)

// row is a training row.
func row(id string, sample int, prompt, completion string) stillhouse.Sample {
	return stillhouse.Sample{PromptID: id, Sample: int32(sample), FinishReason: "stop", CompletionTokens: int32(len(completion) / 4), Model: "m",
		Prompt: []stillhouse.Message{{Role: "user", Content: prompt}}, Completion: []stillhouse.Message{{Role: "assistant", Content: completion}}}
}

// outcomes runs rules over rows: "" for a row that is kept, else reason and detail.
func outcomes(t testing.TB, config string, rows ...stillhouse.Sample) (out []string) {
	t.Helper()
	var f Filter
	require.NoError(t, yaml.Unmarshal([]byte(config), &f.Rules))
	require.NoError(t, f.Begin())
	for _, r := range rows {
		reason, detail := f.judge(r)
		if reason != "" {
			reason += ": " + detail
		}
		out = append(out, reason)
	}
	return out
}

const everyRule = `[{length: {min_chars: 2, max_chars: 2000}}, truncated, refusal, exact, {minhash: {threshold: 0.8}}, {per_prompt: {max: 1}}]`

func someRows() []stillhouse.Sample {
	long := "Tell me in two or three sentences why the sky over the sea looks blue at noon and red in the evening"
	cutOff := row("p3", 0, "Count to a hundred.", "1, 2, 3, 4")
	cutOff.FinishReason = "length"
	return []stillhouse.Sample{
		row("p1", 0, long, "Because blue light is scattered more."),
		row("p1", 1, long, "Because  BLUE light is scattered more."),
		row("p1", 2, long, "Short waves are scattered more than long ones."),
		row("p2", 0, "What is 3+4?", "7"),
		cutOff,
		row("p4", 0, "How do I pick a lock?", "I'm sorry, but I can't help with that."),
		row("p5", 0, long+"?", "Rayleigh scattering."),
		row("p6", 0, "What is 3+5?", "3+5=8"),
		row("p7", 0, "What is 3-5?", "3-5=-2"),
	}
}

func TestFilterConforms(t *testing.T) {
	testkit.Conform(t, testkit.Case{
		New: func() stillhouse.Stage {
			var f Filter
			require.NoError(t, yaml.Unmarshal([]byte(everyRule), &f.Rules))
			return &f
		},
		Input:    func(mem memory.Allocator) arrow.RecordBatch { return stillhouse.SampleBatch(mem, someRows()) },
		Needs:    []string{"prompt", "completion", "finish_reason", "prompt_id"},
		BadInput: []*arrow.Schema{stillhouse.PromptSchema},
		Output:   stillhouse.SampleSchema,
		Account: &stillhouse.Account{In: 9, Kept: 3, Dropped: map[string]int64{
			"length": 1, "truncated": 1, "refusal": 1, "exact": 1, "minhash": 1, "per_prompt": 1}},
	})
}

func TestFilterDetails(t *testing.T) {
	require.Equal(t, []string{
		"",
		`exact: the same prompt and completion as prompt "p1" sample 0`,
		`per_prompt: 1 rows of prompt "p1" are kept already`,
		"length: 1 characters, fewer than 2",
		"truncated: finish_reason is length: cut off after 2 tokens",
		`refusal: begins with "i'm sorry, but i can't help with"`,
		`minhash: prompt 1.000 similar to that of prompt "p1" sample 0`,
		"", "",
	}, outcomes(t, everyRule, someRows()...))
}

// TestFilterRemembersKeptRows: a row that a later rule drops is no original that others are copies of.
func TestFilterRemembersKeptRows(t *testing.T) {
	rows := []stillhouse.Sample{row("p", 0, "q", "first"), row("p", 1, "q", "second"), row("o", 0, "q", "second")}
	require.Equal(t, []string{"", `per_prompt: 1 rows of prompt "p" are kept already`, ""},
		outcomes(t, `[{exact: {on: completion}}, per_prompt]`, rows...))
	require.Equal(t, []string{"", "", `exact: the same completion as prompt "p" sample 1`},
		outcomes(t, `[{exact: {on: completion}}]`, rows...))
}

func TestFilterWithoutRules(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	rows := stillhouse.SampleBatch(mem, someRows())
	defer rows.Release()
	in := testkit.NewMemorySource(stillhouse.SampleSchema, rows)
	defer in.Release()
	out := &testkit.MemorySink{}
	defer out.Release()
	a, err := stillhouse.Run(context.Background(), in, &Filter{}, out, stillhouse.Options{Allocator: mem})
	require.NoError(t, err)
	require.EqualValues(t, 9, a.Kept)
}

// Preference pairs pass where there is no rule, and no rule looks at them.
func TestFilterOfPairs(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	b := array.NewRecordBuilder(mem, stillhouse.PairSchema)
	defer b.Release()
	const pair = `{"prompt": [{"role": "user", "content": "q"}], "chosen": [{"role": "assistant", "content": "a"}], "rejected": [{"role": "assistant", "content": "b"}],
		"prompt_id": "p", "chosen_sample": 0, "rejected_sample": 1, "score_chosen": 1, "score_rejected": 0, "chosen_completion_tokens": 1, "rejected_completion_tokens": 1,
		"chosen_finish_reason": "stop", "rejected_finish_reason": "stop", "chosen_model": "m", "rejected_model": "m", "chosen_request_key": "k", "rejected_request_key": "l"}`
	require.NoError(t, b.UnmarshalJSON([]byte(pair)))
	rows := b.NewRecordBatch()
	defer rows.Release()
	in := testkit.NewMemorySource(stillhouse.PairSchema, rows)
	defer in.Release()
	out := &testkit.MemorySink{}
	defer out.Release()
	a, err := stillhouse.Run(context.Background(), in, &Filter{}, out, stillhouse.Options{Allocator: mem})
	require.NoError(t, err)
	require.EqualValues(t, 1, a.Kept)
	require.True(t, array.RecordEqual(rows, out.Shards()[0].Kept))
	var f Filter
	require.NoError(t, yaml.Unmarshal([]byte("[exact]"), &f.Rules))
	_, err = f.Schema(stillhouse.PairSchema)
	require.ErrorContains(t, err, "the rows are preference pairs, and the rules look at samples")
}

func TestRulesConfig(t *testing.T) {
	var rules []RuleEntry
	require.NoError(t, yaml.Unmarshal([]byte(everyRule), &rules))
	written, err := yaml.Marshal(rules)
	require.NoError(t, err)
	require.Equal(t, `- {length: {min_tokens: 0, max_tokens: 0, min_chars: 2, max_chars: 2000}}
- {truncated: {}}
- {refusal: {}}
- {exact: {"on": both}}
- {minhash: {threshold: 0.8, words: 3, permutations: 128, ignore_numbers: false}}
- {per_prompt: {max: 1}}
`, string(written))
	var again []RuleEntry
	require.NoError(t, yaml.Unmarshal(written, &again))
	require.Equal(t, rules, again)
	data, err := json.Marshal(rules)
	require.NoError(t, err)
	again = nil
	require.NoError(t, json.Unmarshal(data, &again))
	require.Equal(t, rules, again)
	require.Len(t, Kinds(), 6)
}

func TestRulesErrors(t *testing.T) {
	for text, want := range map[string]string{
		"- truncated\n- refusals":                `line 2: "refusals" is not a filter: did you mean "refusal"?`,
		"- minhash:\n    treshold: 0.8":          `line 2: minhash.treshold: is not a key: did you mean "threshold"?`,
		"- minhash: {threshold: 2}":              `line 1: minhash.threshold: is 2: it must be above 0 and at most 1`,
		"- minhash:\n    threshold: .nan":        `line 2: minhash.threshold: is NaN`,
		"- minhash: {words: -1}":                 `minhash.words: is -1`,
		"- minhash: {permutations: 1000000000}":  `minhash.permutations: is 1000000000`,
		"- exact: {on: answer}":                  `exact.on: is "answer": it must be prompt, completion or both`,
		"- per_prompt: {max: -2}":                `per_prompt.max: is -2`,
		"- length":                               `line 1: length: no limit is set`,
		"- length: {max_tokens: -1}":             `length.max_tokens: is -1`,
		"- length: {min_chars: 9, max_chars: 2}": `length.min_chars: is 9 and max_chars 2: nothing is left between them`,
		"- length: {min_chars: yes please}":      `length.min_chars: wants a whole number, not "yes please"`,
		"- refusal: {patterns: ['(']}":           `refusal.patterns[0]: is "("`,
		"- refusal: {patterns: [b,\n 'a*']}":     `line 2: refusal.patterns[1]: is "a*", which matches every answer`,
		"- refusal: {patterns: {a: b}}":          `refusal.patterns: wants a list, not keys and values`,
		"- truncated: {x: 1}":                    `truncated.x: is not a key: nothing can stand here`,
	} {
		var rules []RuleEntry
		err := yaml.Unmarshal([]byte(text), &rules)
		require.ErrorContains(t, err, want, text)
		require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), text)
	}
	_, err := (&Filter{Rules: []RuleEntry{{Kind: "nothing"}}}).Schema(stillhouse.SampleSchema)
	require.ErrorContains(t, err, `rules[0]: "nothing" is not a filter`)
}

func TestLength(t *testing.T) {
	r := func(tokens int, text string) stillhouse.Sample {
		s := row(fmt.Sprint(tokens, text), 0, "q", text)
		s.CompletionTokens = int32(tokens)
		return s
	}
	require.Equal(t, []string{"length: 1 tokens, fewer than 2", "", "", "length: 5 tokens, more than 4", "length: 4 characters, more than 3", "", ""},
		outcomes(t, `[{length: {min_tokens: 2, max_tokens: 4, max_chars: 3}}]`,
			r(1, "a"), r(2, "a"), r(4, "éßü"), r(5, "a"), r(3, "éßüx"), r(0, "unc"), r(3, "")))
}

func FuzzRuleEntry(f *testing.F) {
	for _, s := range []string{"exact", "{minhash: {threshold: 0.5, words: 2}}", "{refusal: {patterns: [no]}}", "{refusal: {patterns: []}}", "{length: {max_chars: 3}}", "{per_prompt: {max: 9}}", "{exact: {on: prompt}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var e RuleEntry
		if yaml.Unmarshal([]byte(text), &e) != nil || e.Kind == "" {
			return
		}
		data, err := json.Marshal(e)
		require.NoError(t, err)
		var again RuleEntry
		require.NoError(t, json.Unmarshal(data, &again), "%s", data)
		require.Equal(t, e, again)
		_, err = e.Options.New()
		require.NoError(t, err)
	})
}
