// Package accuracy is what an evaluation says in numbers: how often a model is right, how sure that is, and by how
// much one model is better than another on the same problems.
//
// The unit is the problem. A problem's share is the number of right answers among the samples drawn for it, and an
// accuracy is the mean of the shares. The intervals are over problems, which are taken as drawn at random from all
// problems of their kind; that the samples of one problem resemble each other is thereby allowed for.
package accuracy

import (
	"math"

	"stillhouse"
)

// Tally is what came of one problem: how many of its samples were right.
type Tally struct {
	Right   int `json:"right"`
	Samples int `json:"samples"` // at least 1
}

// Share is the part of the samples that were right, 0…1.
func (t Tally) Share() float64 { return float64(t.Right) / float64(t.Samples) }

// Estimate is a figure with its 95 % interval: Low ≤ Value ≤ High.
type Estimate struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// z is the 97.5 % point of the normal distribution.
const z = 1.959963984540054

// Of is the accuracy on the problems: the mean m of their shares.
//
// The interval is that of Agresti and Coull (1998), "plus four", carried over from answers to shares: two problems
// answered rightly and two answered wrongly are added to the n that were seen, and Low and High are the mean of those
// n+4 shares ∓ 1.96·s/√(n+4), s² their variance with divisor n+4, cut to 0…1. For n in the hundreds this is within
// 0.01 of m ∓ 1.96·s/√n; unlike that, it doesn't shrink to nothing when all problems came out the same.
//
// It is an error when there are no problems, and when a tally is impossible.
func Of(tallies []Tally) (Estimate, error) {
	values, err := shares(tallies)
	if err != nil {
		return Estimate{}, err
	}
	return interval(values, 0, []weighted{{1, 2}, {0, 2}}), nil
}

// Difference is by how much a is better than b: the mean of the differences of their shares, problem by problem, -1…1.
// The i-th tallies of a and b must be of the same problem.
//
// The interval is that of Agresti and Min (2005) for matched pairs, carried over from answers to shares: two problems
// are added to the n that were seen, one on which both agree and one that counts half for a and half for b. Low and
// High are the mean of those n+2 differences ∓ 1.96·s/√(n+2), cut to -1…1.
//
// It is an error when a and b aren't of the same number of problems, when there are none, and when a tally is
// impossible.
func Difference(a, b []Tally) (Estimate, error) {
	if len(a) != len(b) {
		return Estimate{}, stillhouse.Invalidf("accuracy: %d problems cannot be paired with %d: evaluate both on the same problems", len(a), len(b))
	}
	x, err := shares(a)
	if err != nil {
		return Estimate{}, err
	}
	y, err := shares(b)
	if err != nil {
		return Estimate{}, err
	}
	for i := range x {
		x[i] -= y[i]
	}
	return interval(x, -1, []weighted{{1, 0.5}, {-1, 0.5}, {0, 1}}), nil
}

func shares(tallies []Tally) ([]float64, error) {
	if len(tallies) == 0 {
		return nil, stillhouse.Invalidf("accuracy: there are no problems: give at least one")
	}
	out := make([]float64, len(tallies))
	for i, t := range tallies {
		if t.Samples < 1 || t.Right < 0 || t.Right > t.Samples {
			return nil, stillhouse.Invalidf("accuracy: problem %d: %d right of %d samples is impossible", i, t.Right, t.Samples)
		}
		out[i] = t.Share()
	}
	return out, nil
}

// A weighted value counts as weight problems.
type weighted struct{ value, weight float64 }

// interval is the mean of the values, and around it the normal interval of the values with the added ones, cut to
// low…1. The mean is itself in the interval.
func interval(values []float64, low float64, added []weighted) Estimate {
	var n, sum float64
	for _, v := range values {
		n++
		sum += v
	}
	mean := sum / n
	for _, a := range added {
		n += a.weight
		sum += a.weight * a.value
	}
	center := sum / n
	var square float64
	for _, v := range values {
		square += (v - center) * (v - center)
	}
	for _, a := range added {
		square += a.weight * (a.value - center) * (a.value - center)
	}
	half := z * math.Sqrt(square/n/n)
	return Estimate{
		Value: mean,
		Low:   math.Min(mean, math.Max(low, center-half)),
		High:  math.Max(mean, math.Min(1, center+half)),
	}
}
