package reward

import (
	"context"
	"fmt"
	"math"

	"stillhouse"
	"stillhouse/internal/options"
)

// Likelihood is the reward likelihood: how likely the teacher itself found its answer, by the
// log-probabilities that came with it (distill.logprobs). The score is the geometric mean of the tokens' probabilities, e
// to the power of the mean log-probability, from 0 to 1; its inverse is the perplexity.
//
// The verdict is right, or wrong below min_logprob. It is unparsable, with score 0, where there are no log-probabilities, as
// for an endpoint that gives none. Tokens whose own is missing are left out of the mean, and the evidence counts them.
type Likelihood struct {
	MinLogProb *float64 `yaml:"min_logprob" json:"min_logprob" doc:"The least mean log-probability of a token (natural logarithm, at most 0) for the verdict right; null calls any right."`
}

// EnsureDefaults does nothing: by default there is no minimum.
func (o *Likelihood) EnsureDefaults() {}

// Validate is an Invalid error when no mean could be below the minimum, or none above it.
func (o *Likelihood) Validate() error {
	if m := o.MinLogProb; m != nil && !(*m <= 0 && !math.IsInf(*m, 0)) {
		return options.Wrongf("min_logprob", "is %v: it must be a number up to 0, such as -0.5", *m)
	}
	return nil
}

// New makes the reward.
func (o *Likelihood) New() (Reward, error) { return o, nil }

func (*Likelihood) Version() string { return "1" }

func (o *Likelihood) Score(_ context.Context, c stillhouse.Candidate) stillhouse.Score {
	sum, n := 0.0, 0
	for _, t := range c.LogProbs {
		switch {
		case math.IsNaN(t.LogProb):
		case t.LogProb > 1e-6: // rounding brings some servers a little above 0
			return cannotTell("a token has the log-probability %.4g, which is above 0", t.LogProb)
		default:
			sum += min(t.LogProb, 0)
			n++
		}
	}
	if n == 0 {
		return cannotTell("the candidate has no log-probabilities: distill.logprobs asks for them")
	}
	mean := sum / float64(n)
	s := graded(math.Exp(mean), true, "mean log-probability %.4f over %d tokens", mean, n)
	if missing := len(c.LogProbs) - n; missing > 0 {
		s.Evidence += fmt.Sprintf(", %d more have none", missing)
	}
	if o.MinLogProb != nil && mean < *o.MinLogProb {
		s.Verdict = stillhouse.Wrong
		s.Evidence += fmt.Sprintf(", below %v", *o.MinLogProb)
	}
	return s
}
