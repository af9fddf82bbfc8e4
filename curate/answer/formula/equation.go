package formula

import (
	"math/big"
)

// equations compares the solutions of two equations. Multiples of each other are the same. Otherwise a point that
// solves one, and not the other, tells them apart.
func (c *comparer) equations(a, b *Node) Relation {
	p, ok := difference(a)
	q, okB := difference(b)
	if !ok || !okB {
		return Undecided
	}
	if c.proportional(p, q) == Same {
		return Same
	}
	left, errA := c.solutions(p, q)
	right, errB := c.solutions(q, p)
	switch {
	case left == Different || right == Different:
		return Different
	case errA == nil && errB == nil && left == Same && right == Same:
		return Same
	}
	return Undecided
}

func difference(n *Node) (*Node, bool) {
	if !n.Args[0].scalar() || !n.Args[1].scalar() {
		return nil, false
	}
	return simplify(sub(n.Args[0], n.Args[1])), true
}

// proportional reports whether one is the other times a constant that isn't zero.
func (c *comparer) proportional(p, q *Node) Relation {
	names := symbols(p, q)
	if len(names) == 0 || !equalKeys(symbols(p), symbols(q)) {
		return Undecided
	}
	at, bt := p, q
	for name := range names {
		v := newNumber(sample(2, len(name)+int(name[0]), false), -1)
		at, bt = at.replace(name, v), bt.replace(name, v)
	}
	at, bt = simplify(at), simplify(bt)
	if c.scalar(at, whole(0)) != Different || c.scalar(bt, whole(0)) != Different {
		return Undecided
	}
	return c.scalar(mul(p, bt), mul(q, at))
}

// solutions looks at points modulo a prime where p vanishes: Same when q does too at all of them, Different when it doesn't
// at one. The points are found in a variable of which p is a polynomial of the first or second degree.
func (c *comparer) solutions(p, q *Node) (Relation, error) {
	found := 0
	for name := range symbols(p) {
		poly, ok := coefficients(numerator(p), name)
		if !ok || len(poly) > 3 {
			continue
		}
		for point := range uint64(12) {
			f := &field{p: primes[point%4], c: c, point: point + 100, at: map[string]uint64{}}
			roots, err := f.roots(poly)
			if err != nil {
				return Undecided, err
			}
			for _, r := range roots {
				f.at[name] = r
				zero, err := f.eval(p)
				if err != nil || zero != 0 {
					continue
				}
				v, err := f.eval(q)
				if err != nil {
					return Undecided, err
				}
				if v != 0 {
					return Different, nil
				}
				found++
			}
			delete(f.at, name)
		}
		if found >= 4 {
			return Same, nil
		}
	}
	return Undecided, errTranscendental
}

// numerator is a function whose zeros are those of n, and which may be a polynomial.
func numerator(n *Node) *Node {
	if n.Kind == Div {
		return n.Args[0]
	}
	return n
}

// roots solves a polynomial of degree one or two.
func (f *field) roots(poly []*Node) ([]uint64, error) {
	c := [3]uint64{}
	for i, n := range poly {
		v, err := f.eval(n)
		if err != nil {
			return nil, err
		}
		c[i] = v
	}
	if c[2] == 0 {
		inv, err := f.inv(c[1])
		if err != nil {
			return nil, nil
		}
		return []uint64{f.mul(f.neg(c[0]), inv)}, nil
	}
	d := f.add(f.mul(c[1], c[1]), f.neg(f.mul(4, f.mul(c[0], c[2]))))
	s, ok := f.sqrt(d)
	if !ok {
		return nil, nil
	}
	inv, err := f.inv(f.mul(2, c[2]))
	if err != nil {
		return nil, err
	}
	return []uint64{f.mul(f.add(f.neg(c[1]), s), inv), f.mul(f.add(f.neg(c[1]), f.neg(s)), inv)}, nil
}

// solves compares an equation with a number: in one variable it must be the only solution.
func (c *comparer) solves(equation, number *Node) Relation {
	p, ok := difference(equation)
	names := symbols(p)
	if !ok || len(names) == 0 || len(symbols(number)) > 0 {
		return Undecided
	}
	if value := equation.Args[1]; len(names) > 1 { // x + y = 12 says what x + y is
		if len(symbols(value)) == 0 && c.scalar(value, number) == Same {
			return Same
		}
		return Undecided
	}
	for name := range names {
		at := simplify(p.replace(name, number))
		zero := whole(0)
		if poly, ok := coefficients(p, name); ok && len(poly) == 2 {
			return c.scalar(simplify(neg(div(poly[0], poly[1]))), number)
		}
		if c.scalar(at, zero) == Different {
			return Different
		}
	}
	return Undecided
}

// inequalities compares two by what stands on the left less what stands on the right: a positive multiple is the same.
func (c *comparer) inequalities(a, b *Node) Relation {
	if a.Kind != Statement || b.Kind != Statement {
		return Undecided
	}
	p, strictA, ok := oriented(a)
	q, strictB, okB := oriented(b)
	if !ok || !okB {
		return Undecided
	}
	if c.proportional(p, q) != Same {
		return Undecided
	}
	for name := range symbols(p, q) {
		v := newNumber(sample(2, len(name)+int(name[0]), false), -1)
		p, q = p.replace(name, v), q.replace(name, v)
	}
	x, err := c.order(simplify(p), whole(0))
	if err != nil {
		return Undecided
	}
	y, err := c.order(simplify(q), whole(0))
	if err != nil {
		return Undecided
	}
	if strictA == "≠" && strictB == "≠" || x == y && strictA == strictB {
		return Same
	}
	return Different
}

// oriented is f of an inequality f > 0, f ≥ 0 or f ≠ 0.
func oriented(n *Node) (f *Node, op string, ok bool) {
	if !n.Args[0].scalar() || !n.Args[1].scalar() {
		return nil, "", false
	}
	f = sub(n.Args[0], n.Args[1])
	switch n.Name {
	case "<", "≤":
		return simplify(neg(f)), map[string]string{"<": ">", "≤": "≥"}[n.Name], true
	case ">", "≥", "≠":
		return simplify(f), n.Name, true
	}
	return nil, "", false
}

// witness looks for a number that satisfies one condition in one variable and not the other.
func (c *comparer) witness(a, b *Node) Relation {
	names := symbols(a, b)
	if len(names) != 1 {
		return Undecided
	}
	name := ""
	for name = range names {
	}
	inside := func(n *Node) func(v *big.Rat) (bool, error) {
		if relational(n) {
			return func(v *big.Rat) (bool, error) { return c.holds(n, name, v) }
		}
		s, err := c.set(n)
		return func(v *big.Rat) (bool, error) {
			if err != nil {
				return false, err
			}
			point, err := c.point(newNumber(v, -1))
			if err != nil {
				return false, err
			}
			both, err := c.merge(s, point, func(a, b bool) bool { return a && b })
			if err != nil {
				return false, err
			}
			for _, in := range both.in {
				if in {
					return true, nil
				}
			}
			return false, nil
		}
	}
	inA, inB := inside(a), inside(b)
	for k := int64(-60); k <= 60; k++ {
		v := big.NewRat(k, 4)
		x, err := inA(v)
		if err != nil {
			return Undecided
		}
		y, err := inB(v)
		if err != nil {
			return Undecided
		}
		if x != y {
			return Different
		}
	}
	return Undecided
}
