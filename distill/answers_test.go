package distill

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/options"
	"stillhouse/internal/testkit"
)

// rich is a teacher whose answers carry everything.
func rich() *testkit.Teacher {
	return &testkit.Teacher{Fingerprint: "fp_1", Usage: map[string]any{"prompt_tokens_details": map[string]any{"cached_tokens": 3}, "completion_tokens_details": map[string]any{"reasoning_tokens": 4}},
		Answer: func(c testkit.Call) testkit.Choice {
			choice := testkit.Prose(c)
			choice.Reasoning = "Let me think of " + choice.Content
			if c.Fields["logprobs"] != nil {
				choice.LogProbs = json.RawMessage(`{"content":[{"token":"cask","logprob":-0.5,"bytes":null,"top_logprobs":[{"token":"oak","logprob":-0.75}]}]}`)
			}
			switch c.Sample {
			case 1:
				choice.ToolCalls = `[{"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{\"a\": 1,\"b\":2.0}"}}]`
				choice.FinishReason = "tool_calls"
			case 2:
				choice.Refusal, choice.Reasoning = "I won't.", ""
			case 3:
				choice.Parts, choice.Reasoning = json.RawMessage(`[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"one "},{"type":"text","text":"two"}]`), ""
			}
			return choice
		}}
}

func streamed(d *Distill) { d.Stream = true }

// A streamed answer and one in one piece are the same row, under the same key.
func TestStreamedRowsAreThoseOfPlainAnswers(t *testing.T) {
	for name, teacher := range map[string]*testkit.Teacher{"everything": rich(), "prose": {}, "n ignored": {MaxChoices: 1}, "reasoning": {ReasoningField: "reasoning", Answer: rich().Answer}} {
		teacher = testkit.StartTeacher(t, teacher)
		logprobs := func(d *Distill) { d.LogProbs, d.TopLogProbs = true, 1 }
		d := newStage(t, teacher, logprobs)
		want := mustRun(t, d, questions(10))
		requests := teacher.Requests()
		got := mustRun(t, newStage(t, teacher, logprobs, streamed), questions(10))
		assert.Empty(t, cmp.Diff(want, got), name)
		assert.Equal(t, 2*requests, teacher.Requests(), name)
		for _, c := range teacher.Calls()[requests:] {
			assert.True(t, c.Stream && c.StreamUsage, name)
		}
		mustRun(t, newStage(t, teacher, inStore(d.Store), logprobs, streamed), questions(10))
		assert.Equal(t, 2*requests, teacher.Requests(), "%s: whether it is streamed is no part of the key", name)
	}
}

func TestWhatAnAnswerCarries(t *testing.T) {
	teacher := testkit.StartTeacher(t, rich())
	d := newStage(t, teacher, func(d *Distill) { d.LogProbs = true })
	rows := mustRun(t, d, questions(1)).Rows
	require.Len(t, rows, 4)
	var thought int32
	for _, c := range rows {
		assert.Equal(t, "fp_1", *c.SystemFingerprint)
		assert.Equal(t, int32(3), *c.CachedTokens)
		assert.Equal(t, []stillhouse.TokenLogProb{{Token: "cask", LogProb: -0.5, Top: []stillhouse.AlternativeToken{{Token: "oak", LogProb: -0.75}}}}, c.LogProbs)
		assert.Nil(t, c.System)
		thought += *c.ReasoningTokens
	}
	assert.Equal(t, int32(4), thought)
	assert.Equal(t, "Let me think of "+rows[0].Text(), *rows[0].Reasoning)
	assert.Nil(t, rows[0].Refusal)
	assert.Equal(t, `[{"id":"c1","type":"function","function":{"name":"add","arguments":"{\"a\": 1,\"b\":2.0}"}}]`, *rows[1].ToolCalls)
	assert.Equal(t, "I won't.", *rows[2].Refusal)
	assert.Equal(t, "I won't.", rows[2].Text())
	assert.Equal(t, "one two", rows[3].Text())
	assert.Equal(t, "hm", *rows[3].Reasoning)
	assert.Equal(t, int64(3), d.Requests().CachedTokens)
	assert.Equal(t, int64(4), d.Requests().ReasoningTokens)

	bare := mustRun(t, newStage(t, testkit.StartTeacher(t, &testkit.Teacher{NoUsage: true})), questions(1)).Rows[0]
	assert.Empty(t, cmp.Diff(stillhouse.Candidate{Prompt: bare.Prompt, Completion: bare.Completion, FinishReason: bare.FinishReason, CompletionTokens: bare.CompletionTokens,
		Model: "m", RequestKey: bare.RequestKey}, bare), "what an endpoint does not say is null")
}

