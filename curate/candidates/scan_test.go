package candidates

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	arrowmemory "github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/curate/reward"
	"stillhouse/internal/rowfile"
	"stillhouse/internal/rundir"
)

func lines(t testing.TB, name string, rows ...string) string {
	return written(t, name, strings.Join(rows, "\n")+"\n")
}

// brief is what there is of items, one a line: last turn of the prompt, sample, answer or reason.
func brief(items []Item) string {
	var b strings.Builder
	for _, it := range items {
		last := "-"
		if n := len(it.Prompt.Prompt); n > 0 {
			last = it.Prompt.Prompt[n-1].Content
		}
		said := it.Text()
		if it.Reason != "" {
			said = it.Reason
		}
		fmt.Fprintf(&b, "%s %d %s\n", last, it.Sample, said)
	}
	return b.String()
}

// Files of different shapes are each read as what they are, and answers to one prompt come together.
func TestMixedShapes(t *testing.T) {
	items, s, err := readAll(Options{Path: rowfile.Paths{
		lines(t, "a.json", `[{"instruction":"one","input":"","output":"a1"},`, `{"instruction":"two","output":"a2"}]`),
		lines(t, "b.jsonl", `{"instruction":"two","generations":["b0","b1",null]}`, `{"instruction":"three","generations":["b2"]}`),
		lines(t, "c.jsonl", `{"messages":[{"role":"user","content":"one"},{"role":"assistant","content":"c1"}]}`),
	}})
	require.NoError(t, err)
	assert.Equal(t, "one 0 a1\none 1 c1\ntwo 0 b0\ntwo 1 b1\ntwo 2 no_content\ntwo 3 a2\nthree 0 b2\n", brief(items), "K varies")
	assert.Equal(t, "Alpaca rows and distilabel generations and messages (3 prompts, 6 candidates, 1 rows that are none)", s.String())
	assert.Equal(t, 3, s.Samples)
	assert.EqualValues(t, 6, s.Unreferenced)
	assert.EqualValues(t, 6, s.Uncounted)
	assert.True(t, s.Account.Balanced())
	assert.Equal(t, "a.json", items[0].Source)
	assert.Equal(t, "c.jsonl line 1", items[1].Place)
}

// Numbers that are taken make way: two runs with as many answers each come one after the other.
func TestSamplesThatAreTaken(t *testing.T) {
	row := func(sample int, said string) string {
		return fmt.Sprintf(`{"prompt":"p","completion":%q,"sample":%d}`, said, sample)
	}
	items, _, err := readAll(Options{Path: rowfile.Paths{lines(t, "a.jsonl", row(0, "a0"), row(2, "a2")), lines(t, "b.jsonl", row(0, "b0"), row(1, "b1"), row(2, "b2"))}})
	require.NoError(t, err)
	assert.Equal(t, "p 0 a0\np 1 b1\np 2 a2\np 3 b0\np 4 b2\n", brief(items))
}

// A prompt of a run, whose id is its hash, is the same prompt without an id.
func TestIDsThatAreHashes(t *testing.T) {
	id, err := identityOf(stillhouse.Prompt{Prompt: user("p")}.Identity())
	require.NoError(t, err)
	name, err := id.MarshalText()
	require.NoError(t, err)
	items, s, err := readAll(Options{Path: rowfile.Paths{lines(t, "a.jsonl", `{"instruction":"p","output":"a"}`, `{"instruction":"q","output":"b"}`),
		lines(t, "b.jsonl", fmt.Sprintf(`{"prompt":"p","completion":"c","prompt_id":"%s"}`, name))}})
	require.NoError(t, err)
	assert.Equal(t, "p 0 a\np 1 c\nq 0 b\n", brief(items))
	assert.EqualValues(t, 2, s.Prompts)
}

