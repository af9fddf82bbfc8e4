package distill

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/testkit"
)

// A leap is a clock on which waiting takes no time: whoever sleeps puts it forward.
type leap struct {
	mu    sync.Mutex
	now   time.Time
	slept []time.Duration
}

func newLeap() *leap { return &leap{now: time.Now()} }

func (l *leap) Now() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

func (l *leap) Sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slept = append(l.slept, d)
	l.now = l.now.Add(d)
	return nil
}

func (l *leap) AfterFunc(d time.Duration, do func()) (stop func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slept = append(l.slept, d)
	l.now = l.now.Add(d)
	go do()
	return func() {}
}

func (l *leap) waits() []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.slept)
}

// newStage is a stage on a store of the test's own, or on the one that change names.
func newStage(t *testing.T, teacher *testkit.Teacher, change ...func(*Distill)) *Distill {
	t.Helper()
	d := &Distill{Options: Options{Model: "m", Samples: Exactly(4), MaxTokens: 40, Concurrency: 4, GiveUpAfter: time.Hour,
		Identity: "test"}}
	d.clock, d.draw = newLeap(), func() float64 { return 0.5 }
	if teacher != nil {
		d.Endpoint = teacher.URL()
	}
	for _, c := range change {
		c(d)
	}
	if d.Store == "" {
		d.Store = filepath.Join(t.TempDir(), "responses.db")
	}
	t.Cleanup(func() { assert.NoError(t, d.Close()) })
	return d
}

func inStore(path string) func(*Distill) { return func(d *Distill) { d.Store = path } }

func question(i int) string { return fmt.Sprintf("What is %d + %d?", i, i) }

func questions(n int) []stillhouse.Prompt {
	ps := make([]stillhouse.Prompt, n)
	for i := range ps {
		ps[i] = stillhouse.Prompt{ID: fmt.Sprintf("p%d", i), Prompt: []stillhouse.Message{{Role: "user", Content: question(i)}}, Source: "test"}
	}
	return ps
}

// A result is what a run of the stage made.
type result struct {
	Rows    []stillhouse.Candidate
	Failed  []string
	Account stillhouse.Account
}

func (r result) texts() (out []string) {
	for _, c := range r.Rows {
		out = append(out, fmt.Sprintf("%s/%d %s", c.ID, c.Sample, c.Text()))
	}
	return out
}

func run(ctx context.Context, d *Distill, prompts []stillhouse.Prompt) (result, error) {
	mem := memory.DefaultAllocator
	var shards []arrow.RecordBatch
	for ps := range slices.Chunk(prompts, 16) {
		shards = append(shards, stillhouse.PromptBatch(mem, ps))
	}
	in := testkit.NewMemorySource(stillhouse.PromptSchema, shards...)
	sink := &testkit.MemorySink{}
	account, err := stillhouse.Run(ctx, in, d, sink, stillhouse.Options{Workers: 2})
	if err != nil {
		return result{}, err
	}
	r := result{Account: account}
	for _, s := range sink.Shards() {
		rows, err := stillhouse.Candidates(s.Kept)
		if err != nil {
			return result{}, err
		}
		r.Rows = append(r.Rows, rows...)
		if s.Failed != nil {
			detail := s.Failed.Column(s.Failed.Schema().FieldIndices("detail")[0]).(*array.String)
			reason := s.Failed.Column(s.Failed.Schema().FieldIndices("reason")[0]).(*array.String)
			for i := range int(s.Failed.NumRows()) {
				r.Failed = append(r.Failed, reason.Value(i)+": "+detail.Value(i))
			}
		}
	}
	return r, nil
}

func mustRun(t *testing.T, d *Distill, prompts []stillhouse.Prompt) result {
	t.Helper()
	r, err := run(context.Background(), d, prompts)
	require.NoError(t, err)
	return r
}

