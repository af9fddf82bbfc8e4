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
	Right  bool    // the verdict of the reward that says what right means

	Path   Path   // how it comes to its answer; filled in for right_distinct
	Answer string // what it answers, "" for none: equal answers are equal texts; filled in for majority
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

// bySample are the places of the rows that are wanted, by their sample numbers.
func bySample(rows []Rated, want func(Rated) bool) []int {
	order := make([]int, 0, len(rows))
	for i, r := range rows {
		if want(r) {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(rows[a].Sample, rows[b].Sample) })
	return order
}

func isRight(r Rated) bool { return r.Right }

// ShortestRight ranks the right candidates: fewest completion tokens, then the higher reward, then the lower sample
// number. A reward that is NaN is the lowest.
func ShortestRight(rows []Rated) []int {
	order := bySample(rows, isRight)
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := rows[a], rows[b]
		return cmp.Or(cmp.Compare(x.Tokens, y.Tokens), cmp.Compare(y.Reward, x.Reward)) // NaN is below all numbers
	})
	return order
}

// InBand says whether the share of right candidates is in lo to hi, both included. Without candidates it is not.
func InBand(rows []Rated, lo, hi float64) bool {
	right := 0
	for _, r := range rows {
		if r.Right {
			right++
		}
	}
	// Two fractions of small numbers that are equal are equal as floats too, since division rounds rightly.
	share := float64(right) / float64(len(rows))
	return lo <= share && share <= hi
}

// A Vote is what most candidates of a prompt answer.
type Vote struct {
	Answer string
	Votes  int
	Tied   bool  // another answer has as many votes: this one comes first by sample number
	Rows   []int // that agree, by sample number
}

// Majority counts the answers of the candidates: self-consistency of Wang et al., "Self-Consistency Improves Chain of
// Thought Reasoning in Language Models" (2022). Candidates without an answer do not vote; where none does, the vote is zero.
func Majority(rows []Rated) (v Vote) {
	groups := map[string][]int{}
	var answers []string // in the order in which they are first given
	for _, i := range bySample(rows, func(r Rated) bool { return r.Answer != "" }) {
		a := rows[i].Answer
		if groups[a] == nil {
			answers = append(answers, a)
		}
		groups[a] = append(groups[a], i)
	}
	for _, a := range answers {
		switch n := len(groups[a]); {
		case n > v.Votes:
			v = Vote{Answer: a, Votes: n, Rows: groups[a]}
		case n == v.Votes:
			v.Tied = true
		}
	}
	return v
}

// Softmax ranks the candidates of a prompt by chance: the first n are n draws without replacement, each with a chance
// proportional to exp(reward / temperature) among those that are left. They are drawn by the Gumbel-top-k trick of Kool et al., "Stochastic Beams
// and Where to Find Them" (2019), with noise that is a hash of seed, prompt and sample number: nothing else that is drawn,
// and no order of rows, changes it. A candidate whose reward is NaN is not in it.
func Softmax(id string, rows []Rated, temperature float64, seed int64) []int {
	keys := make([]float64, len(rows))
	for i, r := range rows {
		u := (float64(draw(seed, "softmax", id, r.Sample)>>11) + 0.5) / (1 << 53)
		keys[i] = r.Reward/temperature - math.Log(-math.Log(u))
	}
	order := BestOrder(rows)
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(keys[b], keys[a]) })
	return order
}

// Preference chooses a preference pair: the best candidate, and of those with a lower reward the last in [BestOrder] whose reward
// is lower by at least margin and whose length differs by at most length completion tokens; a negative length is no bound. ok is false where there is none.
func Preference(rows []Rated, margin float64, length int) (chosen, rejected int, ok bool) {
	order := BestOrder(rows)
	if len(order) == 0 {
		return 0, 0, false
	}
	top := rows[order[0]]
	for _, i := range slices.Backward(order[1:]) {
		r := rows[i]
		apart := max(top.Tokens-r.Tokens, r.Tokens-top.Tokens)
		if r.Reward < top.Reward && top.Reward-r.Reward >= margin && (length < 0 || int(apart) <= length) {
			return order[0], i, true
		}
	}
	return order[0], 0, false
}