// Each stream fails once. Nothing is lost, and no part of an answer is given out as one.
func TestStreamFaults(t *testing.T) {
	want := mustRun(t, newStage(t, testkit.StartTeacher(t, &testkit.Teacher{})), questions(10)).texts()
	never := make(chan struct{})
	t.Cleanup(func() { close(never) })
	events := func(body string) *testkit.Fault { return &testkit.Fault{Type: "text/event-stream", Body: body} }
	for name, tc := range map[string]struct {
		fault *testkit.Fault
		kind  string
	}{
		"cut":               {&testkit.Fault{Cut: true}, "cut"},
		"without its end":   {&testkit.Fault{Unended: true}, "cut"},
		"silent":            {&testkit.Fault{Silent: never}, "timeout"},
		"an error":          {events(stream(piece(`{"content":"so"}`, "null"), `{"error":{"message":"upstream is gone"}}`, done)), "error"},
		"an error, 502":     {events(stream(`{"error":{"message":"upstream is gone","code":502}}`)), "502"},
		"an error, 429":     {events(stream(`{"choices":[{"index":0,"delta":{},"error":{"message":"slow","code":429}}]}`, done)), "429"},
		"nothing":           {events(""), "cut"},
		"an end":            {events(stream(done)), "empty"},
		"garbage":           {events(stream(`{"choices":`, done)), "garbage"},
		"a page":            {&testkit.Fault{Type: "text/event-stream", Body: "<html><body>x</body></html>"}, "html"},
		"503 with an event": {&testkit.Fault{Status: 503, Type: "text/event-stream", Body: stream(`{"error":{"message":"busy"}}`)}, "503"},
	} {
		t.Run(name, func(t *testing.T) {
			teacher := testkit.StartTeacher(t, &testkit.Teacher{Fault: func(c testkit.Call) *testkit.Fault {
				if c.Nth == 0 {
					return tc.fault
				}
				return nil
			}})
			d := newStage(t, teacher, streamed, func(d *Distill) {
				if tc.kind == "timeout" {
					d.Timeout, d.Concurrency = 2*time.Second, 16
				}
			})
			r := mustRun(t, d, questions(10))
			assert.Empty(t, cmp.Diff(want, r.texts()))
			assert.Empty(t, r.Failed)
			assert.Zero(t, teacher.Resent())
			assert.Equal(t, map[string]int64{tc.kind: 10}, d.Requests().Retries)
		})
	}
}

// A stream that a server refuses is told with the server's message, as is an endpoint that cannot count.
func TestStreamWithoutUsage(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Fault: func(c testkit.Call) *testkit.Fault {
		if c.Fields["stream_options"] != nil {
			return testkit.Status(422, "extra_forbidden", "")
		}
		return nil
	}})
	r := mustRun(t, newStage(t, teacher, streamed, func(d *Distill) { d.StreamUsage = new(false) }), questions(3))
	assert.Len(t, r.Rows, 12)
	assert.Empty(t, r.Failed)
	for _, c := range r.Rows {
		assert.Zero(t, c.PromptTokens)
		assert.Positive(t, c.CompletionTokens, "estimated")
	}
	r = mustRun(t, newStage(t, teacher, streamed), questions(3))
	assert.Len(t, r.Failed, 12)
}

// Which answers broke off in a way that only the server knows, so that they are asked for again.
func TestAnswersThatBrokeOff(t *testing.T) {
	for _, reason := range []string{"error", "abort", "insufficient_system_resource", "network_error"} {
		for _, change := range []func(*Distill){func(*Distill) {}, streamed} {
			n := 0
			teacher := testkit.StartTeacher(t, &testkit.Teacher{Answer: func(c testkit.Call) testkit.Choice {
				choice := testkit.Prose(c)
				if c.Nth == 0 {
					n++
					choice.FinishReason = reason
				}
				return choice
			}})
			d := newStage(t, teacher, change, func(d *Distill) { d.Samples, d.Concurrency = Exactly(1), 1 })
			r := mustRun(t, d, questions(3))
			assert.Equal(t, 3, n)
			for _, c := range r.Rows {
				assert.NotEqual(t, reason, c.FinishReason)
			}
			assert.Len(t, r.Rows, 3)
			assert.Equal(t, map[string]int64{"error": 3}, d.Requests().Retries, reason)
		}
	}
}

