package curate

import (
	"context"
	"math"
	"runtime"

	"golang.org/x/sync/semaphore"

	"stillhouse"
)

// An Acceptor judges candidates while a teacher is still being asked: which of them [Select] would take, were there no
// better ones. It asks the same rewards as [Score] and compares with the same minimum, so that what it accepts and what is
// kept later are the same. Without a minimum it accepts whatever has a reward.
type Acceptor struct {
	scorers []scorer
	floor   float64
	most    int
	turns   *semaphore.Weighted // so that a reward's clock runs only while it has a processor
}

// Acceptor makes the judge of this config, which is valid and has its defaults.
func (c *Config) Acceptor() (*Acceptor, error) {
	a := &Acceptor{floor: math.Inf(-1), most: c.Select.Best, turns: semaphore.NewWeighted(int64(runtime.GOMAXPROCS(0)))}
	if m := c.Select.MinReward; m != nil {
		a.floor = *m
	}
	for _, e := range c.Rewards {
		s, err := e.scorer()
		if err != nil {
			return nil, err
		}
		a.scorers = append(a.scorers, s)
	}
	return a, nil
}

// Most is how many candidates of a prompt are kept at most.
func (a *Acceptor) Most() int { return a.most }

// Accept is how many of the candidates reach the minimum.
func (a *Acceptor) Accept(ctx context.Context, candidates []stillhouse.Candidate) (n int, err error) {
	scores := make([]stillhouse.Score, len(a.scorers))
	for _, c := range candidates {
		if err := a.turns.Acquire(ctx, 1); err != nil {
			return 0, err
		}
		for i, s := range a.scorers {
			scores[i] = s.ask(ctx, c)
		}
		a.turns.Release(1)
		if err := ctx.Err(); err != nil { // what was left behind then is no verdict
			return 0, err
		}
		if r := weighted(a.scorers, scores); !math.IsNaN(r) && r >= a.floor {
			n++
		}
	}
	return n, nil
}
