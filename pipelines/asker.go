package pipelines

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"stillhouse"
	"stillhouse/curate"
	"stillhouse/distill"
)

// asker is a model that a reward asks, by way of a stage that asks teachers: what is in the response store is not asked
// again, and the endpoint is asked as fast as it takes it.
type asker struct{ stage *distill.Distill }

// askThrough is the way to models, with the response store at path.
func askThrough(store string) curate.OpenAsker {
	return func(o curate.AskerOptions) curate.Asker {
		d := distill.Options{Endpoint: o.Endpoint, Model: o.Model, APIKeyEnv: &o.APIKeyEnv, Concurrency: o.Concurrency, MaxRetries: &o.MaxRetries,
			Store: store, Samples: distill.Exactly(1), Budget: distill.Budget{Requests: o.MaxRequests}}
		d.ReasoningTags = []string{"<think>", "</think>"}
		if !o.Seeds {
			d.Seed = new(int64(-1))
		}
		return asker{&distill.Distill{Options: d}}
	}
}

// Ask asks. Its errors speak of the reward's options.
func (a asker) Ask(ctx context.Context, q curate.AskerQuestion) ([]curate.AskerAnswer, error) {
	items, err := a.stage.Ask(ctx, distill.Question{Messages: q.Messages, Samples: q.Samples, Seed: q.Seed, Temperature: q.Temperature,
		MaxTokens: q.MaxTokens, Schema: q.Schema})
	if err != nil {
		return nil, ofJudge(err)
	}
	out := make([]curate.AskerAnswer, len(items))
	for i, it := range items {
		out[i] = curate.AskerAnswer{Text: it.Content, Truncated: it.Truncated(), Err: ofJudge(it.Failed)}
	}
	return out, nil
}

func (a asker) Close() error { return a.stage.Close() }

// ofJudge says the same of a judge's options.
func ofJudge(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, distill.ErrBudgetSpent):
		return errors.New("the judge's requests are spent (max_requests)")
	}
	return &stillhouse.Error{Kind: stillhouse.KindOf(err), Err: fmt.Errorf("%s", strings.ReplaceAll(err.Error(), "distill.", "judge."))}
}
