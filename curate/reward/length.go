package reward

import (
	"context"
	"fmt"

	"stillhouse"
	"stillhouse/internal/options"
)

// Length is the reward length, a score from 0 to 1 for the number of completion tokens n:
//
//   - 1 when min_tokens ≤ n ≤ max_tokens,
//   - n / min_tokens below,
//   - above, falling in a straight line from 1 at max_tokens to 0 at twice max_tokens.
//
// The verdict is right at 1 and wrong otherwise. An endpoint that counts no tokens (0 for an answer with text in it)
// makes it unparsable, with score 0.
type Length struct {
	MinTokens int `yaml:"min_tokens" json:"min_tokens" doc:"Completions of fewer tokens score less, in proportion; 0 is no minimum."`
	MaxTokens int `yaml:"max_tokens" json:"max_tokens" doc:"Completions of more tokens score less, down to 0 at twice as many; 0 is no maximum."`
}

// EnsureDefaults does nothing: one of the two must be said.
func (o *Length) EnsureDefaults() {}

// Validate is an Invalid error when the two make no range.
func (o *Length) Validate() error {
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
func (o *Length) Bounds() (least, most float64) { return 0, 1 }

// New makes the reward.
func (o *Length) New() (Reward, error) { return o, nil }

func (*Length) Version() string { return "1" }

func (o *Length) Score(_ context.Context, c stillhouse.Candidate) stillhouse.Score {
	n := float64(c.CompletionTokens)
	if c.CompletionTokens <= 0 && c.Text() != "" {
		return cannotTell("the endpoint counted no completion tokens")
	}
	score, limit := 1.0, ""
	switch lo, hi := float64(o.MinTokens), float64(o.MaxTokens); {
	case n < lo:
		score = n / lo
		limit = fmt.Sprintf(", fewer than %d", o.MinTokens)
	case hi > 0 && n > hi:
		score = max(0, 2-n/hi)
		limit = fmt.Sprintf(", more than %d", o.MaxTokens)
	}
	return graded(score, limit == "", "%d tokens%s", c.CompletionTokens, limit)
}
