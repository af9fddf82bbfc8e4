package problems

import "math/rand/v2"

// slips are by how much a result is missed: the next number, or a carry forgotten.
var slips = []int{-10, -2, -1, 1, 2, 10}

// slip is the answer of somebody who miscounts one step and carries the wrong result on. Step and miss are drawn
// among those that leave all results in 0…Most. The final number is always wrong: each step is one-to-one.
func (p Problem) slip(r *rand.Rand) string {
	type miss struct{ at, delta int }
	var can []miss
	for at := range p.Steps {
		for _, delta := range slips {
			if p.holds(at, delta) {
				can = append(can, miss{at, delta})
			}
		}
	}
	m := pick(r, can) // never empty: the last step's result can always be one more or one less
	return p.working(m.at, m.delta)
}

// holds says whether all results stay in 0…Most when the result of step at is changed by delta.
func (p Problem) holds(at, delta int) bool {
	x := p.Start
	for i, s := range p.Steps {
		x = s.Op.apply(x, s.Operand)
		if i == at {
			x += delta
		}
		if x < 0 || x > Most {
			return false
		}
	}
	return true
}