// What rows say that is no answer, in every way.
func TestRowsThatAreNoCandidates(t *testing.T) {
	for name, tc := range map[string]struct{ file, row, want string }{
		"ends with the user":       {"a.jsonl", `{"messages":[{"role":"user","content":"p"}]}`, "p -1 no_completion"},
		"ShareGPT too":             {"a.jsonl", `{"id":7,"conversations":[{"from":"human","value":"p"},{"from":"gpt","value":"x"},{"from":"human","value":"q"}]}`, "q -1 no_completion"},
		"begins with the answer":   {"a.jsonl", `{"messages":[{"role":"assistant","content":"a"}]}`, "- -1 no_prompt"},
		"no instruction":           {"a.jsonl", `{"instruction":"","input":"","output":"a"}`, "- -1 no_prompt"},
		"null":                     {"a.jsonl", `{"instruction":"p","output":null}`, "p 0 no_content"},
		"empty is an answer":       {"a.jsonl", `{"instruction":"p","output":""}`, "p 0 "},
		"none of several":          {"a.jsonl", `{"instruction":"p","generations":[]}`, "p -1 no_response"},
		"no rollouts":              {"a.jsonl", `{"text":"p","id":"d","metadata":{"rollout_results":[]}}`, "p -1 no_response"},
		"seed without text":        {"output-rs5.jsonl", `{"problem":"p","generation":null}`, "p 5 no_content"},
		"seed with reasoning only": {"output-rs5.jsonl", `{"problem":"p","generation":null,"reasoning_content":"hm"}`, "p 5 "},
		"no seed in the name":      {"output.jsonl", `{"question":"p","generation":"a","messages":null}`, "p 0 a"},
		"no choices":               {"a.jsonl", `{"custom_id":"1","response":{"status_code":200,"body":{"choices":[]}},"error":null}`, "p -1 no_content"},
		"an error in the body":     {"a.jsonl", `{"custom_id":"1","response":{"status_code":200,"body":{"error":{"message":"m"}}},"error":null}`, "p -1 api_error"},
		"a call":                   {"a.jsonl", `{"messages":[{"role":"user","content":"p"},{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]}]}`, "p 0 "},
		"a call in ShareGPT":       {"a.jsonl", `{"conversations":[{"from":"human","value":"p"},{"from":"function_call","value":"{\"name\":\"f\",\"arguments\":{\"a\":1}}"}]}`, "p 0 "},
	} {
		o := Options{Path: rowfile.Paths{lines(t, tc.file, tc.row), lines(t, "good.jsonl", `{"prompt":"z","completion":"z"}`)}}
		if strings.Contains(tc.row, "custom_id") {
			o.BatchInput = rowfile.Paths{lines(t, "input.jsonl", `{"custom_id":"1","body":{"messages":[{"role":"user","content":"p"}]}}`)}
		}
		items, s, err := readAll(o)
		require.NoError(t, err, name)
		assert.Equal(t, tc.want+"\nz 0 z\n", brief(items), name)
		assert.True(t, s.Account.Balanced(), name)
		if strings.Contains(name, "a call") {
			assert.Contains(t, *items[0].ToolCalls, `"name":"f"`, name)
		}
	}
}

