package curate

import (
	"cmp"
	"math"
	"slices"
)

// A Rated candidate is what selection looks at.
type Rated struct {
	Sample int32   // its number among the prompt's candidates
	Tokens int32   // completion tokens
	Reward float64 // NaN when it could not be judged
}

// BestOrder ranks the candidates of one prompt: reward from high to low, then fewer completion tokens, then the lower
// sample number. It returns places in rows. A candidate whose reward is NaN is not in it.
func BestOrder(rows []Rated) []int {
	order := make([]int, 0, len(rows))
	for i, r := range rows {
		if !math.IsNaN(r.Reward) {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := rows[a], rows[b]
		return cmp.Or(cmp.Compare(y.Reward, x.Reward), cmp.Compare(x.Tokens, y.Tokens), cmp.Compare(x.Sample, y.Sample))
	})
	return order
}

// BestOfK is the first n of BestOrder among the candidates whose reward is at least min; -Inf is no minimum.
func BestOfK(rows []Rated, n int, min float64) []int {
	order := BestOrder(rows)
	for i, at := range order {
		if i == n || rows[at].Reward < min {
			return order[:i]
		}
	}
	return order
}
