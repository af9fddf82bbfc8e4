package distill

import (
	"context"
	"net/http"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// An asker gets the answers of queries: out of the store, else from the endpoint and then into the store. It is
// shared by all calls of Process.
type asker struct {
	opts     Options
	store    *Store
	pool     *pool
	patience *patience
	turns    turns
	tally    tally
	clock    clock
	draw     func() float64
	batch    *batcher     // nil where requests are sent one by one
	many     atomic.Int32 // what is known of n: unknownN, honoursN or ignoresN
	noted    atomic.Int32 // what the store knows of it, see factn.go
}

const (
	unknownN int32 = iota
	honoursN       // an answer with more than one choice came
	ignoresN       // one choice came where more were asked for, or a request was refused for its n
)

// An outcome is what became of one sample.
type outcome struct {
	answer Answer
	failed *failure
}

// ask gets the answers to all samples of a query. The first samples that the store lacks are asked for in one request
// with n; the server's answer shows whether it honours that. Where it does not, what came is the first of them, and
// each of the others is asked for alone, with a seed of its own. What is asked next depends only on what the store
// holds, and all choices of a response get into the store together: so a run that was killed goes on with the very
// requests that it would have made.
//
// An error ends the run. A sample that failed alone is told by its outcome.
func (a *asker) ask(ctx context.Context, q *query, decided func(n int)) ([]outcome, error) {
	end, err := a.turns.take(ctx, q.keys[0])
	if err != nil {
		return nil, err
	}
	defer end()
	out := make([]outcome, len(q.keys))
	left := make([]int, len(q.keys))
	for i := range left {
		left[i] = i
	}
	fail := func(samples []int, f *failure) {
		for _, s := range samples {
			out[s].failed = f
		}
		decided(len(samples))
	}
	for len(left) > 0 && (len(q.keys) == 1 || a.many.Load() != ignoresN) {
		rest, f, err := a.request(ctx, q, left, len(left), out)
		if err != nil {
			return nil, err
		}
		if decided(len(left) - len(rest)); f == nil {
			left = rest
			continue
		}
		if left = rest; f.n > 1 && a.many.Load() != honoursN && (f.status == http.StatusBadRequest || f.status == http.StatusUnprocessableEntity) {
			// It may be n that is refused. If so, the same request for one sample succeeds.
			if rest, f, err = a.request(ctx, q, left[:1], 1, out); err != nil {
				return nil, err
			}
			if f == nil && len(rest) == 0 {
				a.many.CompareAndSwap(unknownN, ignoresN)
				decided(1)
				left = left[1:]
				continue
			}
		}
		if err := a.patience.failed(q.keys[0], f); err != nil {
			return nil, err
		}
		fail(left, f)
		return out, nil
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range left {
		g.Go(func() error {
			_, f, err := a.request(ctx, q, []int{s}, 1, out)
			if err == nil && f != nil {
				err = a.patience.failed(q.keys[0], f)
				out[s].failed = f
			}
			if err == nil {
				decided(1)
			}
			return err
		})
	}
	return out, g.Wait()
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
		out[s] = outcome{answer: r.answers[i]}
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
			out[s] = outcome{answer: answer}
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

// neighbours are the first samples that follow each other without a gap, at most n.
func neighbours(samples []int, n int) []int {
	end := 1
	for end < min(n, len(samples)) && samples[end] == samples[end-1]+1 {
		end++
	}
	return samples[:end]
}