func TestBadRows(t *testing.T) {
	good := `{"prompt":"p","completion":"a","prompt_id":"1"}`
	for name, tc := range map[string]struct{ row, say string }{
		"not UTF-8":          {"{\"prompt\":\"p\",\"completion\":\"\xff\"}", "the line is not valid UTF-8"},
		"cut off":            {`{"prompt":"p","comple`, "it breaks off"},
		"no such column":     {`{"prompt":"p","answer":"a"}`, `there is no column "completion": the columns there are answer, prompt`},
		"a number as prompt": {`{"prompt":7,"completion":"a"}`, "the prompt is a number"},
		"another's role":     {`{"prompt":"p","completion":[{"role":"user","content":"a"}]}`, `the answer's message is that of "user"`},
		"tools":              {`{"prompt":"p","completion":"a","tools":"{"}`, "the tools are not JSON"},
		"id of another":      {`{"prompt":"q","completion":"a","prompt_id":"1"}`, `the id "1" is that of a.jsonl line 1 too, whose prompt is another`},
	} {
		o := Options{Path: rowfile.Paths{lines(t, "a.jsonl", good, tc.row, good)}}
		_, _, err := readAll(o)
		require.ErrorContains(t, err, tc.say, name)
		require.ErrorContains(t, err, "line 2", name)
		require.ErrorContains(t, err, "on_bad_row: skip", name)
		assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), name)
		o.OnBadRow = OnBadRowSkip
		items, s, err := readAll(o)
		require.NoError(t, err, name)
		assert.Equal(t, stillhouse.Account{In: 3, Kept: 2, Dropped: map[string]int64{BadRow: 1}}, s.Account, name)
		for _, it := range items {
			assert.Equal(t, it.Reason == BadRow, strings.Contains(it.Detail, tc.say), name)
			assert.Equal(t, it.Reason == BadRow, it.Place == "a.jsonl line 2", name)
		}
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	for name, tc := range map[string]struct {
		o   Options
		say []string
	}{
		"no shape": {Options{Path: rowfile.Paths{lines(t, "a.jsonl", `{"q":"p","a":"a"}`)}},
			[]string{"candidates.path: ", "a.jsonl has none of the shapes that are known: the columns there are a, q;", "alpaca (instruction, output", "sharegpt (conversations)", "nemo_skills (", "candidates.columns, as {prompt: …, completion: …}"}},
		"two shapes": {Options{Path: rowfile.Paths{lines(t, "a.jsonl", `{"prompt":"p","completion":"a","messages":[{"role":"user","content":"p"}]}`)}},
			[]string{"in more than one way, as messages (messages) and as prompt_completion (prompt, completion)", "write candidates.format: messages"}},
		"another shape": {Options{Format: "sharegpt", Path: rowfile.Paths{lines(t, "a.jsonl", `{"prompt":"p","completion":"a"}`)}},
			[]string{"is not of the shape that candidates.format says, sharegpt (conversations): the columns there are completion, prompt"}},
		"empty":         {Options{Path: rowfile.Paths{written(t, "a.jsonl", "")}}, []string{"a.jsonl is empty"}},
		"no rows":       {Options{Path: rowfile.Paths{written(t, "a.json", "[]")}}, []string{"a.json has no rows"}},
		"no file":       {Options{Path: rowfile.Paths{filepath.Join(dir, "none.jsonl")}}, []string{"there is no file"}},
		"a folder":      {Options{Path: rowfile.Paths{dir}}, []string{"is a folder without candidates of a run", "*.jsonl"}},
		"all bad":       {Options{OnBadRow: "skip", Path: rowfile.Paths{written(t, "a.jsonl", "[1,\n2]")}}, []string{"a.jsonl has no row that can be read; the first: item 1: ", "not a JSON object"}},
		"no candidate":  {Options{Path: rowfile.Paths{lines(t, "a.jsonl", `{"prompt":"p","completion":null}`)}}, []string{"none of the 1 rows of", "is a candidate; the first: a.jsonl line 1: no_content"}},
		"no path":       {Options{}, []string{"candidates.path: is missing"}},
		"format":        {Options{Path: rowfile.Paths{"x"}, Format: "alpacca"}, []string{`candidates.format: is "alpacca": did you mean "alpaca"`}},
		"limit":         {Options{Path: rowfile.Paths{"x"}, Limit: -1}, []string{"candidates.limit: is -1"}},
		"on_bad_row":    {Options{Path: rowfile.Paths{"x"}, OnBadRow: "drop"}, []string{"candidates.on_bad_row"}},
		"half a pair":   {Options{Path: rowfile.Paths{"x"}, Columns: Columns{Prompt: "q"}}, []string{"candidates.columns.completion: is missing"}},
		"both":          {Options{Path: rowfile.Paths{"x"}, Columns: Columns{Messages: "m", Prompt: "q"}}, []string{"candidates.columns.messages: cannot be beside prompt"}},
		"meta":          {Options{Path: rowfile.Paths{"x"}, Columns: Columns{Meta: []string{"a", "a"}}}, []string{"candidates.columns.meta[1]"}},
		"batch":         {Options{Path: rowfile.Paths{"x"}, Format: "alpaca", BatchInput: rowfile.Paths{"y"}}, []string{"candidates.batch_input: is for the output of OpenAI's Batch API"}},
		"mapped":        {Options{Path: rowfile.Paths{lines(t, "a.jsonl", `{"q":"p","a":"a"}`)}, Columns: Columns{Prompt: "q", Completion: "b"}}, []string{`there is no column "b": the columns there are a, q`}},
		"its reference": {Options{Path: rowfile.Paths{lines(t, "a.jsonl", `{"prompt":"p","completion":"a"}`)}, Reference: "meta.answer"}, []string{`there is no column "meta.answer"`}},
	} {
		_, _, err := readAll(tc.o)
		require.Error(t, err, name)
		for _, say := range tc.say {
			assert.ErrorContains(t, err, say, name)
		}
		assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), name)
	}
}

