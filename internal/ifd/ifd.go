// Package ifd scores instruction-following difficulty: how much likelier a model finds an answer once it has read the
// instruction (Li et al., arXiv:2308.12032; with a small model, Superfiltering, arXiv:2402.00530, whose published code
// defines the scores here). Near 1 or above, the instruction does not help: the pair is noise or too hard. Far below, the
// answer follows from it by itself.
//
//	ifd.go   scores of many pairs        superfiltering.go, chat.go   what is scored of a pair
package ifd

import (
	"context"
	"fmt"
	"iter"
	"math"

	"stillhouse/internal/student"
)

// A Pair is an instruction, with an input unless it is empty, and the answer to it.
type Pair struct {
	Instruction, Input, Output string
}

// prompt is the text before the answer, as Superfiltering writes it.
func (p Pair) prompt() string {
	if p.Input != "" {
		return p.Instruction + "\n" + p.Input + "\n"
	}
	return p.Instruction + "\n"
}

// A Plan is the two rows that a pair's score comes from: the answer after its prompt, and the answer alone. A pair that
// has no score has rows without labels.
type Plan struct {
	Conditional, Alone student.Labelled
	Missing            string // why there is no score, when that is known before anything is computed
}

// A Variant says what is scored of a pair.
type Variant interface {
	Plan(Pair) (Plan, error)
}

// A Scorer gives rows their negative log-likelihood, in order: [student.Scorer].
type Scorer interface {
	NLL(context.Context, iter.Seq2[student.Labelled, error]) iter.Seq2[student.NLL, error]
}

// A Score is what a model makes of a pair.
type Score struct {
	Conditional, Alone student.NLL // of the answer's tokens after the prompt, and alone
	Missing            string      // why there is no score; "" when there is one
}

// PPL is the ratio of the two perplexities, the number that Superfiltering sorts by: not a number when it is missing.
func (s Score) PPL() float64 {
	if s.Missing != "" {
		return math.NaN()
	}
	return math.Exp(s.Conditional.Mean() - s.Alone.Mean())
}

// Loss is the ratio of the two mean losses: not a number when it is missing.
func (s Score) Loss() float64 {
	if s.Missing != "" {
		return math.NaN()
	}
	return s.Conditional.Mean() / s.Alone.Mean()
}

// Scores reads pairs and yields the score of each, in order, reading no further ahead than the scorer does. An error is
// yielded last of all: it names the pair, counted from 0.
func Scores(ctx context.Context, s Scorer, v Variant, pairs iter.Seq2[Pair, error]) iter.Seq2[Score, error] {
	return func(yield func(Score, error) bool) {
		var ahead []Plan // of the pairs whose rows were read and whose scores are not yet there
		rows := func(yield func(student.Labelled, error) bool) {
			for p, err := range pairs {
				var plan Plan
				if err == nil {
					plan, err = v.Plan(p)
				}
				if err != nil {
					yield(student.Labelled{}, err)
					return
				}
				ahead = append(ahead, plan)
				if !yield(plan.Conditional, nil) || !yield(plan.Alone, nil) {
					return
				}
			}
		}
		var score Score
		n := 0
		for r, err := range s.NLL(ctx, rows) {
			if err != nil {
				yield(Score{}, fmt.Errorf("ifd: pair %d: %w", n/2, err))
				return
			}
			if n++; n%2 == 1 {
				score = Score{Conditional: r}
				continue
			}
			score.Alone, score.Missing = r, ahead[0].Missing
			ahead = ahead[1:]
			switch {
			case score.Missing != "":
			case score.Conditional.Labels == 0:
				score.Missing = "nothing of the answer is left after its prompt"
			case score.Alone.Labels == 0:
				score.Missing = "the answer is one token, which has nothing before it when it stands alone"
			}
			if !yield(score, nil) {
				return
			}
		}
	}
}

// labelled is a row whose tokens are scored from a place on.
func labelled(tokens []int32, from int) student.Labelled {
	r := student.Labelled{Tokens: tokens, Labels: make([]int32, len(tokens))}
	for i, t := range tokens {
		if r.Labels[i] = t; i < from {
			r.Labels[i] = student.Ignored
		}
	}
	return r
}