func TestReasoningTags(t *testing.T) {
	for content, want := range map[string][2]string{
		"<think>\nhm\n</think>\n\nfour":    {"hm", "four"},
		"\n<think>hm</think>four </think>": {"hm", "four </think>"},
		"hm\n</think>\n\nfour":             {"hm", "four"},
		"<think>\nhm, and then":            {"hm, and then", ""},
		"<think>\n\n</think>\n\nfour":      {"", "four"},
		"four, <think> is a tag":           {"", "four, <think> is a tag"},
		"four":                             {"", "four"},
		"":                                 {"", ""},
	} {
		teacher := testkit.StartTeacher(t, &testkit.Teacher{Answer: func(testkit.Call) testkit.Choice { return testkit.Choice{Content: content} }})
		d := newStage(t, teacher, func(d *Distill) { d.Samples, d.ReasoningTags = Exactly(1), []string{"<think>", "</think>"} })
		c := mustRun(t, d, questions(1)).Rows[0]
		assert.Equal(t, want[1], c.Text(), content)
		if want[0] == "" {
			assert.Nil(t, c.Reasoning, content)
		} else if assert.NotNil(t, c.Reasoning, content) {
			assert.Equal(t, want[0], *c.Reasoning, content)
		}
		raw := mustRun(t, newStage(t, teacher, inStore(d.Store), func(d *Distill) { d.Samples = Exactly(1) }), questions(1)).Rows[0]
		assert.Equal(t, content, raw.Text())
		assert.Equal(t, c.RequestKey, raw.RequestKey)
		assert.Equal(t, 1, teacher.Requests(), "the tags change rows, not requests")
	}
	teacher := testkit.StartTeacher(t, rich())
	d := newStage(t, teacher, func(d *Distill) { d.Samples, d.ReasoningTags = Exactly(1), []string{"<think>", "</think>"} })
	assert.Contains(t, *mustRun(t, d, questions(1)).Rows[0].Reasoning, "Let me think", "a field of its own wins")
}

// docs/distill.md says what every column of an answer is, and what every key of the config that is sent becomes.
func TestAnswersAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/distill.md")
	require.NoError(t, err)
	for _, f := range candidateColumns {
		if f.Name != "sample" {
			assert.Contains(t, string(page), "`"+f.Name+"`", "column")
		}
	}
	for _, key := range ours {
		for name := range strings.SplitSeq(key, " or ") {
			if name, ok := strings.CutPrefix(name, "distill."); ok && !slices.Contains([]string{"model", "samples"}, name) {
				assert.Contains(t, string(page), "`"+name+"`", "key")
			}
		}
	}
}

// The stage keeps its contract when it writes into the columns of the prompts, and when answers are streamed.
func TestConformsWithEverything(t *testing.T) {
	teacher := testkit.StartTeacher(t, rich())
	store := filepath.Join(t.TempDir(), "conform.db")
	testkit.Conform(t, testkit.Case{
		New: func() stillhouse.Stage {
			return &Distill{Options: Options{Endpoint: teacher.URL(), Model: "m", Samples: Exactly(4), Store: store, AnswerOptions: AnswerOptions{
				Stream: true, LogProbs: true, Systems: personas, SystemBy: SystemBySample, KeepSystem: true, Tools: &options.Document{JSON: json.RawMessage(aTool)},
				ReasoningTags: []string{"<think>", "</think>"}, ResponseFormat: &ResponseFormat{Type: "json_schema", JSONSchema: &options.Document{JSON: json.RawMessage(`{"type":"object"}`)}}}}}
		},
		Join: func(s stillhouse.Stage) {
			d := s.(*Distill)
			d.clock, d.draw = newLeap(), func() float64 { return 0.5 }
			t.Cleanup(func() { assert.NoError(t, d.Close()) })
		},
		Input:    func(mem memory.Allocator) arrow.RecordBatch { return stillhouse.PromptBatch(mem, questions(5)) },
		Needs:    []string{"prompt_id", "prompt", "tools"},
		Output:   stillhouse.CandidateSchema,
		BadInput: []*arrow.Schema{stillhouse.CandidateSchema, arrow.NewSchema(nil, nil)},
		Account:  &stillhouse.Account{In: 20, Kept: 20},
	})
}
