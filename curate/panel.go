package curate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"stillhouse"
	"stillhouse/curate/reward"
)

// A panel is the rewards of a config, ready to be asked. Several goroutines may ask at once.
type panel struct {
	scorers []scorer
	combine Combination
	recalls bool                // of rewards whose scores are kept, only those that are: the others are missing
	turns   *semaphore.Weighted // of the rewards that work: a reward's clock runs only while it has a processor
}

// A scorer is one reward of a panel.
type scorer struct {
	reward.Reward
	name    string
	weight  float64
	timeout time.Duration
	cost    *cost
	turns   *semaphore.Weighted // its own where it is Concurrent

	kind       string
	identities []string // what its scores are kept under: one for each way in which it can ask, the first to be tried first
	cached     bool     // whether its scores are kept, where there is a cache
	cache      Cache    // nil where they aren't
}

// newPanel makes the rewards. The entries may be shared between goroutines: nothing in them is changed.
func newPanel(entries []reward.Entry) (p *panel, err error) {
	p = &panel{turns: semaphore.NewWeighted(int64(runtime.GOMAXPROCS(0)))}
	for _, e := range entries {
		s, err := newScorer(e)
		if o, ok := s.Reward.(reward.Opener); ok && err == nil {
			if err = o.Open(); err != nil {
				err = fmt.Errorf("reward %q: %w", s.name, err)
			}
		}
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		s.turns, s.cost = p.turns, &cost{}
		if c, ok := s.Reward.(reward.Concurrent); ok {
			s.turns = semaphore.NewWeighted(int64(max(1, c.Concurrency())))
		}
		p.scorers = append(p.scorers, s)
	}
	return p, nil
}

// newScorer makes the reward of an entry.
func newScorer(e reward.Entry) (s scorer, err error) {
	if e, err = e.Filled(); err != nil {
		return s, err
	}
	r, err := e.New()
	if err != nil {
		return s, err
	}
	s = scorer{Reward: r, name: e.Name, weight: *e.Weight, timeout: time.Duration(e.Timeout * float64(time.Second)), kind: e.Kind, cached: costly(r)}
	if e.Cache != nil {
		s.cached = *e.Cache
	}
	ways := []reward.Options{e.Options}
	if u, ok := e.Options.(reward.Undecided); ok && u.Ways() != nil {
		ways = u.Ways()
	}
	for _, o := range ways {
		id, err := identity(e.Kind, r, o)
		if err != nil {
			return s, err
		}
		s.identities = append(s.identities, id)
	}
	return s, nil
}

// Outside is how rewards reach models and servers, each by its name.
type Outside interface {
	// Asker makes an asker for a reward, which opens what it needs with its first question.
	Asker(name string, o reward.AskerOptions) reward.Asker
	// Meter takes in what a reward asks of a server by itself; nil for nobody.
	Meter(name string) reward.Meter
}

// askThrough gives the rewards the way outside. Without one those that ask models fail.
func (p *panel) askThrough(out Outside) {
	if out == nil {
		return
	}
	for _, s := range p.scorers {
		if a, ok := s.Reward.(reward.Asking); ok {
			a.AskThrough(func(o reward.AskerOptions) reward.Asker { return out.Asker(s.name, o) })
		}
		if m, ok := s.Reward.(reward.Metered); ok {
			m.Meter(out.Meter(s.name))
		}
	}
}

// use has the scores that are worth it kept in a cache, which may be nil.
func (p *panel) use(c Cache) {
	for i := range p.scorers {
		if p.scorers[i].cached {
			p.scorers[i].cache = c
		}
	}
}

// Close ends what the rewards have started.
func (p *panel) Close() (err error) {
	for _, s := range p.scorers {
		if c, ok := s.Reward.(io.Closer); ok {
			err = errors.Join(err, c.Close())
		}
	}
	return err
}

// ask has candidates scored by one reward after another, several candidates at a time. Those of a prompt stand side by
// side. It returns a score for every candidate and reward, or the context's error.
func (p *panel) ask(ctx context.Context, candidates []stillhouse.Candidate) ([][]stillhouse.Score, error) {
	scores := make([][]stillhouse.Score, len(candidates))
	for i := range scores {
		scores[i] = make([]stillhouse.Score, len(p.scorers))
	}
	for j, s := range p.scorers {
		left, twins := s.spans(candidates), map[int]int(nil)
		if s.cache != nil {
			var err error
			if left, twins, err = s.recall(ctx, candidates, scores, j, left); err != nil {
				return nil, err
			}
		}
		if p.recalls && s.cached {
			left = nil
		}
		g, asking := errgroup.WithContext(ctx)
		for _, sp := range left {
			if err := s.turns.Acquire(asking, 1); err != nil {
				break
			}
			g.Go(func() error {
				defer s.turns.Release(1)
				began := time.Now()
				got := s.ask(asking, candidates[sp.from:sp.to], scores[sp.from][:j])
				if err := asking.Err(); err != nil {
					return err // what was left behind then is no verdict
				}
				s.cost.add(len(got), time.Since(began))
				if s.cache != nil {
					if err := s.keep(asking, sp, got); err != nil {
						return err
					}
				}
				for i, score := range got {
					scores[sp.from+i][j] = score
				}
				return nil
			})
		}
		if err := errors.Join(g.Wait(), ctx.Err()); err != nil {
			return nil, err
		}
		for at, first := range twins {
			scores[at][j] = scores[first][j]
		}
	}
	return scores, nil
}

// sameID is the end of the candidates from from on that have one prompt.
func sameID(candidates []stillhouse.Candidate, from int) (to int) {
	for to = from + 1; to < len(candidates) && candidates[to].ID == candidates[from].ID; to++ {
	}
	return to
}

// ask has candidates scored: one, or all of a prompt by a [reward.Group].
func (s scorer) ask(ctx context.Context, candidates []stillhouse.Candidate, before []stillhouse.Score) []stillhouse.Score {
	scores := reward.Ask(ctx, s.Reward, s.timeout, candidates, before)
	for i := range scores {
		scores[i].Name = s.name
	}
	return scores
}

// check makes of what was kept a score as it is written.
func (s scorer) check(score *stillhouse.Score) {
	*score = reward.Checked(*score)
	score.Name = s.name
}
