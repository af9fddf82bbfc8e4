package distill

import (
	"context"
	"slices"
	"time"

	"stillhouse"
)

// request looks the samples up in the store and makes one request for the first of those that are not there, of at
// most n neighbours, as often as it takes. It returns the samples that still have no answer: fewer than there were,
// unless there is a failure.
func (a *asker) request(ctx context.Context, q *query, samples []int, n int, out []outcome) (left []int, f *failure, err error) {
	if a.batch != nil && !q.online {
		return a.batch.request(ctx, q, samples, out)
	}
	var since time.Time // of the first refusal for reasons of rate
	t := ticket{key: q.keys[0]}
	for try, rateTry := 0, 0; ; t.again = true {
		var s sent
		left, s, err = a.attempt(ctx, q, samples, n, out, t)
		if f = s.failure; f == nil || err != nil {
			return left, nil, err
		}
		samples = left
		if err := ctx.Err(); err != nil {
			return left, nil, err
		}
		var wait time.Duration // of this request alone; those of the lane are the pool's
		switch {
		case f.scope == rowOnly, f.scope == noMoney:
			return left, f, nil
		case f.scope == rateOnly:
			if rateTry > 0 && !s.other {
				wait = backoff(rateTry-1, a.draw)
			}
			rateTry++
			if since.IsZero() {
				since = a.clock.Now()
			}
		case s.down: // an outage does not count
		default:
			if try == a.patience.tries(f, *a.opts.MaxRetries) {
				return left, f, nil
			}
			if wait = backoff(try, a.draw); f.wait > 0 && !s.other {
				wait = f.wait
			}
			try++
		}
		patience := max(wait, s.wait)
		if s.other {
			patience = 0
		}
		goOn, err := a.patience.wait(q.keys[0], f, patience)
		alone := f.scope == rateOnly && a.clock.Now().Sub(since) > a.opts.GiveUpAfter // others are let through, this one is not
		if err != nil {
			a.pool.shut(err)
		}
		if err != nil || !goOn || alone {
			return left, f, err
		}
		a.tally.retry(f.kind)
		if !slices.Contains(t.avoid, s.lane) {
			t.avoid = append(t.avoid, s.lane)
		}
		if wait > 0 {
			if err := a.clock.Sleep(ctx, wait); err != nil {
				return left, nil, err
			}
		}
	}
}

// sent is what became of a request.
type sent struct {
	failure *failure
	lane    *lane
	down    bool          // the lane is in an outage
	wait    time.Duration // for how long the lane takes nothing
	other   bool          // another lane does
}

// attempt is one try of request. The store is looked at when the request has its pass, so that what another run has
// bought meanwhile is not bought again.
func (a *asker) attempt(ctx context.Context, q *query, samples []int, n int, out []outcome, t ticket) (left []int, s sent, err error) {
	asked := q.neighbours(samples, n)
	body, err := q.body(asked[0], len(asked))
	if err != nil {
		return samples, sent{failure: &failure{scope: rowOnly, kind: "request", wait: -1, message: "the request cannot be written as JSON: " + err.Error()}}, nil
	}
	held, ok, err := a.purse.admit(ctx, len(body), len(asked), q.maxTokens)
	if err != nil {
		return samples, s, err
	}
	if !ok { // what is in the store is still an answer
		if left, err = a.lookUp(ctx, q, samples, out); err != nil || len(left) == 0 {
			return left, s, err
		}
		return left, sent{failure: &failure{scope: noMoney, kind: BudgetSpent, wait: -1, message: "the budget is spent (distill.budget)"}}, nil
	}
	defer a.purse.release(held)
	t.tokens = a.pool.tokens(len(body), len(asked), q.maxTokens)
	pass, err := a.pool.enter(ctx, &t)
	if err != nil {
		return samples, s, err
	}
	defer a.pool.leave(pass) // not before the answer is stored: what a kill can cost is bounded by the passes
	if left, err = a.lookUp(ctx, q, samples, out); err != nil || len(left) == 0 {
		a.pool.cancel(pass)
		return left, s, err
	}
	if len(left) < len(samples) {
		asked = q.neighbours(left, n)
		if body, err = q.body(asked[0], len(asked)); err != nil {
			a.pool.cancel(pass)
			return left, s, err
		}
	}
	if err := a.purse.send(held); err != nil {
		a.pool.cancel(pass)
		return left, s, err
	}
	traced, end := a.spans.request(ctx, pass.lane.endpoint, q, asked[0], len(asked))
	trip, r, err := pass.lane.endpoint.sendTo(traced, q.path, body)
	end(trip, &r, err)
	if failed, ok := err.(*failure); ok {
		failed.n = len(asked)
		s = sent{failure: failed, lane: pass.lane}
		if failed.scope == runEnds { // before the pass is given back, so that nobody else tries
			err := stillhouse.Invalidf("%s", failed.message)
			a.pool.shut(err)
			return left, s, err
		}
		s.down, s.wait, s.other = a.pool.failed(pass, trip.header, failed)
		return left, s, nil
	}
	if err != nil {
		a.pool.cancel(pass)
		return left, s, err
	}
	if err := a.purse.pay(held, paid(&r, body, len(asked))); err != nil {
		return left, s, err
	}
	a.pool.answered(pass, trip.header, len(body), len(asked), r)
	a.patience.good()
	a.learn(len(asked), r.choices)
	asked = asked[:min(len(asked), len(r.answers))]
	r.answers = r.answers[:len(asked)]
	if err := a.keep(q, asked, trip, r, out); err != nil {
		return left, s, err
	}
	return left[len(asked):], s, nil
}
