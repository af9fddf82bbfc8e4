package prompts

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
)

// turns are the messages' texts.
func turns(p stillhouse.Prompt) (out []string) {
	for _, m := range p.Prompt {
		out = append(out, m.Role+": "+m.Content)
	}
	return out
}

func TestExamplesStandBeforeThePrompt(t *testing.T) {
	pool := lines(t, `{"question":"q1","answer":"a1"}`, `{"question":"q2","answer":"a2"}`, `{"question":"q3","answer":"a3"}`)
	o := Rows{Path: Paths{lines(t, `{"question":"Q","sys":"S","level":3}`)}, System: "sys", Meta: []string{"level"}, Template: templateOf(t, `{user: "Q: {{ question }}", assistant: "A: {{ answer }}"}`)}
	o.FewShot = &FewShot{Path: Paths{pool}, Count: 2}
	_, err := read(o)
	require.ErrorContains(t, err, "few-shot examples: read prompts: "+pool+" has no column \"sys\"", "examples have the columns of prompts")

	o.FewShot.Path = Paths{lines(t, `{"question":"q1","answer":"a1","sys":"T","level":1}`, `{"question":"q2","answer":"a2","sys":null,"level":2}`, `{"question":"Q","answer":"own","sys":"U","level":2}`)}
	got, err := read(o)
	require.NoError(t, err, "prompts need no answers")
	p := got.Rows[0]
	assert.Equal(t, "system: S", turns(p)[0])
	assert.ElementsMatch(t, []string{"user: Q: q1 assistant: A: a1", "user: Q: q2 assistant: A: a2"},
		[]string{strings.Join(turns(p)[1:3], " "), strings.Join(turns(p)[3:5], " ")}, "never the row itself, also under another system prompt")
	assert.Equal(t, []string{"user: Q: Q"}, turns(p)[5:])
	var meta struct {
		FewShot []string `json:"few_shot"`
		Level   int      `json:"level"`
	}
	require.NoError(t, json.Unmarshal([]byte(*p.Meta), &meta))
	assert.ElementsMatch(t, []string{"rows.jsonl:1", "rows.jsonl:2"}, meta.FewShot)
	assert.Equal(t, 3, meta.Level)
}

func TestExamplesOfTheSameFile(t *testing.T) {
	o := Options{Rows: Rows{Path: Paths{numbered(t, 60)}, Reference: "answer", FewShot: &FewShot{Count: 3, Seed: 5}}}
	got, err := Read(context.Background(), o)
	require.NoError(t, err)
	require.Len(t, got.Rows, 60)
	answers := map[string]string{}
	for i := range 60 {
		answers[question(i)] = fmt.Sprint(2 * i)
	}
	first := map[string]bool{}
	ids := map[string]bool{}
	for i, p := range got.Rows {
		require.Len(t, p.Prompt, 7)
		assert.Equal(t, question(i), p.Prompt[6].Content)
		seen := map[string]bool{question(i): true}
		for j := 0; j < 6; j += 2 {
			assert.False(t, seen[p.Prompt[j].Content], "an example is neither the row nor there twice")
			seen[p.Prompt[j].Content] = true
			assert.Equal(t, answers[p.Prompt[j].Content], p.Prompt[j+1].Content)
		}
		first[p.Prompt[0].Content] = true
		ids[p.ID] = true
	}
	assert.Greater(t, len(first), 20, "each prompt draws its own")
	assert.Len(t, ids, 60)

	again, err := Read(context.Background(), o)
	require.NoError(t, err)
	assert.Equal(t, got.Rows, again.Rows)
	o.Sample = 10
	o.Shuffle = true
	sampled, err := Read(context.Background(), o)
	require.NoError(t, err)
	for _, p := range sampled.Rows {
		assert.Contains(t, got.Rows, p, "the examples of a prompt do not depend on which others are drawn")
	}
	o.FewShot.Seed = 6
	other, err := Read(context.Background(), o)
	require.NoError(t, err)
	assert.Equal(t, lastTurns(sampled.Rows), lastTurns(other.Rows), "nor what is drawn on the examples")
	assert.NotEqual(t, sampled.Rows, other.Rows)
}

func lastTurns(ps []stillhouse.Prompt) []string { return texts(ps) }

func TestFixedExamples(t *testing.T) {
	o := Options{Rows: Rows{Path: Paths{numbered(t, 20)}, Reference: "answer", FewShot: &FewShot{Count: 2, Fixed: true, Pool: 5}}}
	got, err := Read(context.Background(), o)
	require.NoError(t, err)
	starts := map[string]int{}
	for _, p := range got.Rows {
		starts[strings.Join(turns(p)[:4], "\n")]++
	}
	assert.Len(t, starts, 3, "the same for all but the two that are examples themselves, which have the next one")
	most := 0
	for _, n := range starts {
		most = max(most, n)
	}
	assert.Equal(t, 18, most)
}

func TestTooFewExamples(t *testing.T) {
	o := Options{Rows: Rows{Path: Paths{numbered(t, 3)}, Reference: "answer", FewShot: &FewShot{Count: 3}}}
	_, err := Read(context.Background(), o)
	require.ErrorContains(t, err, "row 1 wants 3 examples, and there are only 2 besides itself: lower few_shot.count")
	assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
	o.FewShot.Path = Paths{lines(t, `{"prompt":"x","answer":null}`)}
	_, err = Read(context.Background(), o)
	require.ErrorContains(t, err, `few-shot examples: read prompts: none of the 1 rows`)
	require.ErrorContains(t, err, `column "answer": there is no answer`)
	blank := Rows{Path: o.Path, Template: templateOf(t, `{user: "{{ prompt }}", assistant: " {{ answer }}"}`), FewShot: &FewShot{Count: 1, Path: Paths{lines(t, `{"prompt":"a","answer":""}`)}}}
	_, err = read(blank)
	require.ErrorContains(t, err, "few-shot examples: ")
	require.ErrorContains(t, err, "line 1: template[1]: the message of the assistant is empty")
	o.FewShot.Path = Paths{"none.jsonl"}
	_, err = Read(context.Background(), o)
	require.ErrorContains(t, err, "there is no file none.jsonl")
}
