package distill

import (
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"stillhouse"
	"stillhouse/internal/conversation"
)

// candidate is the row that a sample's answer becomes. Its prompt is what was asked: the tools are those that were sent,
// and where keep_system says so the messages are. What else was sent is in System.
func (o *Options) candidate(q *query, sample int, a Answer) stillhouse.Candidate {
	a = o.shape(a)
	optional := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	count := func(n int) *int32 {
		if n < 0 {
			return nil
		}
		return new(int32(n))
	}
	c := stillhouse.Candidate{Prompt: q.prompt, Sample: int32(sample), Completion: []stillhouse.Message{{Role: "assistant", Content: a.Content}},
		Reasoning: optional(a.Reasoning), ToolCalls: optional(a.ToolCalls), FinishReason: a.FinishReason, PromptTokens: int32(a.PromptTokens),
		CompletionTokens: int32(a.CompletionTokens), Model: a.Model, RequestKey: q.keys[sample].String(), Refusal: optional(a.Refusal), LogProbs: a.LogProbs,
		CachedTokens: count(a.CachedTokens), ReasoningTokens: count(a.ReasoningTokens), SystemFingerprint: optional(a.Fingerprint)}
	c.Tools = o.toolsOf(q.prompt)
	system := q.variants[q.variantOf(sample)].system
	if !o.KeepSystem || system == "" {
		c.System = optional(system)
		return c
	}
	c.Prompt.Prompt = conversation.WithSystem(system, q.prompt.Prompt)
	if q.prompt.Messages != nil {
		if full, err := conversation.FullWithSystem(system, *q.prompt.Messages); err == nil { // newQuery has read it
			c.Messages = &full
		}
	}
	return c
}

// appendCandidate appends to the columns of candidateColumns, in their order.
func appendCandidate(b *array.RecordBuilder, c stillhouse.Candidate) {
	column := 0
	next := func() array.Builder {
		column++
		return b.Field(column - 1)
	}
	text := func(v string) { next().(*array.StringBuilder).Append(v) }
	count := func(v int32) { next().(*array.Int32Builder).Append(v) }
	optionalCount := func(v *int32) {
		if to := next().(*array.Int32Builder); v == nil {
			to.AppendNull()
		} else {
			to.Append(*v)
		}
	}
	count(c.Sample)
	appendMessages(next(), c.Completion)
	appendOptional(next(), c.Reasoning)
	appendOptional(next(), c.ToolCalls)
	text(c.FinishReason)
	count(c.PromptTokens)
	count(c.CompletionTokens)
	text(c.Model)
	text(c.RequestKey)
	appendOptional(next(), c.Refusal)
	stillhouse.AppendLogProbs(next(), c.LogProbs)
	optionalCount(c.CachedTokens)
	optionalCount(c.ReasoningTokens)
	appendOptional(next(), c.SystemFingerprint)
	appendOptional(next(), c.System)
}

func appendOptional(to array.Builder, v *string) {
	if v == nil {
		to.AppendNull()
	} else {
		to.(*array.StringBuilder).Append(*v)
	}
}

func appendMessages(to array.Builder, ms []stillhouse.Message) {
	list := to.(*array.ListBuilder)
	list.Append(true)
	item := list.ValueBuilder().(*array.StructBuilder)
	for _, m := range ms {
		item.Append(true)
		item.FieldBuilder(0).(*array.StringBuilder).Append(m.Role)
		item.FieldBuilder(1).(*array.StringBuilder).Append(m.Content)
	}
}

// shape makes of an answer what goes into a row: where the config names the tags of reasoning, it is taken out of the
// text. What is stored stays as it came, so that this costs no request.
//
// An answer that does not begin with the first tag but has the second one is reasoning up to there: templates of some
// models write the first tag themselves. One that has the first tag and not the second is reasoning to its end.
func (o *Options) shape(a Answer) Answer {
	if len(o.ReasoningTags) != 2 || a.Reasoning != "" || a.Content == a.Refusal {
		return a
	}
	text, opened := strings.CutPrefix(strings.TrimLeft(a.Content, " \t\r\n"), o.ReasoningTags[0])
	thoughts, answer, closed := strings.Cut(text, o.ReasoningTags[1])
	if !opened && !closed {
		return a
	}
	a.Reasoning, a.Content = strings.TrimSpace(thoughts), strings.TrimLeft(answer, " \t\r\n")
	return a
}

// withAsked are the columns of a batch of prompts, one row for each candidate, with what was asked in place of what they
// had. The columns live until release.
func (o *Options) withAsked(mem memory.Allocator, prompts arrow.RecordBatch, rows []stillhouse.Candidate) (columns []arrow.Array, release func()) {
	columns = slices.Clone(prompts.Columns())
	var made []arrow.Array
	put := func(name string, add func(array.Builder, stillhouse.Candidate)) {
		at := prompts.Schema().FieldIndices(name)
		if len(at) == 0 {
			return
		}
		b := array.NewBuilder(mem, columns[at[0]].DataType())
		defer b.Release()
		for _, row := range rows {
			add(b, row)
		}
		columns[at[0]] = b.NewArray()
		made = append(made, columns[at[0]])
	}
	if o.Tools != nil {
		put("tools", func(b array.Builder, c stillhouse.Candidate) { appendOptional(b, c.Tools) })
	}
	if o.KeepSystem {
		put("prompt", func(b array.Builder, c stillhouse.Candidate) { appendMessages(b, c.Prompt.Prompt) })
		put("prompt_messages", func(b array.Builder, c stillhouse.Candidate) { appendOptional(b, c.Messages) })
	}
	return columns, func() {
		for _, c := range made {
			c.Release()
		}
	}
}
