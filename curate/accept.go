package curate

import (
	"context"
	"math"

	"stillhouse"
)

// An Acceptor judges candidates while a teacher is still being asked: which of them [Select] would take, were there no
// better ones. It asks the same rewards as [Score] and compares with the same minimum, so that what it accepts and what is
// kept later are the same. Without a minimum it accepts whatever has a reward.
type Acceptor struct {
	panel *panel
	floor float64
	most  int
}

// Acceptor makes the judge of this config, which is valid and has its defaults.
func (c *Config) Acceptor() (*Acceptor, error) {
	p, err := newPanel(c.Rewards)
	if err != nil {
		return nil, err
	}
	p.combine = c.Combine
	a := &Acceptor{panel: p, floor: math.Inf(-1), most: c.Select.Best}
	if m := c.Select.MinReward; m != nil {
		a.floor = *m
	}
	return a, nil
}

// Most is how many candidates of a prompt are kept at most.
func (a *Acceptor) Most() int { return a.most }

// Accept is how many of the candidates reach the minimum.
func (a *Acceptor) Accept(ctx context.Context, candidates []stillhouse.Candidate) (n int, err error) {
	scores, err := a.panel.ask(ctx, candidates)
	if err != nil {
		return 0, err
	}
	for _, row := range scores {
		if r := a.panel.reward(row); !math.IsNaN(r) && r >= a.floor {
			n++
		}
	}
	return n, nil
}

// Close ends what the rewards have started.
func (a *Acceptor) Close() error { return a.panel.Close() }
