package problems

import (
	"math/rand/v2"
	"strings"

	"stillhouse"
)

// Split is a part of all problems that shares no calculation with the other.
type Split string

const (
	Train Split = "train"
	Test  Split = "test"
)

// A Generator makes problems one after another. What it makes depends on its options alone.
type Generator struct {
	Seed   uint64
	Split  Split   // Train when empty
	Slip   float64 // the share of answers that carry a slip, 0…1
	Unique bool    // no calculation twice

	rng  *rand.Rand
	seen map[string]bool
}

// EnsureDefaults fills in what the zero value leaves open.
func (g *Generator) EnsureDefaults() {
	if g.Split == "" {
		g.Split = Train
	}
}

// Validate names the option that is wrong.
func (g *Generator) Validate() error {
	if g.Split != Train && g.Split != Test {
		return stillhouse.Invalidf("problems: split %q is not a split: say train or test", g.Split)
	}
	if !(g.Slip >= 0 && g.Slip <= 1) {
		return stillhouse.Invalidf("problems: slip %v is not a share: say 0 to 1", g.Slip)
	}
	return nil
}

// A Row is a problem with an answer to it, right or slipped.
type Row struct {
	Problem
	Given string // the answer given, working and all
}

// Rows makes the next n rows.
func (g *Generator) Rows(n int) ([]Row, error) {
	g.EnsureDefaults()
	if err := g.Validate(); err != nil {
		return nil, err
	}
	if g.rng == nil {
		g.rng = rand.New(rand.NewPCG(g.Seed, 0x9e3779b97f4a7c15))
		g.seen = map[string]bool{}
	}
	rows := make([]Row, 0, max(0, n))
	for misses := 0; len(rows) < n; {
		p := g.problem()
		if p.HeldOut() != (g.Split == Test) || g.Unique && g.seen[p.Calculation()] {
			if misses++; misses > 10_000 {
				return nil, stillhouse.Invalidf("problems: only %d different calculations were found: ask for fewer rows", len(g.seen))
			}
			continue
		}
		misses = 0
		g.seen[p.Calculation()] = true
		given := p.Answer()
		if g.rng.Float64() < g.Slip {
			given = p.slip(g.rng)
		}
		rows = append(rows, Row{Problem: p, Given: given})
	}
	return rows, nil
}

// problem draws one to three steps and the words that tell them. A step whose result would leave 0…Most is drawn
// again.
func (g *Generator) problem() Problem {
	r := g.rng
	who := r.IntN(len(people))
	other := (who + 1 + r.IntN(len(people)-1)) % len(people)
	t := telling{who: people[who], other: people[other], things: pick(r, things)}
	p := Problem{Start: 2 + r.IntN(59)}
	text := []string{t.say(pick(r, openings), p.Start)}
	x := p.Start
	for range 1 + r.IntN(3) {
		s := step(r)
		for s.Op.apply(x, s.Operand) < 0 || s.Op.apply(x, s.Operand) > Most {
			s = step(r)
		}
		x = s.Op.apply(x, s.Operand)
		p.Steps = append(p.Steps, s)
		text = append(text, t.say(pick(r, ofStep[s.Op]), s.Operand))
	}
	text = append(text, t.say(pick(r, questions), 0))
	p.Question = strings.Join(text, " ")
	return p
}

// step draws an addition or a subtraction of 2…30, and now and then a multiplication by 2 or 3.
func step(r *rand.Rand) Step {
	switch k := r.IntN(10); {
	case k < 4:
		return Step{Plus, 2 + r.IntN(29)}
	case k < 8:
		return Step{Minus, 2 + r.IntN(29)}
	default:
		return Step{Times, 2 + r.IntN(2)}
	}
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }
