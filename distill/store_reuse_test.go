package distill

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/testkit"
)

// Asking for 16 samples where there are 4, for more prompts, and for longer answers pays for the difference alone,
// whatever the server makes of n; and the answers that were there stay in their places.
func TestAskingForMorePaysForTheDifference(t *testing.T) {
	for name, choices := range map[string]int{"n honoured": 0, "n ignored": 1, "5 at most": 5} {
		teacher := testkit.StartTeacher(t, &testkit.Teacher{MaxChoices: choices})
		d := newStage(t, teacher)
		asked := func(change func(*Distill), prompts []stillhouse.Prompt) (texts []string, answers int64) {
			next := newStage(t, teacher, inStore(d.Store), change)
			r := mustRun(t, next, prompts)
			require.Empty(t, r.Failed, name)
			return r.texts(), next.Requests().Asked
		}
		first := mustRun(t, d, questions(20)).texts()

		more, answers := asked(func(d *Distill) { d.Samples = Exactly(16) }, questions(20))
		assert.EqualValues(t, 20*12, answers, "%s: samples", name)
		for i, text := range first {
			assert.Equal(t, text, more[i/4*16+i%4], name)
		}
		wider, answers := asked(func(d *Distill) { d.Samples = Exactly(16) }, questions(25))
		assert.EqualValues(t, 5*16, answers, "%s: prompts", name)
		assert.Equal(t, more, wider[:len(more)], name)
		_, answers = asked(func(d *Distill) { d.MaxTokens = 80 }, questions(25))
		assert.Zero(t, answers, "%s: none was truncated", name)

		_, short := asked(func(d *Distill) { d.MaxTokens, d.Identity = 6, "short" }, questions(20))
		require.EqualValues(t, 80, short, name)
		truncated := 0
		for _, r := range mustRun(t, newStage(t, teacher, inStore(d.Store), func(d *Distill) { d.MaxTokens, d.Identity = 6, "short" }), questions(20)).Rows {
			if r.FinishReason == "length" {
				truncated++
			}
		}
		require.NotZero(t, truncated, name)
		_, answers = asked(func(d *Distill) { d.MaxTokens, d.Identity, d.Samples = 60, "short", Exactly(6) }, questions(22))
		assert.EqualValues(t, truncated+20*2+2*6, answers, "%s: all at once", name)
		assert.Zero(t, teacher.Resent(), name)
	}
}

// Whatever a request holds, verify makes the keys of its answers from what is stored: the store's word can be checked
// without the config and the prompts.
func TestKeysAreMadeAgainFromRequests(t *testing.T) {
	store := newStore(t).Path()
	teacher := testkit.StartTeacher(t, &testkit.Teacher{})
	prompts := earlierPrompts()[:6]
	answers := 0
	for name, change := range map[string]func(*Distill){
		"base":        func(*Distill) {},
		"model":       func(d *Distill) { d.Model = "a/b:c" },
		"identity":    func(d *Distill) { d.Identity = "" },
		"openai":      func(d *Distill) { d.Identity = "api.openai.com/v1" },
		"no limit":    func(d *Distill) { d.Identity, d.MaxTokens = "api.openai.com/v2", 0 },
		"both limits": func(d *Distill) { d.ExtraBody = map[string]any{"max_completion_tokens": 40} },
		"temperature": func(d *Distill) { d.Temperature = new(0.7) },
		"top_p":       func(d *Distill) { d.TopP = new(1e-7) },
		"stop":        func(d *Distill) { d.Stop = []string{"\n", "<|end|>", "\u2028"} },
		"no seed":     func(d *Distill) { d.Seed = new(int64(-1)) },
		"seed":        func(d *Distill) { d.Seed = new(int64(1<<53 - 1)) },
		"system":      func(d *Distill) { d.System = "Say <b>\"hi\"</b> & bye." },
		"stream":      func(d *Distill) { d.Stream, d.System = true, "streamed" },
		"log-probs":   func(d *Distill) { d.LogProbs, d.TopLogProbs = true, 2 },
		"systems":     func(d *Distill) { d.Systems, d.SystemBy = []string{"a", "b", "c"}, SystemBySample },
		"tool_choice": func(d *Distill) {
			d.Identity = "tools"
			d.ToolChoice = map[string]any{"type": "function", "function": map[string]any{"name": "add"}}
		},
		"penalties": func(d *Distill) { d.PresencePenalty, d.FrequencyPenalty = new(0.5), new(-0.25) },
		"extra": func(d *Distill) {
			d.ExtraBody = map[string]any{"top_k": 20, "min_p": 0.05, "deep": map[string]any{"b": []any{1.0, nil, "x"}, "a": 1e21}}
		},
	} {
		d := newStage(t, teacher, inStore(store), func(d *Distill) { d.Samples = Exactly(3) }, change)
		r := mustRun(t, d, prompts)
		require.Empty(t, r.Failed, name)
		answers += len(r.Rows)
		require.NoError(t, d.Close())
		v := verify(t, store)
		assert.True(t, v.Whole(), "%s: %+v", name, v.Damages)
		assert.EqualValues(t, answers, v.Answers, name)
	}
}