// The config's columns count before those of the shape.
func TestColumns(t *testing.T) {
	path := lines(t, "a.jsonl", `{"q":"p","a":["x","y"],"extra":{"right":"x","level":2},"n":[3,4],"s":"Be brief.","who":"m"}`)
	items, s, err := readAll(Options{Path: rowfile.Paths{path}, Reference: "extra.right", Source: "mine",
		Columns: Columns{Prompt: "q", Completion: "a", CompletionTokens: "n", System: "s", Model: "who", Meta: []string{"extra.level"}}})
	require.NoError(t, err)
	assert.Equal(t, "p 0 x\np 1 y\n", brief(items))
	it := items[1]
	assert.Equal(t, []stillhouse.Message{{Role: "system", Content: "Be brief."}, {Role: "user", Content: "p"}}, it.Prompt.Prompt)
	assert.Equal(t, []any{"x", int32(4), "m", "mine", `{"extra.level":2}`}, []any{*it.Reference, it.CompletionTokens, it.Model, it.Source, *it.Meta})
	assert.Equal(t, "the columns of candidates.columns (1 prompts, 2 candidates)", s.String())
	assert.EqualValues(t, 4, s.Longest)

	path = lines(t, "b.jsonl", `{"id":"i","talk":[{"from":"human","value":"p"},{"from":"gpt","value":"a"}]}`)
	items, _, err = readAll(Options{Path: rowfile.Paths{path}, Columns: Columns{Messages: "talk", ID: "id"}})
	require.NoError(t, err)
	assert.Equal(t, "p 0 a\n", brief(items))
	assert.Equal(t, "i", items[0].ID)

	path = lines(t, "c.jsonl", `{"instruction":"p","output":"a","answer":5}`, `{"instruction":"p","output":"b","answer":null}`)
	items, s, err = readAll(Options{Path: rowfile.Paths{path}, Reference: "answer"})
	require.NoError(t, err)
	assert.Equal(t, "5", *items[0].Reference)
	assert.Nil(t, items[1].Reference)
	assert.EqualValues(t, 1, s.Unreferenced)
}

func TestLimit(t *testing.T) {
	in := filepath.Join(goldens, "nemo_skills", "output-rs*.jsonl")
	items, s, err := readAll(Options{Path: rowfile.Paths{in}, Limit: 3})
	require.NoError(t, err)
	assert.EqualValues(t, []int64{3, 12}, []int64{s.Prompts, s.Account.In})
	assert.Equal(t, "Round 2.718 to one decimal.", items[11].Prompt.Prompt[0].Content)
	items, _, err = readAll(Options{Path: rowfile.Paths{filepath.Join(goldens, "curator", "responses_0.jsonl")}, Limit: 1})
	require.NoError(t, err)
	assert.Equal(t, "A tram leaves every 12 minutes. How many leave in one hour? 0 60 / 12 = 5, so 5 trams leave.\n", brief(items), "the first of the dataset, which came last")
}

// Answers of 10 MB each, of prompts that are far apart, wait on disk.
func TestLongAnswers(t *testing.T) {
	defer func(was int) { memory = was }(memory)
	memory = 16 << 20
	const n, size = 6, 10 << 20
	path := filepath.Join(t.TempDir(), "long.jsonl.gz")
	f, err := os.Create(path)
	require.NoError(t, err)
	z := gzip.NewWriter(f)
	for i := range n {
		_, err := fmt.Fprintf(z, `{"input":"p%d","output":"%d%s"}`+"\n", i%3, i, strings.Repeat("x", size))
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	require.NoError(t, f.Close())
	var got []string
	_, err = Scan(context.Background(), Options{Path: rowfile.Paths{path}}, func(items []Item) error {
		for _, it := range items {
			require.Len(t, it.Text(), size+1)
			got = append(got, it.Prompt.Prompt[0].Content+it.Text()[:1])
		}
		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, []string{"p00", "p03", "p11", "p14", "p22", "p25"}, got)
}

// Candidates of a run come back as they are, whatever is in them.
func TestOwnCandidates(t *testing.T) {
	text := func(s string) *string { return &s }
	n := int32(3)
	full := stillhouse.Candidate{Prompt: stillhouse.Prompt{ID: "a", Prompt: user("p"), Tools: text("[]"), Reference: text(""), Source: "s", Meta: text(`{"x":1}`), Messages: text(`[{"role":"user","content":"p"}]`)},
		Sample: 2, Completion: []stillhouse.Message{{Role: "assistant", Content: "é<\u2028>"}}, Reasoning: text("r"), ToolCalls: text("[]"), FinishReason: "stop", PromptTokens: 1, CompletionTokens: 2,
		Model: "m", RequestKey: "k", Refusal: text("no"), CachedTokens: &n, ReasoningTokens: &n, SystemFingerprint: text("f"), System: text("y"),
		LogProbs: []stillhouse.TokenLogProb{{Token: "t", LogProb: -0.1, Top: []stillhouse.AlternativeToken{{Token: "u", LogProb: math.Inf(-1)}}}, {Token: "v", LogProb: math.NaN()}}}
	bare := stillhouse.Candidate{Prompt: stillhouse.Prompt{ID: "b", Prompt: user("q"), Source: "s"}, Completion: []stillhouse.Message{{Role: "assistant"}}}
	want := []stillhouse.Candidate{full, bare}
	batch := stillhouse.CandidateBatch(arrowmemory.DefaultAllocator, want)
	defer batch.Release()
	data, err := rundir.EncodeParquet(batch, nil)
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "candidates"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "candidates", "part-00000.parquet"), data, 0o600))
	for _, path := range []string{dir, filepath.Join(dir, "candidates"), filepath.Join(dir, "*", "*.parquet")} {
		items, s, err := readAll(Options{Path: rowfile.Paths{path}})
		require.NoError(t, err)
		assert.Equal(t, "candidates of a run (2 prompts, 2 candidates)", s.String())
		got := []stillhouse.Candidate{items[0].Candidate, items[1].Candidate}
		if d := cmp.Diff(want, got, cmpopts.EquateNaNs()); d != "" {
			t.Error(path, d)
		}
	}
}

