package pipelines

import (
	"context"
	"errors"
	"path"

	"stillhouse/curate"
	"stillhouse/distill"
	"stillhouse/internal/options"
)

var _ curate.Cache = (*distill.Store)(nil)

// scoreCache is the response store at path for scores that are worth keeping, nil where none are: of most rewards they are
// made again in less time than it takes to look them up.
func scoreCache(ctx context.Context, score *curate.Score, path string) (cache curate.Cache, end func() error, err error) {
	t, err := score.Traits()
	if err != nil || len(t.Kept) == 0 {
		return nil, func() error { return nil }, err
	}
	s, err := distill.OpenStore(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	return s, s.Close, nil
}

// scoring runs score with the scores that are worth it kept in the response store, and ends what it has started.
func (r *run) scoring(ctx context.Context, from string, score *curate.Score, to, name string) error {
	cache, end, err := scoreCache(ctx, score, r.config.Distill.Store)
	if err != nil {
		return err
	}
	score.Use(cache)
	outside := r.outside()
	score.AskThrough(outside)
	err = r.next(ctx, from, score, to, name)
	for _, c := range score.Costs() {
		if c.Asked > 0 { // else all its scores were there
			r.ui.say("%-8s %v", path.Base(name), c)
		}
	}
	outside.tell(r.ui)
	return errors.Join(err, score.Close(), outside.Close(), end())
}

// outside is how the rewards of a step reach models and servers; what they ask is counted in the run's directory.
func (r *run) outside() *askers {
	return &askers{store: r.config.Distill.Store, books: r.dir.Path(rewardBooks)}
}

// judged says whether it depends on the rewards how much is asked of the teacher.
func (c *Config) judged() bool { return c.Distill.Samples.Adaptive() || c.Distill.Target.Accepted > 0 }

// judge is who says which answers are good enough while the teacher is asked. There is one where it matters, and where it
// costs nothing, for the share of accepted answers in the progress; else it is nil, so that no reward is asked that waits
// for a program or another endpoint before it is known which candidates there are.
func (c *Config) judge(ctx context.Context) (j *curate.Acceptor, end func() error, err error) {
	score, _ := c.Curate.Stages()
	t, err := score.Traits()
	if err != nil {
		return nil, nil, err
	}
	if !c.judged() && len(t.Groups)+len(t.Kept) > 0 {
		return nil, func() error { return nil }, nil
	}
	cache, closeCache, err := scoreCache(ctx, score, c.Distill.Store)
	if err != nil {
		return nil, nil, err
	}
	if j, err = c.Curate.Acceptor(cache); err != nil {
		return nil, nil, errors.Join(err, closeCache())
	}
	return j, func() error { return errors.Join(j.Close(), closeCache()) }, nil
}

// checkRewards makes every reward once, so that one that can't be made is an error before anything is paid for, and
// refuses what judges a prompt's candidates together where they are asked for one after the other.
func (c *Config) checkRewards(score *curate.Score) error {
	t, err := score.Traits()
	if err != nil || len(t.Groups) == 0 {
		return err
	}
	switch {
	case c.Distill.Samples.Adaptive():
		return options.Wrongf("distill.samples.enough", "is %d, and reward %q judges all candidates of a prompt together, not one after the other: write samples: %d, or leave the reward out",
			c.Distill.Samples.Enough, t.Groups[0], c.Distill.Samples.Max)
	case c.Distill.Target.Accepted > 0:
		return options.Wrongf("distill.target.accepted", "is %d, and reward %q judges all candidates of a prompt together, not one after the other: leave one of them out",
			c.Distill.Target.Accepted, t.Groups[0])
	}
	return nil
}
