package distill

import (
	"context"
	"net/http"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// An asker gets the answers of queries: out of the store, else from the endpoint and then into the store. It is
// shared by all calls of Process.
type asker struct {
	opts     Options
	store    *Store
	pool     *pool
	atWork   *semaphore.Weighted // prompts at a time, of all calls of Process
	patience *patience
	purse    *purse
	accept   Judge // nil where nobody judges
	spans    *spans
	turns    turns
	tally    tally
	clock    clock
	draw     func() float64
	batch    *batcher            // nil where requests are sent one by one
	many     atomic.Int32        // what is known of n: unknownN, honoursN or ignoresN
	noted    atomic.Int32        // what the store knows of it, see factn.go
	schemas  atomic.Int32        // what is known of schemas of answers: unknownSchemas, takesSchemas or refusesSchemas
	trial    *semaphore.Weighted // of the one question that finds it out
}

const (
	unknownN int32 = iota
	honoursN       // an answer with more than one choice came
	ignoresN       // one choice came where more were asked for, or a request was refused for its n
)

// An outcome is what became of one sample: an answer, a failure, or nothing for a reason.
type outcome struct {
	answer  Answer
	failed  *failure
	unasked string
	fresh   bool // the answer came from the endpoint just now
}

func (o outcome) answered() bool { return o.failed == nil && o.unasked == "" }

// ask gets the answers to the samples of a query, round by round: the first samples, and then more of them as long as too
// few are accepted. How many a round has follows from the answers before it, so that a run that goes on, or another with
// the same store, makes the same rounds.
//
// It returns the samples' outcomes and how many are accepted. An error ends the run. A sample that failed alone is told
// by its outcome.
func (a *asker) ask(ctx context.Context, q *query, decided func(n int)) (out []outcome, accepted int, err error) {
	end, err := a.turns.take(ctx, q.keys[0])
	if err != nil {
		return nil, 0, err
	}
	defer end()
	ctx, done := a.spans.prompt(ctx, q.prompt)
	defer func() { done(out, accepted, err) }()
	out = make([]outcome, len(q.keys))
	for asked := 0; asked < len(out); {
		n := a.opts.Samples.next(asked, accepted)
		if n == 0 {
			leave(out[asked:], EnoughAccepted, decided)
			break
		}
		round := out[asked : asked+n]
		if err := a.round(ctx, q, asked, asked+n, out, decided); err != nil {
			return nil, 0, err
		}
		good, err := a.judge(ctx, q, asked, round)
		if err != nil {
			return nil, 0, err
		}
		asked, accepted = asked+n, accepted+good
		if slices.ContainsFunc(round, func(o outcome) bool { return o.unasked == BudgetSpent }) {
			leave(out[asked:], BudgetSpent, decided)
			break
		}
		if !slices.ContainsFunc(round, outcome.answered) {
			leave(out[asked:], PromptFailed, decided)
			break
		}
	}
	return out, accepted, nil
}

// leave books samples that are not asked for.
func leave(out []outcome, reason string, decided func(n int)) {
	for i := range out {
		out[i] = outcome{unasked: reason}
	}
	decided(len(out))
}

// round gets the answers to the samples from..to of a query. The first of them that the store lacks are asked for in one
// request with n; the server's answer shows whether it honours that. Where it does not, what came is the first of them,
// and each of the others is asked for alone, with a seed of its own. What is asked next depends only on what the store
// holds, and all choices of a response get into the store together: so a run that was killed goes on with the very
// requests that it would have made.
func (a *asker) round(ctx context.Context, q *query, from, to int, out []outcome, decided func(n int)) error {
	left := make([]int, to-from)
	for i := range left {
		left[i] = from + i
	}
	for len(left) > 0 && (to-from == 1 || a.many.Load() != ignoresN) {
		rest, f, err := a.request(ctx, q, left, len(left), out)
		if err != nil {
			return err
		}
		if decided(len(left) - len(rest)); f == nil {
			left = rest
			continue
		}
		if left = rest; f.n > 1 && a.many.Load() != honoursN && (f.status == http.StatusBadRequest || f.status == http.StatusUnprocessableEntity) {
			// It may be n that is refused. If so, the same request for one sample succeeds.
			if rest, f, err = a.request(ctx, q, left[:1], 1, out); err != nil {
				return err
			}
			if f == nil && len(rest) == 0 {
				a.many.CompareAndSwap(unknownN, ignoresN)
				decided(1)
				left = left[1:]
				continue
			}
		}
		for _, s := range left {
			if err := a.missing(q, f, &out[s]); err != nil {
				return err
			}
		}
		decided(len(left))
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range left {
		g.Go(func() error {
			_, f, err := a.request(ctx, q, []int{s}, 1, out)
			if err == nil && f != nil {
				err = a.missing(q, f, &out[s])
			}
			if err == nil {
				decided(1)
			}
			return err
		})
	}
	return g.Wait()
}

// missing books a sample that got no answer: it failed, or there was nothing left to pay for it.
func (a *asker) missing(q *query, f *failure, o *outcome) error {
	if f.scope == noMoney {
		*o = outcome{unasked: BudgetSpent}
		return nil
	}
	*o = outcome{failed: f}
	if q.inWords && f.schema {
		return nil // it is asked again, in words
	}
	return a.patience.failed(q.keys[0], f)
}

// lookUp fills in what the store has and returns the samples it has not.
func (a *asker) lookUp(ctx context.Context, q *query, samples []int, out []outcome) (left []int, err error) {
	keys := make([]Key, len(samples))
	for i, s := range samples {
		keys[i] = q.keys[s]
	}
	found, err := a.store.Get(context.WithoutCancel(ctx), keys, q.maxTokens)
	if err != nil {
		return samples, err
	}
	for _, s := range samples {
		if answer, ok := found[q.keys[s]]; ok {
			out[s] = outcome{answer: answer}
		} else {
			left = append(left, s)
		}
	}
	if len(found) > 0 {
		a.patience.stored()
		a.tally.add(func(c *Counters) { c.FromStore += int64(len(samples) - len(left)) })
	}
	return left, nil
}

// keep puts the answers into the store, also when the run was cancelled meanwhile, and hands out what is there then:
// where another run was first, its answers count.
func (a *asker) keep(q *query, asked []int, t *trip, r reply, out []outcome) error {
	e := &exchange{teacher: a.opts.teacher(), model: a.opts.Model, first: asked[0], maxTokens: q.maxTokens, reply: r, request: pack(t.request),
		header: pack(t.headerJSON()), body: pack(t.body), at: a.clock.Now()}
	for _, s := range asked {
		e.keys = append(e.keys, q.keys[s])
	}
	if err := a.store.put(e); err != nil {
		return err
	}
	for i, s := range asked {
		out[s] = outcome{answer: r.answers[i], fresh: true}
	}
	if e.fresh == len(asked) {
		return nil
	}
	found, err := a.store.Get(context.Background(), e.keys, q.maxTokens)
	if err != nil {
		return err
	}
	for _, s := range asked {
		if answer, ok := found[q.keys[s]]; ok {
			out[s] = outcome{answer: answer, fresh: true}
		}
	}
	return nil
}

// learn draws from the number of choices whether the server honours n. One answer with several choices settles it.
func (a *asker) learn(asked, came int) {
	switch {
	case asked > 1 && came > 1:
		a.many.Store(honoursN)
	case asked > 1:
		a.many.CompareAndSwap(unknownN, ignoresN)
	}
}
