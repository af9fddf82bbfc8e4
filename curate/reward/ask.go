package reward

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"stillhouse"
)

// Ask has candidates scored: one, or all of a prompt by a [Group]. Before are the scores of the rewards before it, for a
// [Follower]. The reward's clock starts now, with timeout for each candidate; it is left behind when it doesn't come back in
// time, and what it panics with is an error of these candidates alone.
func Ask(ctx context.Context, r Reward, timeout time.Duration, candidates []stillhouse.Candidate, before []stillhouse.Score) []stillhouse.Score {
	patience := timeout * time.Duration(len(candidates))
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answered := make(chan []stillhouse.Score, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				answered <- alike(len(candidates), failed("panic: %s", shorten(fmt.Sprint(p))))
			}
		}()
		switch r := r.(type) {
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
		scores = alike(len(candidates), failed("the reward gave %d scores for %d candidates", len(scores), len(candidates)))
	}
	for i := range scores {
		if scores[i].Verdict == stillhouse.Timeout && ctx.Err() != nil {
			scores[i] = late // whether it gave up in time to say so or not
		}
		scores[i] = Checked(scores[i])
	}
	return scores
}

// Checked is what a reward said as it is written: only a verdict that is one, and a number only where there is a score.
func Checked(s stillhouse.Score) stillhouse.Score {
	s.Evidence = strings.ToValidUTF8(s.Evidence, "\uFFFD")
	switch s.Verdict {
	case stillhouse.Right, stillhouse.Wrong, stillhouse.Unparsable:
	case stillhouse.Timeout, stillhouse.Errored:
		s.Score = math.NaN()
	default:
		return failed("the reward gave verdict %q, which is none", shorten(s.Verdict))
	}
	return s
}
