package candidates

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/rowfile"
)

const goldens = "testdata/foreign"

// A wanted row is one of an expected.jsonl, in the form of its README.
type wanted = map[string]any

// golden writes an item as an expected.jsonl has it, with the keys that the wanted row has: what the source does not name
// is then held against what stillhouse puts in its place.
func golden(t *testing.T, it Item, want wanted) wanted {
	t.Helper()
	got := wanted{"prompt": conversationJSON(it.Prompt.Prompt), "sample": any(json.Number(jsonOf(t, it.Sample)))}
	if it.Sample == Unknown {
		got["sample"] = nil
	}
	if _, named := want["prompt_id"]; named {
		got["prompt_id"] = it.ID
	} else if id, err := identityOf(it.Identity()); err != nil || len(it.Prompt.Prompt) > 0 && it.ID != string(must(id.MarshalText())) {
		t.Errorf("the id is %s: %v", it.ID, err)
	}
	if it.Reason != "" {
		got["error"] = it.Reason
		return got
	}
	completion := conversationJSON(it.Completion)
	if it.ToolCalls != nil && it.Completion[0].Content == "" { // rows have no null here
		completion[0].(map[string]any)["content"] = nil
	}
	got["completion"], got["reasoning"], got["finish_reason"], got["model"] = completion, orNil(it.Reasoning), nil, nil
	if it.FinishReason != "" {
		got["finish_reason"] = it.FinishReason
	}
	if it.Model != "" {
		got["model"] = it.Model
	}
	for name, n := range map[string]int32{"prompt_tokens": it.PromptTokens, "completion_tokens": it.CompletionTokens} {
		if _, said := want[name]; said || n != 0 {
			got[name] = json.Number(jsonOf(t, n))
		}
	}
	for name, s := range map[string]*string{"reference": it.Reference, "tool_calls": it.ToolCalls, "tools": it.Tools} {
		if s != nil {
			got[name] = *s
		}
	}
	if it.Meta != nil {
		var meta wanted
		require.NoError(t, rowfile.Decode([]byte(*it.Meta), &meta))
		if meta["reward"] != nil {
			got["reward"] = meta["reward"]
		}
	}
	for _, row := range []wanted{got, want} {
		for _, name := range []string{"tool_calls", "tools"} { // compared as JSON
			if s, ok := row[name].(string); ok {
				var v any
				require.NoError(t, rowfile.Decode([]byte(s), &v))
				row[name] = v
			}
		}
	}
	return got
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func orNil(s *string) any {
	if s == nil {
		return nil
	}
	return *s
}

func jsonOf(t *testing.T, v any) string {
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

func conversationJSON(ms []stillhouse.Message) (out []any) {
	for _, m := range ms {
		out = append(out, map[string]any{"role": m.Role, "content": m.Content})
	}
	return out
}

func readExpected(t *testing.T, path string) (rows []wanted) {
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	for line := range bytes.Lines(data) {
		var row wanted
		require.NoError(t, rowfile.Decode(line, &row))
		if row["prompt"] == nil {
			row["prompt"] = []any(nil)
		}
		rows = append(rows, row)
	}
	return rows
}

// readAll is Scan into memory.
func readAll(o Options) (all []Item, s Summary, err error) {
	s, err = Scan(context.Background(), o, func(items []Item) error { all = append(all, items...); return nil })
	return all, s, err
}

// TestForeign reads the files of other tools and holds every row against what a reader has to make of it, also where
// nearly all waits on disk.
func TestForeign(t *testing.T) {
	defer func(was int) { memory = was }(memory)
	rows := 0
	for _, tc := range []struct {
		dir, files, want, says string
	}{
		{"alpaca", "alpaca.json", "", "Alpaca rows (12 prompts, 13 candidates)"},
		{"curator", "re*_0.jsonl", "", "requests of Bespoke Curator and responses of Bespoke Curator (11 prompts, 11 candidates, 1 rows that are none)"},
		{"curator", "responses_0.jsonl", "", "responses of Bespoke Curator (11 prompts, 11 candidates, 1 rows that are none)"},
		{"datatrove", "00000.jsonl", "", "datatrove documents (12 prompts, 35 candidates)"},
		{"distilabel", "text_generation.jsonl", "text_generation.", "distilabel generations (12 prompts, 23 candidates, 1 rows that are none)"},
		{"distilabel", "group_generations.jsonl", "group_generations.", "distilabel generations (12 prompts, 35 candidates, 1 rows that are none)"},
		{"distilabel", "group_columns.parquet", "group_columns.", "distilabel generations (12 prompts, 47 candidates, 1 rows that are none)"},
		{"messages", "train.parquet", "", "messages (12 prompts, 12 candidates)"},
		{"nemo_skills", "output-rs*.jsonl", "", "NeMo-Skills outputs (12 prompts, 48 candidates)"},
		{"openai_batch", "{input,output,errors}.jsonl", "", "input of OpenAI's Batch API and output of OpenAI's Batch API (10 prompts, 14 candidates, 2 rows that are none)"},
		{"openrlhf", "generate.jsonl", "generate.", "OpenRLHF generations (12 prompts, 24 candidates)"},
		{"openrlhf", "rm.jsonl", "rm.", "OpenRLHF generations (12 prompts, 24 candidates)"},
		{"openrlhf", "iter_dpo.jsonl", "iter_dpo.", "preference pairs (12 prompts, 24 candidates)"},
		{"prompt_completion", "train.parquet", "", "prompt and completion (12 prompts, 24 candidates)"},
		{"sharegpt", "sharegpt.json", "", "ShareGPT conversations (12 prompts, 12 candidates)"},
		{"sharegpt", "sharegpt.jsonl", "", "ShareGPT conversations (12 prompts, 12 candidates)"},
	} {
		t.Run(tc.dir+"/"+tc.files, func(t *testing.T) {
			want := readExpected(t, filepath.Join(goldens, tc.dir, tc.want+"expected.jsonl"))
			for _, memory = range []int{1, 1 << 20} {
				items, s, err := readAll(Options{Path: rowfile.Paths{filepath.Join(goldens, tc.dir, tc.files)}})
				require.NoError(t, err)
				assert.Equal(t, tc.says, s.String())
				require.Len(t, items, len(want))
				for i, it := range items {
					rows++
					if d := cmp.Diff(want[i], golden(t, it, want[i])); d != "" {
						t.Errorf("row %d (%s): %s", i, it.Place, d)
					}
				}
			}
		})
	}
	assert.Equal(t, 2*376, rows)
}

// The batch's prompts may be named apart, and stand before the answers however the files are ordered.
func TestBatchInput(t *testing.T) {
	in := func(name string) string { return filepath.Join(goldens, "openai_batch", name) }
	a, _, err := readAll(Options{Path: rowfile.Paths{in("output.jsonl"), in("errors.jsonl")}, BatchInput: rowfile.Paths{in("input.jsonl")}})
	require.NoError(t, err)
	b, _, err := readAll(Options{Path: rowfile.Paths{in("output.jsonl"), in("errors.jsonl"), in("input.jsonl")}})
	require.NoError(t, err)
	assert.Equal(t, a, b)
	_, _, err = readAll(Options{Path: rowfile.Paths{in("output.jsonl")}})
	require.ErrorContains(t, err, "candidates.batch_input: is missing")
	_, _, err = readAll(Options{Path: rowfile.Paths{in("input.jsonl")}})
	require.ErrorContains(t, err, "holds requests only")
	_, _, err = readAll(Options{Path: rowfile.Paths{in("output.jsonl")}, BatchInput: rowfile.Paths{in("errors.jsonl")}})
	require.ErrorContains(t, err, "is no input file of the Batch API")

	c, _, err := readAll(Options{Path: rowfile.Paths{in("output.jsonl")}, BatchInput: rowfile.Paths{in("input.jsonl")}})
	require.NoError(t, err)
	lost := slices.IndexFunc(c, func(it Item) bool { return it.Reason == NoResponse })
	require.GreaterOrEqual(t, lost, 0, "f08 has no answer without the file of errors")
	assert.Equal(t, "f08", c[lost].ID)
	assert.Equal(t, "How many corners has a cube?", c[lost].Prompt.Prompt[0].Content)

	half := written(t, "input.jsonl", strings.Join(strings.SplitAfter(string(must(os.ReadFile(in("input.jsonl")))), "\n")[:3], ""))
	d, _, err := readAll(Options{Path: rowfile.Paths{in("output.jsonl"), half}})
	require.NoError(t, err)
	lost = slices.IndexFunc(d, func(it Item) bool { return it.Reason == NoPrompt })
	require.Equal(t, 4, lost, "after the prompts that are there")
	assert.Equal(t, "f06", d[lost].ID)
	assert.Equal(t, int32(Unknown), d[lost].Sample)
	assert.Empty(t, d[lost].Prompt.Prompt)
}

func written(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}
