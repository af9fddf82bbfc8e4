package stillhouse_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"stillhouse"
)

func ptr[T any](v T) *T { return &v }

// examples are rows with every field set, with none set, and with values that are easily lost.
func examples() (out []stillhouse.Scored) {
	full := stillhouse.Scored{
		Candidate: stillhouse.Candidate{
			Prompt: stillhouse.Prompt{ID: "p1", Prompt: []stillhouse.Message{{Role: "system", Content: "Be kind."}, {Role: "user", Content: "1+1?"}},
				Tools: ptr(`[{"name":"add"}]`), Reference: ptr("2"), Source: "gsm8k", Meta: ptr(`{"a":1}`),
				Messages: ptr(`[{"role":"user","content":"1+1?"}]`)},
			Sample: 3, Completion: []stillhouse.Message{{Role: "assistant", Content: "2"}}, Reasoning: ptr("1+1=2"), ToolCalls: ptr("[]"),
			FinishReason: "stop", PromptTokens: 11, CompletionTokens: 7, Model: "m", RequestKey: "k",
			Refusal: ptr("no"), CachedTokens: ptr(int32(8)), ReasoningTokens: ptr(int32(3)), SystemFingerprint: ptr("fp_1"), System: ptr("Be brief."),
			LogProbs: []stillhouse.TokenLogProb{{Token: "2", LogProb: -0.5, Top: []stillhouse.AlternativeToken{{Token: "2", LogProb: -0.5}, {Token: "two", LogProb: -1}}},
				{Token: ".", LogProb: -2}}},
		Reward: 1.5, Scores: []stillhouse.Score{{Name: "math", Score: 1, Verdict: stillhouse.Right, Evidence: "2 = 2"}, {Name: "length", Score: -0.5, Verdict: stillhouse.Wrong}},
	}
	empty := stillhouse.Scored{Candidate: stillhouse.Candidate{Prompt: stillhouse.Prompt{Prompt: []stillhouse.Message{}}, Completion: []stillhouse.Message{}}}
	odd := empty
	odd.ID, odd.Reference, odd.Reasoning = "ü\x00\n", ptr(""), ptr("")
	odd.Prompt.Prompt = []stillhouse.Message{{}, {Role: "user", Content: strings.Repeat("long ", 3000)}}
	odd.Sample, odd.Reward, odd.CachedTokens, odd.LogProbs = -1, 1e300, ptr(int32(0)), []stillhouse.TokenLogProb{}
	return []stillhouse.Scored{full, empty, odd, full, empty}
}

func sample(s stillhouse.Scored) stillhouse.Sample {
	return stillhouse.Sample{Prompt: s.Prompt.Prompt, Completion: s.Completion, Tools: s.Tools, PromptID: s.ID, Sample: s.Candidate.Sample, Reward: s.Reward,
		Reasoning: s.Reasoning, ToolCalls: s.ToolCalls, FinishReason: s.FinishReason, CompletionTokens: s.CompletionTokens, Model: s.Model,
		RequestKey: s.RequestKey, Meta: s.Meta, Refusal: s.Refusal, LogProbs: s.LogProbs, ReasoningTokens: s.ReasoningTokens, System: s.System,
		Messages: s.Messages}
}

func TestRoundTrip(t *testing.T) {
	scored := examples()
	var prompts []stillhouse.Prompt
	var candidates []stillhouse.Candidate
	var samples []stillhouse.Sample
	for _, s := range scored {
		prompts, candidates, samples = append(prompts, s.Prompt), append(candidates, s.Candidate), append(samples, sample(s))
	}
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	roundTrip(t, mem, stillhouse.PromptSchema, prompts, stillhouse.PromptBatch, stillhouse.Prompts)
	roundTrip(t, mem, stillhouse.CandidateSchema, candidates, stillhouse.CandidateBatch, stillhouse.Candidates)
	roundTrip(t, mem, stillhouse.ScoredSchema, scored, stillhouse.ScoredBatch, stillhouse.ScoredRows)
	roundTrip(t, mem, stillhouse.SampleSchema, samples, stillhouse.SampleBatch, stillhouse.Samples)
}

