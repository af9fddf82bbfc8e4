package curate

import (
	"context"
	"errors"
	"math"

	"stillhouse"
	"stillhouse/curate/reward"
)

// An Acceptor judges candidates while a teacher is still being asked: which of them [Select] would take, were there no
// better ones. It asks the same rewards as [Score] and compares with the same minimum, so that what it accepts and what is
// kept later are the same. Without a minimum it accepts whatever has a reward. Of policies that look at all candidates
// of a prompt together (see [Select.KeepsAny]) it says what could be kept, were there no others.
type Acceptor struct {
	panel  *panel
	policy Select
}

// Acceptor makes the judge of this config, which is valid and has its defaults. It can't be had where a reward is a [reward.Group]:
// that judges all candidates of a prompt, and here they come one by one. The cache may be nil; with one, [Score] finds there
// what was asked here.
func (c *Config) Acceptor(cache Cache) (*Acceptor, error) {
	p, err := newPanel(c.Rewards)
	if err != nil {
		return nil, err
	}
	for _, s := range p.scorers {
		if _, ok := s.Reward.(reward.Group); ok {
			return nil, errors.Join(stillhouse.Invalidf("reward %q judges the candidates of a prompt together, and can't judge while they are still asked for", s.name), p.Close())
		}
	}
	p.use(cache)
	p.combine = c.Combine
	a := &Acceptor{panel: p, policy: c.Select}
	a.policy.EnsureDefaults()
	return a, nil
}

// Recall has the judge look up the scores of rewards that cost more to ask than to look up, and ask none of these: a
// candidate that none is kept for is not accepted. It is what a forecast can know.
func (a *Acceptor) Recall() { a.panel.recalls = true }

// Most is how many candidates of a prompt are kept at most.
func (a *Acceptor) Most() int { return a.policy.Most(math.MaxInt) }

// Accept is how many of the candidates reach the minimum and, where the policy keeps right ones alone, are right.
func (a *Acceptor) Accept(ctx context.Context, candidates []stillhouse.Candidate) (n int, err error) {
	scores, err := a.panel.ask(ctx, candidates)
	if err != nil {
		return 0, err
	}
	for _, row := range scores {
		if a.policy.Accepts(a.panel.reward(row), row) {
			n++
		}
	}
	return n, nil
}

// Close ends what the rewards have started.
func (a *Acceptor) Close() error { return a.panel.Close() }

// AskThrough gives the rewards the way to the models and servers that they ask. It is called before the first candidate.
func (a *Acceptor) AskThrough(out Outside) { a.panel.askThrough(out) }
