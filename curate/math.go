package curate

import (
	"context"
	"fmt"

	"stillhouse"
	"stillhouse/curate/answer"
)

// MathOptions are the options of the reward math, which compares the final answer with the reference as values: 1 when
// they are the same, 0 otherwise. What it takes for the answer and what it can read is said in package answer.
//
// The verdict is unparsable, with score 0, when either side can't be read, when the prompt has no reference, and when
// it depends on the question whether the two are the same (50 and 50%, 0.33 and 1/3), or it can't be proved within a fixed
// amount of work.
type MathOptions struct{}

// EnsureDefaults does nothing: there are no options.
func (o *MathOptions) EnsureDefaults() {}

// Validate finds nothing: there are no options.
func (o *MathOptions) Validate() error { return nil }

// Bounds are 0 and 1.
func (o *MathOptions) Bounds() (least, most float64) { return 0, 1 }

// New makes the reward.
func (o *MathOptions) New() (Reward, error) { return mathReward{}, nil }

type mathReward struct{}

var _ Comparer = mathReward{}

func (mathReward) Name() string         { return "math" }
func (mathReward) Version() string      { return "2" }
func (mathReward) NeedsReference() bool { return true }

func (mathReward) Score(ctx context.Context, c stillhouse.Candidate) stillhouse.Score {
	unparsable := func(format string, args ...any) stillhouse.Score {
		return stillhouse.Score{Verdict: stillhouse.Unparsable, Evidence: fmt.Sprintf(format, args...)}
	}
	if c.Reference == nil {
		return unparsable("the prompt has no reference answer")
	}
	reference, err := answer.Reference(*c.Reference)
	if err != nil {
		return unparsable("reference: %v", err)
	}
	given, err := answer.Final(c.Text())
	if err != nil {
		return unparsable("%v; reference %v", err, reference)
	}
	evidence := fmt.Sprintf("read %v from %q, reference %v", given, given.From, reference)
	relation, why := answer.CompareContext(ctx, reference, given)
	if why != "" {
		evidence += ": " + why
	}
	switch relation {
	case answer.Same:
		return stillhouse.Score{Score: 1, Verdict: stillhouse.Right, Evidence: evidence}
	case answer.Different:
		return stillhouse.Score{Verdict: stillhouse.Wrong, Evidence: evidence}
	default:
		return unparsable("%s", evidence)
	}
}
