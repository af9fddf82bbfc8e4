package reward

import (
	"context"
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"stillhouse"
)

func TestLikelihood(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []struct {
		least             *float64
		probs             []float64
		score             float64
		verdict, evidence string
	}{
		{nil, []float64{-1, -3}, math.Exp(-2), "right", "mean log-probability -2.0000 over 2 tokens"},
		{new(-2.0), []float64{-1, -3}, math.Exp(-2), "right", "mean log-probability -2.0000 over 2 tokens"},
		{new(-1.9), []float64{-1, -3}, math.Exp(-2), "wrong", "mean log-probability -2.0000 over 2 tokens, below -1.9"},
		{nil, []float64{-1, nan, -3}, math.Exp(-2), "right", "mean log-probability -2.0000 over 2 tokens, 1 more have none"},
		{nil, []float64{0, 1e-7}, 1, "right", "mean log-probability 0.0000 over 2 tokens"},
		{nil, []float64{-1, -inf}, 0, "right", "mean log-probability -Inf over 2 tokens"},
		{nil, []float64{-1, 0.5}, 0, "unparsable", "a token has the log-probability 0.5, which is above 0"},
		{nil, []float64{nan}, 0, "unparsable", "the candidate has no log-probabilities: distill.logprobs asks for them"},
		{nil, nil, 0, "unparsable", "the candidate has no log-probabilities: distill.logprobs asks for them"},
	} {
		var candidate stillhouse.Candidate
		for _, p := range c.probs {
			candidate.LogProbs = append(candidate.LogProbs, stillhouse.TokenLogProb{LogProb: p})
		}
		s := (&Likelihood{MinLogProb: c.least}).Score(context.Background(), candidate)
		require.InDelta(t, c.score, s.Score, 1e-15, "%v", c.probs)
		require.Equal(t, []string{c.verdict, c.evidence}, []string{s.Verdict, s.Evidence}, "%v", c.probs)
	}
	require.ErrorContains(t, json.Unmarshal([]byte(`{"likelihood": {"min_logprob": 0.5}}`), new(Entry)),
		"likelihood.min_logprob: is 0.5: it must be a number up to 0, such as -0.5")
}
