package distill

import (
	"context"
	"net/http"
	"slices"
	"strings"
)

const (
	unknownSchemas int32 = iota
	takesSchemas         // a question with a schema of its answer was answered
	refusesSchemas       // one was refused for its schema, and answered in words
)

// schemasFact is the name of the fact that an endpoint refuses schemas of answers for a model.
func (a *asker) schemasFact() string { return "json_schema for " + a.opts.Model }

// recallSchemas begins with what an earlier run learned of schemas. That they are refused holds as long as the store does:
// else what is in it would be asked for again in another way. That they are taken changes nothing: it is tried first anyway.
func (a *asker) recallSchemas(ctx context.Context) error {
	f, ok, err := a.store.Fact(ctx, a.opts.teacher(), a.schemasFact())
	if ok && f.Value == "refused" {
		a.schemas.Store(refusesSchemas)
	}
	return err
}

// either asks a question with its schema, or in words where the endpoint refuses schemas. While that is not known, one
// question at a time is tried and the others wait for what becomes of it, so that all are asked in one way.
func (a *asker) either(ctx context.Context, question Question) ([]Item, error) {
	if a.schemas.Load() == unknownSchemas {
		if err := a.trial.Acquire(ctx, 1); err != nil {
			return nil, err
		}
		if a.schemas.Load() == unknownSchemas {
			defer a.trial.Release(1)
			return a.trySchema(ctx, question)
		}
		a.trial.Release(1)
	}
	if a.schemas.Load() == refusesSchemas {
		question = question.words()
	}
	question.InWords = nil
	items, _, err := a.question(ctx, question)
	return items, err
}

// trySchema asks with the schema, and in words where that is refused. It is believed that the schema was at fault when
// the question in words is answered.
func (a *asker) trySchema(ctx context.Context, question Question) ([]Item, error) {
	answered := func(items []Item) bool {
		return slices.ContainsFunc(items, func(i Item) bool { return i.Failed == nil })
	}
	items, refused, err := a.question(ctx, question)
	if err != nil || !refused {
		if answered(items) {
			a.schemas.Store(takesSchemas)
		}
		return items, err
	}
	if items, _, err = a.question(ctx, question.words()); err != nil || !answered(items) {
		return items, err
	}
	if err := a.store.SetFact(context.WithoutCancel(ctx), Fact{Teacher: a.opts.teacher(), Name: a.schemasFact(), Value: "refused", Learned: a.clock.Now()}); err != nil {
		return nil, err
	}
	a.schemas.Store(refusesSchemas)
	return items, nil
}

func (q Question) words() Question {
	q.Messages, q.Schema, q.InWords = q.InWords, nil, nil
	return q
}

// refusesSchema reports whether an error may say that a request is refused for the schema of its answer. Endpoints have no
// common code for it.
func refusesSchema(status int, said *apiError) bool {
	if status != http.StatusBadRequest && status != http.StatusUnprocessableEntity {
		return false
	}
	text := strings.ToLower(said.Message + " " + said.Code + " " + said.Type)
	return slices.ContainsFunc([]string{"response_format", "json_schema", "unsupported", "not support"}, func(word string) bool { return strings.Contains(text, word) })
}

// Schemas says whether the endpoint takes schemas of answers, once a question was asked that can be put in words too.
func (d *Distill) Schemas() (taken, known bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.asker == nil {
		return false, false
	}
	at := d.asker.schemas.Load()
	return at == takesSchemas, at != unknownSchemas
}
