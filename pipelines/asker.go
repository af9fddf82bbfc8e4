package pipelines

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"

	"stillhouse"
	"stillhouse/curate"
	"stillhouse/curate/reward"
	"stillhouse/distill"
)

// askers are how the rewards of a step reach models and servers.
type askers struct {
	store  string // the path of the response store
	books  string // the folder where what rewards ask is counted; empty for nowhere
	opened []*asker
	counts []*rewardBook
}

var _ curate.Outside = (*askers)(nil)

// An asker is a model that a reward asks, by way of a stage that asks teachers: what is in the response store is not asked
// again, and the endpoint is asked as fast as it takes it.
type asker struct {
	stage     *distill.Distill
	eitherWay atomic.Bool // it was asked what can be asked with a schema or in words
}

// Asker makes the asker of a reward.
func (a *askers) Asker(name string, o reward.AskerOptions) reward.Asker {
	d := distill.Options{Endpoint: o.Endpoint, Model: o.Model, APIKeyEnv: &o.APIKeyEnv, Concurrency: o.Concurrency, MaxRetries: &o.MaxRetries,
		Store: a.store, Samples: distill.Exactly(1), Budget: distill.Budget{Requests: o.MaxRequests}}
	d.ReasoningTags = []string{"<think>", "</think>"}
	if !o.Seeds {
		d.Seed = new(int64(-1))
	}
	one := &asker{stage: &distill.Distill{Options: d}}
	if book := a.book(name); book != nil {
		one.stage.Remember(book)
	}
	a.opened = append(a.opened, one)
	return one
}

// Meter counts what a reward asks of a server by itself.
func (a *askers) Meter(name string) reward.Meter {
	book := a.book(name)
	if book == nil {
		return nil
	}
	return book.count
}

func (a *askers) book(name string) *rewardBook {
	if a.books == "" {
		return nil
	}
	b := &rewardBook{path: filepath.Join(a.books, url.PathEscape(name)+bookSuffix)}
	a.counts = append(a.counts, b)
	return b
}

// tell says what was asked. It is called before the rewards are closed.
func (a *askers) tell(ui UI) {
	for _, one := range a.opened {
		n := one.stage.Requests()
		if n.Requests+n.FromStore == 0 {
			continue
		}
		ui.say("%-8s %d requests to %s, %d answers from the response store", "judge", n.Requests, one.stage.Model, n.FromStore)
		if taken, known := one.stage.Schemas(); known && !taken && one.eitherWay.Load() {
			ui.say("%-8s %s: it takes no schemas of answers, and is asked in words (structured: auto)", "judge", one.stage.Model)
		}
	}
}

// Close closes the books. It is called after the rewards are closed.
func (a *askers) Close() (err error) {
	for _, b := range a.counts {
		err = errors.Join(err, b.close())
	}
	return err
}

// Ask asks. Its errors speak of the reward's options.
func (a *asker) Ask(ctx context.Context, q reward.Question) ([]reward.Answer, error) {
	if q.InWords != nil {
		a.eitherWay.Store(true)
	}
	items, err := a.stage.Ask(ctx, distill.Question{Messages: q.Messages, Samples: q.Samples, Seed: q.Seed, Temperature: q.Temperature,
		MaxTokens: q.MaxTokens, Schema: q.Schema, InWords: q.InWords})
	if err != nil {
		return nil, ofJudge(err)
	}
	out := make([]reward.Answer, len(items))
	for i, it := range items {
		out[i] = reward.Answer{Text: it.Content, Truncated: it.Truncated(), Err: ofJudge(it.Failed)}
	}
	return out, nil
}

func (a *asker) Schemas() (taken, known bool) { return a.stage.Schemas() }

func (a *asker) Close() error { return a.stage.Close() }

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
