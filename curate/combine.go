package curate

import (
	"fmt"
	"math"
	"slices"

	"stillhouse"
	"stillhouse/curate/reward"
	"stillhouse/internal/options"
)

// A Combination is how the scores of a candidate become its one reward. Rewards of weight 0 are scored and don't count.
type Combination string

// The combinations. Where right is asked for, it is the verdict that counts, not the score.
const (
	// Weights is the sum of weight × score; NaN when one of the scores is missing (a timeout, an error).
	Weights Combination = "weights"
	// All is 1 when every reward says right. It is 0 when one says something else, whatever the missing ones would say, and
	// NaN when only missing ones are left to say so.
	All Combination = "all"
	// Any is 1 when one reward says right, whatever the missing ones would say. It is NaN when none does and one is missing,
	// else 0.
	Any Combination = "any"
	// Lexicographic orders by the first reward, equal ones by the second, and so on: see [lexicographic].
	Lexicographic Combination = "lexicographic"
)

var combinations = []string{string(Weights), string(All), string(Any), string(Lexicographic)}

// check is an Invalid error when there is no such combination, or when a weight says what it has no word for.
func (c Combination) check(entries []reward.Entry) error {
	if !slices.Contains(combinations, string(c)) && c != "" {
		return options.Wrongf("combine", "%q is not a way to combine rewards: %s", string(c), options.Nearest(string(c), combinations))
	}
	counting := 0
	for i, e := range entries {
		w := 1.0
		if e.Weight != nil {
			w = *e.Weight
		}
		if w != 0 {
			counting++
		}
		key := fmt.Sprintf("rewards[%d].%s.weight", i, e.Kind)
		switch {
		case (c == All || c == Any) && w != 0 && w != 1:
			return options.Wrongf(key, "is %v, which cannot matter: with combine: %s a reward counts (1) or doesn't (0)", w, c)
		case c == Lexicographic && w != 0 && w != 1 && w != -1:
			return options.Wrongf(key, "is %v, which cannot matter: with combine: lexicographic it can be 1, -1 (less is better) or 0 (scored without counting)", w)
		}
	}
	switch {
	case counting == 0:
		return options.Wrongf("rewards", "have all weight 0: nothing would tell candidates apart")
	case c == Lexicographic && counting > 1+maxTieBreakers:
		return options.Wrongf("rewards", "are %d that count: with combine: lexicographic it can be %d, the first and %d that break ties", counting, 1+maxTieBreakers, maxTieBreakers)
	}
	return nil
}

// reward is what the scores of a candidate come to. They are those of the panel's rewards, in their order.
func (p *panel) reward(scores []stillhouse.Score) float64 {
	switch p.combine {
	case All, Any:
		return p.logical(scores)
	case Lexicographic:
		var order []float64
		for i, s := range scores {
			if w := p.scorers[i].weight; w != 0 {
				order = append(order, float64(w*s.Score))
			}
		}
		return lexicographic(order)
	}
	return p.weighted(scores)
}

// logical is all or any of the verdicts, where a missing one may be either (Kleene's logic).
func (p *panel) logical(scores []stillhouse.Score) float64 {
	missing := false
	for i, s := range scores {
		switch {
		case p.scorers[i].weight == 0:
		case s.Verdict == stillhouse.Timeout || s.Verdict == stillhouse.Errored:
			missing = true
		case p.combine == Any && s.Verdict == stillhouse.Right:
			return 1
		case p.combine == All && s.Verdict != stillhouse.Right:
			return 0
		}
	}
	switch {
	case missing:
		return math.NaN()
	case p.combine == All:
		return 1
	}
	return 0
}

// weighted is the sum of weight × score. Adding up in the order of the config makes it the same everywhere, to the last
// bit.
func (p *panel) weighted(scores []stillhouse.Score) (sum float64) {
	for i, s := range scores {
		if w := p.scorers[i].weight; w != 0 {
			sum += float64(w * s.Score)
		}
	}
	return sum
}

// A reward of lexicographic order is one number, so that every policy can select by it: the first score, rounded up to a
// multiple of lexicographicStep, and in tieBits bits below that the others.
const (
	lexicographicStep = 1.0 / (1 << 20)
	tieBits           = 30
	maxTieBreakers    = 3
)

// lexicographic is one number in the order of scores, compared one after the other. It is at least the first score and
// less than two steps (2e-6) above it, so that a minimum means what it means for the first score alone; first scores that
// lie in one step are ties. The others share tieBits: each is pressed together into 0 to 1 by 1/2 + s/(2 + 2|s|) and cut
// to its bits. Scores from 0 to 1 that are 0.01 apart are told apart also where there are three of them.
//
// A score that is missing (NaN) makes it NaN: what it would have decided is not known. Beyond ±4 the first score takes bits
// that the last of the others would have; no order is turned round by that, but some become ties.
func lexicographic(scores []float64) float64 {
	if len(scores) == 0 || slices.ContainsFunc(scores, math.IsNaN) {
		return math.NaN()
	}
	first := math.Ceil(scores[0]/lexicographicStep) * lexicographicStep
	if math.IsInf(first, 0) { // nothing is left for ties
		return scores[0]
	}
	ties := uint64(0)
	for i, s := range scores[1:] {
		bits := tieBits / (len(scores) - 1)
		cut := min(uint64(pressed(s)*float64(uint64(1)<<bits)), 1<<bits-1)
		ties |= cut << (tieBits - bits*(i+1))
	}
	sum := first + float64(ties)*(lexicographicStep/(1<<tieBits))
	if next := first + lexicographicStep; sum >= next && next > first { // rounded up, since first left too few bits
		sum = math.Nextafter(next, first)
	}
	return sum
}

// pressed is a number from 0 to 1 in the order of all numbers.
func pressed(s float64) float64 {
	if math.IsInf(s, 0) {
		return max(0, math.Copysign(1, s))
	}
	return 0.5 + s/(2+2*math.Abs(s))
}