func TestSamplesInOneRequestWhereHonoured(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{})
	d := newStage(t, teacher)
	r := mustRun(t, d, questions(40))
	assert.Equal(t, 40, teacher.Requests())
	require.Len(t, r.Rows, 160)
	for i, c := range r.Rows {
		require.Equal(t, fmt.Sprintf("p%d", i/4), c.ID)
		require.Equal(t, int32(i%4), c.Sample)
		assert.Equal(t, "assistant", c.Completion[0].Role)
		assert.Equal(t, "m", c.Model)
		assert.Len(t, c.RequestKey, 64)
	}
	assert.LessOrEqual(t, teacher.MostInFlight(), 4)
	requests := d.Requests()
	assert.Equal(t, int64(40), requests.Requests)
	assert.Equal(t, int64(160), requests.Asked)
	assert.Equal(t, int64(40*9), requests.PromptTokens, "a prompt's tokens are paid once a request")
	var sum int64
	for _, c := range r.Rows {
		sum += int64(c.CompletionTokens)
	}
	assert.Equal(t, requests.CompletionTokens, sum, "the shares of the candidates add up to what was paid")
}

// However a server treats n, no answer is lost or asked for twice, and the texts are the same.
func TestSamplesHoweverNIsTreated(t *testing.T) {
	want := mustRun(t, newStage(t, testkit.StartTeacher(t, &testkit.Teacher{})), questions(20)).texts()
	for name, tc := range map[string]struct {
		teacher *testkit.Teacher
		most    int // requests
	}{
		"ignored":         {&testkit.Teacher{MaxChoices: 1}, 80},
		"refused":         {&testkit.Teacher{RefuseN: true}, 80 + 20},
		"three at most":   {&testkit.Teacher{MaxChoices: 3}, 40},
		"one choice null": {&testkit.Teacher{Answer: oneNull()}, 40},
	} {
		t.Run(name, func(t *testing.T) {
			teacher := testkit.StartTeacher(t, tc.teacher)
			d := newStage(t, teacher)
			r := mustRun(t, d, questions(20))
			if name != "one choice null" { // where the others move up
				assert.Empty(t, cmp.Diff(want, r.texts()))
			}
			assert.Len(t, r.Rows, 80)
			assert.LessOrEqual(t, teacher.Requests(), tc.most)
			assert.Zero(t, teacher.Resent())
			assert.Equal(t, int64(80), d.Requests().Asked)
			seeds := map[int64]bool{}
			for _, c := range teacher.Calls() {
				if c.N == 1 {
					assert.False(t, seeds[*c.Seed], "two single requests have the seed %d", *c.Seed)
					seeds[*c.Seed] = true
				}
			}
			again := mustRun(t, newStage(t, teacher, inStore(d.Store)), questions(20))
			assert.Empty(t, cmp.Diff(r, again), "the same store gives the same rows")
			assert.LessOrEqual(t, teacher.Requests(), tc.most)
		})
	}
}

// oneNull makes the second of several choices null.
func oneNull() func(testkit.Call) testkit.Choice {
	return func(c testkit.Call) testkit.Choice {
		choice := testkit.Prose(c)
		choice.Null = c.N > 1 && c.Sample == 1
		return choice
	}
}

func TestStoredAnswersAreNotAskedForAgain(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{})
	d := newStage(t, teacher)
	first := mustRun(t, d, questions(30))
	again := newStage(t, teacher, inStore(d.Store))
	assert.Empty(t, cmp.Diff(first, mustRun(t, again, questions(30))))
	assert.Equal(t, 30, teacher.Requests())
	assert.Equal(t, int64(120), again.Requests().FromStore)

	more := mustRun(t, newStage(t, teacher, inStore(d.Store), func(d *Distill) { d.Samples = Exactly(6) }), questions(31))
	assert.Equal(t, 61, teacher.Requests())
	for _, c := range teacher.Calls()[30:] {
		if c.Prompt() == question(30) {
			assert.Equal(t, 6, c.N)
		} else {
			assert.Equal(t, 2, c.N, "raising samples pays for the difference")
		}
	}
	var kept []stillhouse.Candidate
	for _, c := range more.Rows {
		if c.Sample < 4 && c.ID != "p30" {
			kept = append(kept, c)
		}
	}
	assert.Empty(t, cmp.Diff(first.Rows, kept))
}

