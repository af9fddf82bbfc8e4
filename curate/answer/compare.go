package answer

import (
	"context"
	"fmt"
	"math/big"
	"strings"
)

// A Relation is what a comparison found.
type Relation int

const (
	Undecided Relation = iota // it depends on the question, or on what isn't known
	Same
	Different
)

// Compare compares an answer with the reference, and says why where that isn't plain.
//
//   - A unit may be left out on either side. Units of one kind are converted, of different kinds they are different.
//   - 50% is 0.5; 50 for 50%, or the other way round, depends on the question.
//   - x = 5 and 5 are the same, y = 5 is another.
//   - Formulas are compared as package formula says, words by their letters, choices by theirs. Words and a value are
//     undecided, unless a mark says that they are the answer.
//   - A decimal for a value that has no finite decimal is the same with 6 or more correctly rounded decimals,
//     undecided with two or more, or when it is cut off, and different when a digit is wrong. Any other decimal must be equal, but for float noise: a relative difference under 1e-9 that
//     is also far below the last decimal of the other side.
func Compare(reference, given Answer) (Relation, string) {
	return CompareContext(context.Background(), reference, given)
}

// CompareContext is Compare that gives up, undecided, when ctx is done. Without one it gives up after a fixed amount of work.
func CompareContext(ctx context.Context, reference, given Answer) (Relation, string) {
	if reference.choice != "" {
		switch {
		case given.choice == reference.choice:
			return Same, ""
		case given.choice != "":
			return Different, ""
		case reference.value == nil && given.form == nil:
			return Undecided, "a choice is asked for"
		}
	}
	if reference.value != nil && given.value != nil {
		return quantities(reference, given)
	}
	if reference.text != "" && reference.text == given.text && (reference.form == nil || given.form == nil) {
		return Same, ""
	}
	if (reference.value != nil || reference.form != nil) && (given.value != nil || given.form != nil) {
		return compareForms(ctx, reference, given)
	}
	return compareText(reference, given)
}

// quantities compares two numbers with their units.
func quantities(reference, given Answer) (Relation, string) {
	if reference.name != "" && given.name != "" && reference.name != given.name {
		return Different, fmt.Sprintf("%s is not %s", given.name, reference.name)
	}
	a, b := reference, given
	switch ua, ub := a.unit, b.unit; {
	case ua.dims != nil && ub.dims != nil:
		if !ua.compatible(ub) {
			return Different, fmt.Sprintf("%s is not %s", ub.label, ua.label)
		}
		if ua.factor.Cmp(ub.factor) != 0 || ua.offset != nil {
			a.value, b.value = ua.base(a.value), ub.base(b.value)
			a.decimals, b.decimals = -1, -1
		}
	case ua.dims != nil && !ub.none() || ub.dims != nil && !ua.none():
		if a.value.Cmp(b.value) == 0 {
			return Undecided, fmt.Sprintf("the units %s and %s can't be compared", ua.label, ub.label)
		}
	case ub.label == "cent" || ub.label == "cents":
		if dollars := ub.base(b.value); a.value.Cmp(dollars) == 0 {
			return Same, ""
		}
	}
	r := compare(a, b)
	if r != Same && a.percent != b.percent {
		hundred := big.NewRat(100, 1)
		if a.percent {
			a.value = new(big.Rat).Mul(a.value, hundred)
		} else {
			b.value = new(big.Rat).Mul(b.value, hundred)
		}
		if a.value.Cmp(b.value) == 0 {
			return Undecided, "whether a percent sign is meant depends on the question"
		}
	}
	if r == Undecided {
		return r, "too few decimals to tell"
	}
	return r, ""
}

func compare(a, b Answer) Relation {
	if a.value.Cmp(b.value) == 0 {
		return Same
	}
	switch fa, fb := finite(a.value), finite(b.value); {
	case !fa && fb && b.decimals >= 0:
		return rounded(a.value, b)
	case fa && !fb && a.decimals >= 0:
		return rounded(b.value, a)
	}
	if noise(a, b) {
		return Same
	}
	return Different
}

// rounded compares an exact value with a decimal that can only be close to it.
func rounded(exact *big.Rat, decimal Answer) Relation {
	d := decimal.decimals
	if d > maxExponent {
		return Undecided
	}
	unit := new(big.Rat).SetFrac(big.NewInt(1), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(d)), nil))
	off := new(big.Rat).Sub(exact, decimal.value)
	off.Abs(off)
	isRounded := off.Cmp(new(big.Rat).Quo(unit, big.NewRat(2, 1))) <= 0
	isCut := off.Cmp(unit) < 0 && new(big.Rat).Abs(decimal.value).Cmp(new(big.Rat).Abs(exact)) < 0
	switch {
	case isRounded && d >= 6:
		return Same
	case (isRounded || isCut) && d > 1:
		return Undecided
	}
	return Different
}

// finite reports whether a value has a finite decimal.
func finite(r *big.Rat) bool {
	d := new(big.Int).Set(r.Denom())
	d.Rsh(d, d.TrailingZeroBits())
	if d.BitLen() > 1<<15 {
		return false
	}
	five := new(big.Int).Exp(big.NewInt(5), big.NewInt(int64(d.BitLen()/2+1)), nil)
	return five.Rem(five, d).Sign() == 0
}

// noise reports whether one of two decimals is what floating point made of the other.
func noise(a, b Answer) bool {
	if a.decimals < 0 || b.decimals < 0 || a.decimals == b.decimals || a.value.Sign() == 0 {
		return false
	}
	off := new(big.Rat).Sub(a.value, b.value)
	off.Abs(off)
	limit := new(big.Rat).Abs(a.value)
	if off.Cmp(limit.Mul(limit, big.NewRat(1, 1e9))) >= 0 {
		return false
	}
	d := min(a.decimals, b.decimals) + 6
	return d < maxExponent && off.Cmp(new(big.Rat).SetFrac(big.NewInt(1), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(d)), nil))) < 0
}

// String is the value as a decimal where it has a short one, else as a fraction, with its unit.
func (a Answer) String() string {
	if a.value == nil && a.source != "" {
		return a.source
	}
	if a.value == nil {
		return "nothing"
	}
	var s string
	switch v := a.value; {
	case size(v) > 1<<10:
		s = fmt.Sprintf("a number of %d bits", size(v))
	case v.IsInt():
		s = v.Num().String()
	case finite(v) && v.Denom().BitLen() < 64:
		s = strings.TrimRight(v.FloatString(64), "0")
	default:
		s = v.String()
	}
	if len(s) > 60 {
		s = s[:60] + "…"
	}
	if a.unit.label != "" {
		s += " " + a.unit.label
	}
	if a.name != "" {
		s = a.name + " = " + s
	}
	return s
}
