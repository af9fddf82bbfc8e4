package pipelines

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"stillhouse"
	"stillhouse/curate/reward"
	"stillhouse/distill"
)

// asker is a model that a reward asks, by way of a stage that asks teachers: what is in the response store is not asked
// again, and the endpoint is asked as fast as it takes it.
type asker struct{ stage *distill.Distill }

// askers are the models that the rewards of a step ask, with the response store at path.
type askers struct {
	store  string
	opened []asker
}

// open is the [reward.OpenAsker].
func (a *askers) open(o reward.AskerOptions) reward.Asker {
	d := distill.Options{Endpoint: o.Endpoint, Model: o.Model, APIKeyEnv: &o.APIKeyEnv, Concurrency: o.Concurrency, MaxRetries: &o.MaxRetries,
		Store: a.store, Samples: distill.Exactly(1), Budget: distill.Budget{Requests: o.MaxRequests}}
	d.ReasoningTags = []string{"<think>", "</think>"}
	if !o.Seeds {
		d.Seed = new(int64(-1))
	}
	one := asker{&distill.Distill{Options: d}}
	a.opened = append(a.opened, one)
	return one
}

// tell says what was asked. It is called before the rewards are closed.
func (a *askers) tell(ui UI) {
	for _, one := range a.opened {
		if n := one.stage.Requests(); n.Requests+n.FromStore > 0 {
			ui.say("%-8s %d requests to %s, %d answers from the response store", "judge", n.Requests, one.stage.Model, n.FromStore)
		}
	}
}

// Ask asks. Its errors speak of the reward's options.
func (a asker) Ask(ctx context.Context, q reward.Question) ([]reward.Answer, error) {
	items, err := a.stage.Ask(ctx, distill.Question{Messages: q.Messages, Samples: q.Samples, Seed: q.Seed, Temperature: q.Temperature,
		MaxTokens: q.MaxTokens, Schema: q.Schema})
	if err != nil {
		return nil, ofJudge(err)
	}
	out := make([]reward.Answer, len(items))
	for i, it := range items {
		out[i] = reward.Answer{Text: it.Content, Truncated: it.Truncated(), Err: ofJudge(it.Failed)}
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