// Where the source counts no tokens, length says that it cannot tell, which is no 0 in disguise.
func TestUnknownTokens(t *testing.T) {
	items, _, err := readAll(Options{Path: rowfile.Paths{lines(t, "a.jsonl", `{"instruction":"p","output":"a"}`)}})
	require.NoError(t, err)
	length, err := (&reward.Length{MaxTokens: 5}).New()
	require.NoError(t, err)
	score := length.Score(context.Background(), items[0].Candidate)
	assert.Equal(t, stillhouse.Unparsable, score.Verdict)
	assert.Contains(t, score.Evidence, "no completion tokens")
}

// No row of whatever JSON makes a reader panic, or a candidate without prompt and answer.
func FuzzRow(f *testing.F) {
	for _, seed := range []string{
		`{"messages":[{"role":"user","content":"p"},{"role":"assistant","content":[{"type":"text","text":"a"}],"tool_calls":"[]"}],"tools":[{}]}`,
		`{"conversations":[{"from":"human","value":"p"},{"from":"function_call","value":"[{\"name\":1}]"}],"id":1e9}`,
		`{"instruction":"p","input":null,"output":{},"history":[["a","b"],[1]],"system":"s"}`,
		`{"prompt":[{"role":"user","content":"p"}],"completion":[{"role":"assistant","content":"a"},{"role":"tool","content":7}],"sample":-1}`,
		`{"instruction":"p","generations":["a",null,7,[]],"generation_models":["m"],"distilabel_metadata":[{"statistics_x":{"output_tokens":[1]}}],"generation":[]}`,
		`{"problem":"p","generation":"a","_full_generation":"<think>x","expected_answer":7}`,
		`{"custom_id":"1","response":{"status_code":200,"body":{"choices":[{"index":9,"message":{"content":null}},7],"usage":[]}},"error":null}`,
		`{"custom_id":"1","body":{"messages":[7]}}`,
		`{"response_message":{"a":1},"generic_request":{"messages":[{"role":"user","content":"p"}]},"response_errors":[7]}`,
		`{"text":"p","metadata":{"rollout_results":[{"text":1},null,"x"]}}`,
		`{"prompt":"p","chosen":[{"role":"user","content":"p"},{"role":"assistant","content":"a"}],"rejected":null,"chosen_reward":{}}`,
		`{"prompt_id":"1","prompt":[7],"sample":2147483648,"completion":{},"request_key":"","logprobs":[[]]}`,
		`{"input":true,"output":1.5}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var raw rowfile.Row
		if rowfile.Decode(data, &raw) != nil || raw == nil {
			return
		}
		for _, s := range append(shapes, mappedShape(&Columns{Messages: "messages"}), mappedShape(&Columns{Prompt: "prompt", Completion: "completion"})) {
			r := &scanner{o: &Options{Columns: Columns{Sample: "sample", Meta: []string{"id"}}}}
			items, err := r.items(&row{raw: raw, values: map[string]any{}, file: &file{base: "output-rs1.jsonl", shape: s}})
			if err != nil {
				continue
			}
			for _, it := range items {
				b, err := it.encode()
				if err != nil {
					t.Fatalf("%s: %v", s.title, err)
				}
				again, err := decode(b)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(it.Candidate, again.Candidate, cmpopts.EquateNaNs(), cmpopts.EquateEmpty()); d != "" {
					t.Fatalf("%s: %s", s.title, d)
				}
				if it.Reason == "" && !it.Request && (len(it.Completion) == 0 || len(it.Prompt.Prompt) == 0 && !it.Bare) {
					t.Fatalf("%s: a candidate without prompt or answer: %+v", s.title, it)
				}
			}
		}
	})
}
