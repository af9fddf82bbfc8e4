package distill

import (
	"context"
	"encoding/json"
	"errors"
	"maps"

	"stillhouse"
	"stillhouse/internal/options"
)

// A Question is a request beside the prompts of the stage, such as those that make prompts. It goes the same way: what is in
// the store is not asked again, and rates, retries and the budget hold.
type Question struct {
	Messages []stillhouse.Message // of a chat, or
	Text     string               // a text to go on from, by /completions

	First, Samples int // the samples from the number First on
	Seed           int64
	Temperature    float64
	TopP           *float64
	MaxTokens      int
	Stop           []string
	ExtraBody      map[string]any  // in place of the stage's; nil leaves those to a chat
	Schema         json.RawMessage // of the answer, which is JSON then; nil for text

	// InWords are what is asked in place of Messages and Schema where the endpoint takes no schemas of answers; nil makes that a
	// failure.
	InWords []stillhouse.Message
}

// An Item is one sample's answer to a question.
type Item struct {
	Answer
	Key    Key
	Failed error // why there is none
}

// ErrBudgetSpent is the error of a question that there is nothing left to pay for.
var ErrBudgetSpent = errors.New("the budget is spent (distill.budget)")

// Ask gets the answers to a question, in the order of the samples. An error ends the run; a sample that failed alone has its
// own. Several goroutines may ask at once.
func (d *Distill) Ask(ctx context.Context, question Question) ([]Item, error) {
	d.mu.Lock()
	a, err := d.open(ctx)
	d.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if question.InWords != nil {
		return a.either(ctx, question)
	}
	items, _, err := a.question(ctx, question)
	return items, err
}

// question gets the answers to a question. Refused says that there are none, for the schema of the answer.
func (a *asker) question(ctx context.Context, question Question) (items []Item, refused bool, err error) {
	q, err := a.opts.question(question)
	if err != nil {
		return nil, false, err
	}
	end, err := a.turns.take(ctx, q.keys[0])
	if err != nil {
		return nil, false, err
	}
	defer end()
	out := make([]outcome, len(q.keys))
	if err := a.round(ctx, q, 0, len(out), out, func(int) {}); err != nil {
		return nil, false, err
	}
	items, refused = make([]Item, len(out)), true
	for i, o := range out {
		if o.unasked != "" {
			return nil, false, ErrBudgetSpent
		}
		items[i] = Item{Answer: a.opts.shape(o.answer), Key: q.keys[i]}
		if o.failed != nil {
			items[i].Failed = o.failed.asError("%s", o.failed.message)
		}
		refused = refused && o.failed != nil && o.failed.schema
	}
	return items, refused, nil
}

// question makes the query of a question.
func (o Options) question(question Question) (*query, error) {
	if question.Samples < 1 || question.First < 0 || (len(question.Messages) == 0) == (question.Text == "") {
		return nil, errors.New("distill: a question has messages or a text, and samples")
	}
	o.System, o.Temperature, o.TopP, o.MaxTokens, o.Stop, o.Samples = "", &question.Temperature, question.TopP, question.MaxTokens, question.Stop, Exactly(1)
	o.AnswerOptions = AnswerOptions{Stream: o.Stream, StreamUsage: o.StreamUsage, ReasoningEffort: o.ReasoningEffort, ReasoningTags: o.ReasoningTags} // the rest is for answers
	if question.Schema != nil {
		o.ResponseFormat = &ResponseFormat{Type: "json_schema", JSONSchema: &options.Document{JSON: question.Schema}}
		if err := o.ResponseFormat.validate(); err != nil {
			return nil, err
		}
	}
	if *o.Seed >= 0 {
		o.Seed = &question.Seed
	}
	if question.ExtraBody != nil || question.Text != "" {
		o.ExtraBody = maps.Clone(question.ExtraBody)
	}
	q, err := newQuery(&o, stillhouse.Prompt{Prompt: question.Messages})
	if err != nil {
		return nil, err
	}
	q.online, q.inWords = true, question.InWords != nil
	v := &q.variants[0]
	if question.Text != "" {
		q.path, q.limitName, q.stream = "/completions", "max_tokens", nil
		delete(v.fields, "messages")
		v.fields["prompt"] = question.Text
		if v.seed >= 0 {
			v.seed = seedOf(*o.Seed, map[string]any{"messages": question.Text})
		}
	}
	if err := q.addKeys(&o, question.First, question.Samples); err != nil {
		return nil, err
	}
	if v.seed >= 0 {
		v.seed += int64(question.First) // body counts samples from the first
	}
	return q, nil
}
