package curate

import (
	"context"
	"fmt"

	"stillhouse"
	"stillhouse/internal/options"
)

// LengthOptions are the options of the reward length, a score from 0 to 1 for the number of completion tokens n:
//
//   - 1 when min_tokens ≤ n ≤ max_tokens,
//   - n / min_tokens below,
//   - above, falling in a straight line from 1 at max_tokens to 0 at twice max_tokens.
//
// The verdict is right at 1 and wrong otherwise. An endpoint that counts no tokens (0 for an answer with text in it)
// makes it unparsable, with score 0.
type LengthOptions struct {
	MinTokens int `yaml:"min_tokens" json:"min_tokens" doc:"Completions of fewer tokens score less, in proportion; 0 is no minimum."`
	MaxTokens int `yaml:"max_tokens" json:"max_tokens" doc:"Completions of more tokens score less, down to 0 at twice as many; 0 is no maximum."`
}

// EnsureDefaults does nothing: one of the two must be said.
func (o *LengthOptions) EnsureDefaults() {}

// Validate is an Invalid error when the two make no range.
func (o *LengthOptions) Validate() error {
	switch {
	case o.MinTokens < 0:
		return options.Wrongf("min_tokens", "is %d: it must be 0 or more", o.MinTokens)
	case o.MaxTokens < 0:
		return options.Wrongf("max_tokens", "is %d: it must be 0 or more", o.MaxTokens)
	case o.MinTokens == 0 && o.MaxTokens == 0:
		return options.Wrongf("", "neither max_tokens nor min_tokens is set: set one, such as max_tokens: 512")
	case o.MaxTokens > 0 && o.MinTokens > o.MaxTokens:
		return options.Wrongf("min_tokens", "is %d and max_tokens %d: the minimum must not be above the maximum", o.MinTokens, o.MaxTokens)
	}
	return nil
}

// Bounds are 0 and 1.
func (o *LengthOptions) Bounds() (least, most float64) { return 0, 1 }

// New makes the reward.
func (o *LengthOptions) New() (Reward, error) { return lengthReward(*o), nil }

type lengthReward LengthOptions

func (lengthReward) Name() string    { return "length" }
func (lengthReward) Version() string { return "1" }

func (l lengthReward) Score(_ context.Context, c stillhouse.Candidate) stillhouse.Score {
	n := float64(c.CompletionTokens)
	if c.CompletionTokens <= 0 && c.Text() != "" {
		return stillhouse.Score{Verdict: stillhouse.Unparsable, Evidence: "the endpoint counted no completion tokens"}
	}
	s := stillhouse.Score{Score: 1, Verdict: stillhouse.Right}
	limit := ""
	switch lo, hi := float64(l.MinTokens), float64(l.MaxTokens); {
	case n < lo:
		s.Score = n / lo
		limit = fmt.Sprintf(", fewer than %d", l.MinTokens)
	case hi > 0 && n > hi:
		s.Score = max(0, 2-n/hi)
		limit = fmt.Sprintf(", more than %d", l.MaxTokens)
	}
	if limit != "" {
		s.Verdict = stillhouse.Wrong
	}
	s.Evidence = fmt.Sprintf("%d tokens%s", c.CompletionTokens, limit)
	return s
}