func roundTrip[T any](t *testing.T, mem memory.Allocator, schema *arrow.Schema, rows []T,
	write func(memory.Allocator, []T) arrow.RecordBatch, read func(arrow.RecordBatch) ([]T, error)) {
	t.Helper()
	b := write(mem, rows)
	if !b.Schema().Equal(schema) {
		t.Errorf("%T: the batch has the schema %v", rows, b.Schema())
	}
	for from := range len(rows) + 1 {
		for to := from; to <= len(rows); to++ {
			piece := b.NewSlice(int64(from), int64(to))
			got, err := read(piece)
			piece.Release()
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(rows[from:to], got); d != "" {
				t.Errorf("%T, rows %d to %d: %s", rows, from, to, d)
			}
		}
	}
	got, err := read(b)
	b.Release() // what was read lives on
	if d := cmp.Diff(rows, got); d != "" || err != nil {
		t.Errorf("%T after the batch was released: %s, %v", rows, d, err)
	}
}

// TestReadNulls reads a row of another writer, which has nulls where ours have none, and list items by another name.
func TestReadNulls(t *testing.T) {
	fields := stillhouse.ScoredSchema.Fields()
	for i := range fields {
		fields[i].Nullable = true
		if fields[i].Name == "prompt" {
			fields[i].Type = arrow.ListOfField(arrow.Field{Name: "element", Type: stillhouse.MessageType})
		}
	}
	b, _, err := array.RecordFromJSON(memory.DefaultAllocator, arrow.NewSchema(fields, nil),
		strings.NewReader(`[{"prompt_id":"a","prompt":[{"role":"user","content":null}],"scores":[{"name":null,"score":null}]},{}]`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := stillhouse.ScoredRows(b)
	if err != nil {
		t.Fatal(err)
	}
	empty := stillhouse.Candidate{Prompt: stillhouse.Prompt{Prompt: []stillhouse.Message{}}, Completion: []stillhouse.Message{}}
	first := empty
	first.ID, first.Prompt.Prompt = "a", []stillhouse.Message{{Role: "user"}}
	if d := cmp.Diff([]stillhouse.Scored{{Candidate: first, Scores: []stillhouse.Score{{}}}, {Candidate: empty}}, got); d != "" {
		t.Error(d)
	}
}

func TestText(t *testing.T) {
	c := stillhouse.Candidate{Completion: []stillhouse.Message{{Content: "a"}, {Content: "b"}}}
	s := stillhouse.Sample{Completion: c.Completion}
	if c.Text() != "a\nb" || s.Text() != "a\nb" || (stillhouse.Sample{}).Text() != "" {
		t.Errorf("%q, %q", c.Text(), s.Text())
	}
}

func TestRows(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	all := prompts(mem, 12)
	defer all.Release()
	b := all.NewSlice(2, 12) // an offset of its own
	defer b.Release()
	for _, at := range [][]int{{}, {0}, {9}, {0, 1, 2}, {3, 2, 1}, {5, 5, 6, 6}, {0, 1, 4, 5, 6, 9}} {
		rows, err := stillhouse.Rows(mem, b, at)
		if err != nil {
			t.Fatal(err)
		}
		got, err := stillhouse.Prompts(rows)
		if err != nil || !rows.Schema().Equal(b.Schema()) {
			t.Fatal(err)
		}
		rows.Release()
		want := ""
		for _, i := range at {
			want += fmt.Sprint("p", i+2, " ")
		}
		text := ""
		for _, p := range got {
			text += p.ID + " "
		}
		if text != want {
			t.Errorf("rows %v are %s", at, text)
		}
	}
}

func TestConcat(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	all := prompts(mem, 12)
	defer all.Release()
	for _, cuts := range [][]int64{{0, 0}, {0, 12}, {0, 5, 12}, {0, 0, 3, 3, 11, 12}} {
		var pieces []arrow.RecordBatch
		for i := range len(cuts) - 1 {
			pieces = append(pieces, all.NewSlice(cuts[i], cuts[i+1]))
		}
		if cuts[len(cuts)-1] == 0 {
			pieces[0].Release()
			pieces = nil
		}
		got, err := stillhouse.Concat(mem, all.Schema(), pieces)
		if err != nil {
			t.Fatal(err)
		}
		want := all.NewSlice(0, cuts[len(cuts)-1])
		if !got.Schema().Equal(all.Schema()) || !array.RecordEqual(got, want) {
			t.Errorf("%v: %v", cuts, got)
		}
		want.Release()
		got.Release()
		for _, p := range pieces {
			p.Release()
		}
	}
	samples := stillhouse.SampleBatch(mem, nil)
	defer samples.Release()
	if _, err := stillhouse.Concat(mem, all.Schema(), []arrow.RecordBatch{all, samples}); err == nil || !strings.Contains(err.Error(), "prompt_id") {
		t.Errorf("batches of two schemas: %v", err)
	}
}