func TestRaisingMaxTokensAsksTruncatedAnswersOnly(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{})
	limit := func(n int) func(*Distill) { return func(d *Distill) { d.MaxTokens, d.Samples = n, Exactly(1) } }
	d := newStage(t, teacher, limit(6))
	short := mustRun(t, d, questions(40))
	truncated := 0
	for _, c := range short.Rows {
		if c.FinishReason == "length" {
			truncated++
		}
	}
	require.True(t, 0 < truncated && truncated < 40, "%d of 40 are truncated", truncated)
	long := mustRun(t, newStage(t, teacher, inStore(d.Store), limit(40)), questions(40))
	assert.Equal(t, 40+truncated, teacher.Requests())
	for i, c := range long.Rows {
		assert.Equal(t, "stop", c.FinishReason)
		if short.Rows[i].FinishReason == "stop" {
			assert.Empty(t, cmp.Diff(short.Rows[i], c))
		}
	}
	mustRun(t, newStage(t, teacher, inStore(d.Store), limit(6)), questions(40))
	assert.Equal(t, 40+truncated, teacher.Requests(), "the short answers are still there")
}

func TestEveryParameterIsPartOfTheKey(t *testing.T) {
	base := Options{Endpoint: "http://127.0.0.1:1/v1", Model: "m", Samples: Exactly(2)}
	base.EnsureDefaults()
	prompt := questions(1)[0]
	seen := map[Key]string{}
	add := func(name string, o Options, p stillhouse.Prompt) {
		q, err := newQuery(&o, p)
		require.NoError(t, err)
		for i, k := range q.keys {
			assert.Empty(t, seen[k], "%s sample %d has the key of %s", name, i, seen[k])
			seen[k] = name
		}
	}
	add("base", base, prompt)
	for name, change := range map[string]func(*Options, *stillhouse.Prompt){
		"model":       func(o *Options, _ *stillhouse.Prompt) { o.Model = "n" },
		"endpoint":    func(o *Options, _ *stillhouse.Prompt) { o.Endpoint = "http://127.0.0.1:2/v1" },
		"temperature": func(o *Options, _ *stillhouse.Prompt) { o.Temperature = new(0.0) },
		"top_p":       func(o *Options, _ *stillhouse.Prompt) { o.TopP = new(0.9) },
		"stop":        func(o *Options, _ *stillhouse.Prompt) { o.Stop = []string{"\n"} },
		"seed":        func(o *Options, _ *stillhouse.Prompt) { o.Seed = new(int64(1)) },
		"no seed":     func(o *Options, _ *stillhouse.Prompt) { o.Seed = new(int64(-1)) },
		"system":      func(o *Options, _ *stillhouse.Prompt) { o.System = "Be brief." },
		"extra":       func(o *Options, _ *stillhouse.Prompt) { o.ExtraBody = map[string]any{"top_k": 20} },
		"tools":       func(_ *Options, p *stillhouse.Prompt) { p.Tools = new(`[{"type":"function"}]`) },
		"messages":    func(_ *Options, p *stillhouse.Prompt) { p.Prompt = questions(2)[1].Prompt },
		"role": func(_ *Options, p *stillhouse.Prompt) {
			p.Prompt = []stillhouse.Message{{Role: "tool", Content: question(0)}}
		},
	} {
		o, p := base, prompt
		change(&o, &p)
		add(name, o, p)
	}
	for name, change := range map[string]func(*Options, *stillhouse.Prompt){
		"samples":     func(o *Options, _ *stillhouse.Prompt) { o.Samples = Exactly(1) },
		"max_tokens":  func(o *Options, _ *stillhouse.Prompt) { o.MaxTokens = 7 },
		"concurrency": func(o *Options, _ *stillhouse.Prompt) { o.Concurrency = 7 },
		"row id":      func(_ *Options, p *stillhouse.Prompt) { p.ID = "other" },
		"reference":   func(_ *Options, p *stillhouse.Prompt) { p.Reference = new("1") },
	} {
		o, p := base, prompt
		change(&o, &p)
		q, err := newQuery(&o, p)
		require.NoError(t, err)
		assert.Equal(t, "base", seen[q.keys[0]], "%s is not part of the key", name)
	}
}

