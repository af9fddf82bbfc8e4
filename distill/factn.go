package distill

import (
	"context"
	"time"
)

// believeN is how long it is believed that an endpoint ignores n. Servers get newer versions, and to learn it anew costs
// one request.
const believeN = 7 * 24 * time.Hour

// nFact is the name of the fact whether an endpoint honours n for a model.
func (a *asker) nFact() string { return "n for " + a.opts.Model }

// recallN begins with what an earlier run learned of n. That n is honoured changes nothing: it is tried first anyway,
// and what a server no longer honours must not be insisted on.
func (a *asker) recallN(ctx context.Context) error {
	f, ok, err := a.store.Fact(ctx, a.opts.teacher(), a.nFact())
	if err != nil {
		return err
	}
	if ok && f.Value == "ignored" && a.clock.Now().Sub(f.Learned) < believeN {
		a.many.Store(ignoresN)
		a.noted.Store(ignoresN)
	}
	return nil
}

// noteN remembers what this run has learned of n since the last time.
func (a *asker) noteN(ctx context.Context) error {
	many := a.many.Load()
	if a.noted.Swap(many) == many {
		return nil
	}
	f := Fact{Teacher: a.opts.teacher(), Name: a.nFact(), Value: "honoured", Learned: a.clock.Now()}
	if many == ignoresN {
		f.Value = "ignored"
	}
	return a.store.SetFact(context.WithoutCancel(ctx), f)
}
