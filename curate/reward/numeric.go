package reward

import (
	"context"
	"math/big"
	"strings"

	"stillhouse"
	"stillhouse/curate/answer"
	"stillhouse/internal/options"
)

// Numeric is the reward numeric: 1 and right when the final number x of the answer is near enough
// to the reference r, 0 and wrong when not. It is near enough when |x − r| ≤ absolute or |x − r| ≤ relative × |r|, in
// exact arithmetic. Which number is the final one, and what can be read, is said in package answer, as for math.
//
// It is unparsable when one of the two can't be read as a single number, or when they have different units.
type Numeric struct {
	Absolute float64 `yaml:"absolute" json:"absolute" doc:"How far the answer may be from the reference; 0 is not at all."`
	Relative float64 `yaml:"relative" json:"relative" doc:"How far the answer may be from the reference as a part of it: 0.01 is 1 %."`
}

// EnsureDefaults lets an answer be off by a thousandth where no tolerance is said.
func (o *Numeric) EnsureDefaults() {
	if o.Absolute == 0 && o.Relative == 0 {
		o.Relative = 1e-3
	}
}

// Validate is an Invalid error when a tolerance is none.
func (o *Numeric) Validate() error {
	switch {
	case !(o.Absolute >= 0 && o.Absolute <= 1e300):
		return options.Wrongf("absolute", "is %v: it must be 0 or more, and finite", o.Absolute)
	case !(o.Relative >= 0 && o.Relative < 1):
		return options.Wrongf("relative", "is %v: it must be 0 or more and below 1, such as relative: 0.01 for 1 %%", o.Relative)
	}
	return nil
}

// New makes the reward.
func (o *Numeric) New() (Reward, error) {
	return numericReward{absolute: new(big.Rat).SetFloat64(o.Absolute), relative: new(big.Rat).SetFloat64(o.Relative)}, nil
}

type numericReward struct{ absolute, relative *big.Rat }

var _ Comparer = numericReward{}

func (numericReward) Version() string      { return "1" }
func (numericReward) NeedsReference() bool { return true }

func (n numericReward) Score(_ context.Context, c stillhouse.Candidate) stillhouse.Score {
	if s, missing := noReference(c); missing {
		return s
	}
	reference, err := answer.Reference(*c.Reference)
	if err != nil {
		return cannotTell("reference: %v", err)
	}
	given, err := answer.Final(c.Text())
	if err != nil {
		return cannotTell("%v; reference %v", err, reference)
	}
	if relation, _ := answer.Compare(reference, given); relation == answer.Same {
		return judged(true, "read %v from %q, reference %v", given, given.From, reference)
	}
	want, unit, ok := rational(reference)
	if !ok {
		return cannotTell("the reference %v is not one number that is short enough", reference)
	}
	got, hasUnit, ok := rational(given)
	if !ok {
		return cannotTell("read %v from %q, which is not one number that is short enough", given, given.From)
	}
	if unit != hasUnit && unit != "" && hasUnit != "" {
		return cannotTell("read %v from %q, reference %v: the units differ", given, given.From, reference)
	}
	off := new(big.Rat).Sub(got, want)
	off.Abs(off)
	allowed := new(big.Rat).Abs(want)
	allowed.Mul(allowed, n.relative)
	near := off.Cmp(n.absolute) <= 0 || off.Cmp(allowed) <= 0
	apart, _ := off.Float64()
	return judged(near, "read %v from %q, reference %v: off by %.4g", given, given.From, reference, apart)
}

// rational is the value and the unit of an answer that is one number, as it is written.
func rational(a answer.Answer) (v *big.Rat, unit string, ok bool) {
	number, unit, _ := strings.Cut(a.String(), " ")
	if unit != "" && strings.ContainsAny(unit, "=…0123456789") || strings.ContainsAny(number, "eE…") {
		return nil, "", false
	}
	v, ok = new(big.Rat).SetString(number)
	return v, unit, ok
}
