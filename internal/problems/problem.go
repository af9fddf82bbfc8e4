// Package problems makes the demo's data from nothing: small worded arithmetic problems, the answers to them, right or
// with a slip, and the tokenizer that writes both in few tokens.
//
//	problem.go    a problem: its question and its calculation       generator.go  problems one after another from a seed
//	words.go      the sentences and every word in them              slip.go       a wrong answer, as a weak teacher gives it
//	tokenizer.go  the tokenizer of these words                      model.go      the folder of a model to be trained
package problems

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// Most is the largest number in a problem: a start, an operand or a result lies in 0…Most, two digits at most.
const Most = 99

// An Op is what a step does to the number before it.
type Op byte

const (
	Plus  Op = '+'
	Minus Op = '-'
	Times Op = '*'
)

func (o Op) apply(x, n int) int {
	switch o {
	case Plus:
		return x + n
	case Minus:
		return x - n
	default:
		return x * n
	}
}

// A Step is one line of a calculation: Operand is joined to the result so far.
type Step struct {
	Op      Op
	Operand int
}

// A Problem is a question in words and the calculation that answers it. Its results all lie in 0…Most.
type Problem struct {
	Question string
	Start    int
	Steps    []Step
}

// Calculation is the problem without its words: 14+9-6, from left to right. Two problems with the same calculation
// are the same arithmetic told of other people and things.
func (p Problem) Calculation() string {
	var b strings.Builder
	b.WriteString(strconv.Itoa(p.Start))
	for _, s := range p.Steps {
		fmt.Fprintf(&b, "%c%d", s.Op, s.Operand)
	}
	return b.String()
}

// Answer is the right answer with its working: "14+9=23. 23-6=17. #### 17".
func (p Problem) Answer() string { return p.working(-1, 0) }

// Result is the number that is asked for.
func (p Problem) Result() int {
	x := p.Start
	for _, s := range p.Steps {
		x = s.Op.apply(x, s.Operand)
	}
	return x
}

// working writes the calculation, the result of step at changed by delta and carried on. No step has the place -1.
func (p Problem) working(at, delta int) string {
	var b strings.Builder
	x := p.Start
	for i, s := range p.Steps {
		y := s.Op.apply(x, s.Operand)
		if i == at {
			y += delta
		}
		fmt.Fprintf(&b, "%d%c%d=%d. ", x, s.Op, s.Operand, y)
		x = y
	}
	fmt.Fprintf(&b, "#### %d", x)
	return b.String()
}

// HeldOut says whether the problem belongs to the test split: one calculation in twenty does, by its hash, in whatever
// words and from whatever seed. A model that has seen the train split alone has met no calculation of the test split.
func (p Problem) HeldOut() bool {
	h := fnv.New32a()
	h.Write([]byte(p.Calculation()))
	return h.Sum32()%20 == 0
}