func TestWhatIsSent(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{})
	prompt := stillhouse.Prompt{ID: "a", Source: "s", Tools: new(`[{"type":"function","function":{"name":"f","strict":true,"x":1.50}}]`),
		Prompt: []stillhouse.Message{{Role: "user", Content: "a < b & \"c\""}}}
	d := newStage(t, teacher, func(d *Distill) {
		d.Samples, d.Temperature, d.TopP, d.Stop, d.System = Exactly(1), new(0.0), new(0.5), []string{"END"}, "Be brief."
		d.ExtraBody = map[string]any{"chat_template_kwargs": map[string]any{"enable_thinking": false}, "top_k": 20}
	})
	r := mustRun(t, d, []stillhouse.Prompt{prompt})
	require.Len(t, teacher.Calls(), 1)
	call := teacher.Calls()[0]
	q, err := newQuery(&d.asker.opts, prompt)
	require.NoError(t, err)
	assert.Equal(t, fmt.Sprintf(`{"chat_template_kwargs":{"enable_thinking":false},"max_tokens":40,"messages":[{"role":"system","content":"Be brief."},`+
		`{"role":"user","content":"a < b & \"c\""}],"model":"m","seed":%d,"stop":["END"],"temperature":0,`+
		`"tools":[{"function":{"name":"f","strict":true,"x":1.50},"type":"function"}],"top_k":20,"top_p":0.5}`, q.variants[0].seed), call.Body)
	assert.Empty(t, call.Header.Get("Authorization"), "no key goes to loopback unasked")
	assert.Equal(t, "application/json", call.Header.Get("Content-Type"))
	assert.Empty(t, cmp.Diff(prompt.Prompt, r.Rows[0].Prompt.Prompt), "the run's system prompt is left out of the rows")
}

func TestReasoningToolCallsAndUsage(t *testing.T) {
	const calls = `[{"id":"c1","type":"function","function":{"name":"add","arguments":"{\"a\": 1,\"b\":2.0}"}}]`
	for _, field := range []string{"reasoning_content", "reasoning"} {
		teacher := testkit.StartTeacher(t, &testkit.Teacher{ReasoningField: field, Answer: func(c testkit.Call) testkit.Choice {
			if c.Sample == 0 {
				return testkit.Choice{Content: "four", Reasoning: "two and two", Tokens: 6}
			}
			return testkit.Choice{ToolCalls: calls, FinishReason: "tool_calls", Tokens: 10}
		}})
		rows := mustRun(t, newStage(t, teacher, func(d *Distill) { d.Samples = Exactly(2) }), questions(1)).Rows
		require.Len(t, rows, 2)
		assert.Equal(t, "two and two", *rows[0].Reasoning)
		assert.Nil(t, rows[0].ToolCalls)
		assert.Equal(t, "four", rows[0].Text())
		assert.JSONEq(t, calls, *rows[1].ToolCalls)
		assert.Contains(t, *rows[1].ToolCalls, `"{\"a\": 1,\"b\":2.0}"`, "arguments stay the text that came")
		assert.Equal(t, "tool_calls", rows[1].FinishReason)
		assert.Equal(t, int32(16), rows[0].CompletionTokens+rows[1].CompletionTokens)
	}
}

func TestConforms(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{MaxChoices: 2, Fault: func(c testkit.Call) *testkit.Fault {
		switch {
		case strings.Contains(c.Prompt(), "2 + 2"):
			return testkit.Status(400, "bad", "")
		case strings.Contains(c.Prompt(), "4 + 4"):
			return testkit.Status(500, "", "")
		case c.Nth == 0 && c.Number%3 == 0:
			return testkit.Status(503, "", "1")
		}
		return nil
	}})
	store := filepath.Join(t.TempDir(), "conform.db")
	testkit.Conform(t, testkit.Case{
		New: func() stillhouse.Stage {
			return &Distill{Options: Options{Endpoint: teacher.URL(), Model: "m", Samples: Exactly(3), MaxRetries: new(1), Store: store, Timeout: time.Minute}}
		},
		Join: func(s stillhouse.Stage) {
			d := s.(*Distill)
			d.clock, d.draw = newLeap(), func() float64 { return 0.5 }
			t.Cleanup(func() { assert.NoError(t, d.Close()) })
		},
		Input:    func(mem memory.Allocator) arrow.RecordBatch { return stillhouse.PromptBatch(mem, questions(7)) },
		Needs:    []string{"prompt_id", "prompt"},
		Output:   stillhouse.CandidateSchema,
		BadInput: []*arrow.Schema{stillhouse.CandidateSchema, arrow.NewSchema(nil, nil)},
		Account:  &stillhouse.Account{In: 21, Kept: 15, Failed: map[string]int64{"permanent": 3, "transient": 3}},
	})
}
