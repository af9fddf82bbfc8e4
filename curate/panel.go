package curate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"stillhouse"
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
	Reward
	name    string
	weight  float64
	timeout time.Duration
	cost    *cost
	turns   *semaphore.Weighted // its own where it is Concurrent

	kind, identity string
	cached         bool  // whether its scores are kept, where there is a cache
	cache          Cache // nil where they aren't
}

// An opener is a Reward that must see whether it can work here before it is asked.
type opener interface{ Open() error }

// newPanel makes the rewards. The entries may be shared between goroutines: nothing in them is changed.
func newPanel(entries []RewardEntry) (p *panel, err error) {
	p = &panel{turns: semaphore.NewWeighted(int64(runtime.GOMAXPROCS(0)))}
	for _, e := range entries {
		s, err := e.scorer()
		if o, ok := s.Reward.(opener); ok && err == nil {
			if err = o.Open(); err != nil {
				err = fmt.Errorf("reward %q: %w", s.name, err)
			}
		}
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		s.turns, s.cost = p.turns, &cost{}
		if c, ok := s.Reward.(Concurrent); ok {
			s.turns = semaphore.NewWeighted(int64(max(1, c.Concurrency())))
		}
		p.scorers = append(p.scorers, s)
	}
	return p, nil
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

// ask has candidates scored: one, or all of a prompt by a Group. The reward's clock starts now; it is left behind when it
// doesn't come back in time, and what it panics with is an error of these candidates alone.
func (s scorer) ask(ctx context.Context, candidates []stillhouse.Candidate, before []stillhouse.Score) []stillhouse.Score {
	patience := s.timeout * time.Duration(len(candidates))
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answered := make(chan []stillhouse.Score, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				answered <- alike(len(candidates), stillhouse.Score{Verdict: stillhouse.Errored, Evidence: "panic: " + shorten(fmt.Sprint(p))})
			}
		}()
		switch r := s.Reward.(type) {
		case Group:
			answered <- r.ScoreGroup(ctx, candidates)
		case Follower:
			answered <- []stillhouse.Score{r.ScoreAfter(ctx, candidates[0], before)}
		default:
			answered <- []stillhouse.Score{r.Score(ctx, candidates[0])}
		}
	}()
	late := stillhouse.Score{Verdict: stillhouse.Timeout, Evidence: fmt.Sprintf("no verdict after %v", patience)}
	var scores []stillhouse.Score
	select {
	case scores = <-answered:
	case <-ctx.Done():
		scores = alike(len(candidates), late)
	}
	if len(scores) != len(candidates) {
		scores = alike(len(candidates), stillhouse.Score{Verdict: stillhouse.Errored, Evidence: fmt.Sprintf("the reward gave %d scores for %d candidates", len(scores), len(candidates))})
	}
	for i := range scores {
		if scores[i].Verdict == stillhouse.Timeout && ctx.Err() != nil {
			scores[i] = late // whether it gave up in time to say so or not
		}
		s.check(&scores[i])
	}
	return scores
}

// check makes what a reward said a score as it is written.
func (s scorer) check(score *stillhouse.Score) {
	score.Name = s.name
	score.Evidence = strings.ToValidUTF8(score.Evidence, "\uFFFD")
	switch score.Verdict {
	case stillhouse.Right, stillhouse.Wrong, stillhouse.Unparsable:
	case stillhouse.Timeout, stillhouse.Errored:
		score.Score = math.NaN()
	default:
		score.Evidence = fmt.Sprintf("the reward gave verdict %q, which is none", shorten(score.Verdict))
		score.Verdict, score.Score = stillhouse.Errored, math.NaN()
	}
}

func alike(n int, s stillhouse.Score) []stillhouse.Score {
	out := make([]stillhouse.Score, n)
	for i := range out {
		out[i] = s
	}
	return out
}
