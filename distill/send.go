package distill

import (
	"context"
	"time"

	"stillhouse"
)

// request looks the samples up in the store and makes one request for the first of those that are not there, of at
// most n neighbours, as often as it takes. It returns the samples that still have no answer: fewer than there were,
// unless there is a failure.
func (a *asker) request(ctx context.Context, q *query, samples []int, n int, out []outcome) (left []int, f *failure, err error) {
	var since time.Time // of the first refusal for reasons of rate
	for try, rateTry := 0, 0; ; {
		left, f, err = a.attempt(ctx, q, samples, n, out)
		if f == nil || err != nil {
			return left, nil, err
		}
		samples = left
		if err := ctx.Err(); err != nil {
			return left, nil, err
		}
		var wait time.Duration
		switch f.scope {
		case rowOnly:
			return left, f, nil
		case rateOnly:
			wait = backoff(rateTry, a.draw)
			rateTry++
			if since.IsZero() {
				since = a.clock.Now()
			}
		default:
			if try == a.patience.tries(f, *a.opts.MaxRetries) {
				return left, f, nil
			}
			wait = backoff(try, a.draw)
			try++
		}
		if f.wait > 0 {
			wait = f.wait
		}
		goOn, err := a.patience.wait(q.keys[0], f, wait)
		alone := f.scope == rateOnly && a.clock.Now().Sub(since) > a.opts.GiveUpAfter // others are let through, this one is not
		if err != nil || !goOn || alone {
			return left, f, err
		}
		a.tally.retry(f.kind)
		if f.wait > 0 && f.scope == rateOnly {
			a.gate.pause(wait) // for all requests: the others would be refused as well
		} else if err := a.clock.Sleep(ctx, wait); err != nil {
			return left, nil, err
		}
	}
}

// attempt is one try of request. The store is looked at when the request has its slot, so that what another run has
// bought meanwhile is not bought again.
func (a *asker) attempt(ctx context.Context, q *query, samples []int, n int, out []outcome) (left []int, f *failure, err error) {
	if err := a.gate.enter(ctx); err != nil {
		return samples, nil, err
	}
	defer a.gate.leave() // not before the answer is stored: what a kill can cost is bounded by the slots
	if left, err = a.lookUp(ctx, q, samples, out); err != nil || len(left) == 0 {
		return left, nil, err
	}
	asked := neighbours(left, n)
	body, err := q.body(asked[0], len(asked))
	if err != nil {
		return left, &failure{scope: rowOnly, kind: "request", wait: -1, message: "the request cannot be written as JSON: " + err.Error()}, nil
	}
	a.tally.add(func(c *Counters) { c.Requests++ })
	t, r, err := a.endpoint.send(ctx, body)
	if failed, ok := err.(*failure); ok {
		if failed.scope == runEnds { // while the slot is held, so that nobody else tries
			err := stillhouse.Invalidf("%s", failed.message)
			a.gate.shut(err)
			return left, nil, err
		}
		failed.n = len(asked)
		return left, failed, nil
	}
	if err != nil {
		return left, nil, err
	}
	a.patience.good()
	a.learn(len(asked), r.choices)
	asked = asked[:min(len(asked), len(r.answers))]
	r.answers = r.answers[:len(asked)]
	if err := a.keep(q, asked, t, r, out); err != nil {
		return left, nil, err
	}
	a.tally.add(func(c *Counters) {
		c.Answered++
		c.Asked += int64(len(asked))
		c.PromptTokens += r.promptTokens
		c.CompletionTokens += r.completionTokens
	})
	return left[len(asked):], nil, nil
}
