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

// appendCandidate appends to the columns of candidateColumns, in their order.
func appendCandidate(b *array.RecordBuilder, sample int, a Answer, key Key, system string) {
	column := 0
	next := func() array.Builder {
		column++
		return b.Field(column - 1)
	}
	text := func(v string) { next().(*array.StringBuilder).Append(v) }
	optional := func(v string) {
		if c := next().(*array.StringBuilder); v == "" {
			c.AppendNull()
		} else {
			c.Append(v)
		}
	}
	count := func(v int) { next().(*array.Int32Builder).Append(int32(v)) }
	optionalCount := func(v int) {
		if c := next().(*array.Int32Builder); v < 0 {
			c.AppendNull()
		} else {
			c.Append(int32(v))
		}
	}
	count(sample)
	appendMessages(next(), []stillhouse.Message{{Role: "assistant", Content: a.Content}})
	optional(a.Reasoning)
	optional(a.ToolCalls)
	text(a.FinishReason)
	count(a.PromptTokens)
	count(a.CompletionTokens)
	text(a.Model)
	text(key.String())
	optional(a.Refusal)
	stillhouse.AppendLogProbs(next(), a.LogProbs)
	optionalCount(a.CachedTokens)
	optionalCount(a.ReasoningTokens)
	optional(a.Fingerprint)
	optional(system)
}

// candidate is the row that appendCandidate and withAsked write of a sample's answer.
func (o *Options) candidate(q *query, sample int, a Answer) stillhouse.Candidate {
	text := func(s string) *string {
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
	a = o.shape(a)
	x := o.asked(q, sample)
	return stillhouse.Candidate{Prompt: x.prompt, Sample: int32(sample), Completion: []stillhouse.Message{{Role: "assistant", Content: a.Content}},
		Reasoning: text(a.Reasoning), ToolCalls: text(a.ToolCalls), FinishReason: a.FinishReason, PromptTokens: int32(a.PromptTokens),
		CompletionTokens: int32(a.CompletionTokens), Model: a.Model, RequestKey: q.keys[sample].String(), Refusal: text(a.Refusal), LogProbs: a.LogProbs,
		CachedTokens: count(a.CachedTokens), ReasoningTokens: count(a.ReasoningTokens), SystemFingerprint: text(a.Fingerprint), System: text(x.system)}
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

// asked is what a sample was asked with that its prompt has not.
type asked struct {
	prompt stillhouse.Prompt
	system string // the system prompt, where it does not go into the prompt
}

// asked says what goes into the columns of a sample's prompt: its tools are those that were sent, and where keep_system
// says so its messages are.
func (o *Options) asked(q *query, sample int) asked {
	x := asked{prompt: q.prompt, system: q.variants[q.variantOf(sample)].system}
	x.prompt.Tools = o.toolsOf(q.prompt)
	if !o.KeepSystem || x.system == "" {
		return x
	}
	x.prompt.Prompt = conversation.WithSystem(x.system, q.prompt.Prompt)
	if q.prompt.Messages != nil {
		if full, err := conversation.FullWithSystem(x.system, *q.prompt.Messages); err == nil { // newQuery has read it
			x.prompt.Messages = &full
		}
	}
	x.system = ""
	return x
}

// withAsked are the columns of a batch of prompts with what they were asked with in place of what they had. The columns
// live until release.
func (o *Options) withAsked(mem memory.Allocator, prompts arrow.RecordBatch, rows []asked) (columns []arrow.Array, release func()) {
	columns = slices.Clone(prompts.Columns())
	var made []arrow.Array
	put := func(name string, add func(array.Builder, asked)) {
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
	optional := func(b array.Builder, v *string) {
		if v == nil {
			b.AppendNull()
		} else {
			b.(*array.StringBuilder).Append(*v)
		}
	}
	if o.Tools != nil {
		put("tools", func(b array.Builder, x asked) { optional(b, x.prompt.Tools) })
	}
	if o.KeepSystem {
		put("prompt", func(b array.Builder, x asked) { appendMessages(b, x.prompt.Prompt) })
		put("prompt_messages", func(b array.Builder, x asked) { optional(b, x.prompt.Messages) })
	}
	return columns, func() {
		for _, c := range made {
			c.Release()
		}
	}
}
