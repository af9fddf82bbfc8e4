package reward

import (
	"context"
	"fmt"

	"stillhouse"
	"stillhouse/curate/answer"
)

// Math is the reward math, which compares the final answer with the reference as values: 1 when
// they are the same, 0 otherwise. What it takes for the answer and what it can read is said in package answer.
//
// The verdict is unparsable, with score 0, when either side can't be read, when the prompt has no reference, and when
// it depends on the question whether the two are the same (50 and 50%, 0.33 and 1/3), or it can't be proved within a fixed
// amount of work.
type Math struct{}

// EnsureDefaults does nothing: there are no options.
func (o *Math) EnsureDefaults() {}

// Validate finds nothing: there are no options.
func (o *Math) Validate() error { return nil }

// Bounds are 0 and 1.
func (o *Math) Bounds() (least, most float64) { return 0, 1 }

// New makes the reward.
func (o *Math) New() (Reward, error) { return o, nil }

var _ Comparer = (*Math)(nil)

func (*Math) Version() string      { return "2" }
func (*Math) NeedsReference() bool { return true }

func (*Math) Score(ctx context.Context, c stillhouse.Candidate) stillhouse.Score {
	if c.Reference == nil {
		return cannotTell("the prompt has no reference answer")
	}
	reference, err := answer.Reference(*c.Reference)
	if err != nil {
		return cannotTell("reference: %v", err)
	}
	given, err := answer.Final(c.Text())
	if err != nil {
		return cannotTell("%v; reference %v", err, reference)
	}
	evidence := fmt.Sprintf("read %v from %q, reference %v", given, given.From, reference)
	relation, why := answer.CompareContext(ctx, reference, given)
	if why != "" {
		evidence += ": " + why
	}
	switch relation {
	case answer.Same:
		return judged(true, "%s", evidence)
	case answer.Different:
		return judged(false, "%s", evidence)
	default:
		return cannotTell("%s", evidence)
	}
}
