package formula

import (
	"context"
	"math/big"
	"slices"
	"strings"
)

// Compare compares a formula with the reference. It gives up, undecided, after a fixed amount of work or when ctx is done.
//
//   - A name may be left out: x = 5 is 5, y = 2x+1 is 2x+1. Other names are different.
//   - Order counts in tuples, intervals, matrices and ratios, not in sets and lists. A list for a tuple is undecided.
//   - Equations and inequalities are the same when their solutions are.
//   - A decimal for a number that has none needs six correctly rounded decimals, and is undecided with two or more.
func Compare(ctx context.Context, reference, given Formula) Relation {
	c := &comparer{ctx: ctx, fuel: maxWork}
	return c.compare(normal(reference.Node), normal(given.Node))
}

// Constant reports whether the formula is one number.
func (f Formula) Constant() bool {
	return f.Node.scalar() && len(symbols(f.Node)) == 0
}

// Name is the x of x = 5, "" for what is no such equation.
func (f Formula) Name() string {
	name, _, _ := assignment(normal(f.Node))
	return name
}

func (c *comparer) compare(a, b *Node) Relation {
	if err := c.spend(10); err != nil {
		return Undecided
	}
	if nameA, valueA, ok := assignment(a); ok {
		if nameB, valueB, ok := assignment(b); ok {
			if nameA == nameB {
				return c.compare(valueA, valueB)
			}
			if len(symbols(valueA)) == 0 || len(symbols(valueB)) == 0 {
				return Different
			}
			return c.equations(a, b)
		}
		if b.Kind != Statement {
			return c.compare(valueA, b)
		}
	} else if _, valueB, ok := assignment(b); ok && a.Kind != Statement {
		return c.compare(a, valueB)
	}
	switch {
	case a.scalar() && b.scalar():
		return c.scalar(a, b)
	case a.Kind == Matrix && b.Kind == Matrix:
		return c.matrices(a, b)
	case a.Kind == Ratio && b.Kind == Ratio:
		return c.ratios(a, b)
	case a.Kind == Statement && b.Kind == Statement && a.Name == "=" && b.Name == "=":
		return c.equations(a, b)
	case a.Kind == Tuple && b.Kind == Tuple:
		return c.tuples(a, b)
	case finiteKind(a) && finiteKind(b):
		return c.elements(a, b)
	case a.Kind == Tuple && finiteKind(b), b.Kind == Tuple && finiteKind(a):
		if c.elements(a, b) == Different {
			return Different
		}
		return Undecided
	case a.Kind == Statement && a.Name == "=" && b.scalar():
		return c.solves(a, b)
	case b.Kind == Statement && b.Name == "=" && a.scalar():
		return c.solves(b, a)
	case a.Kind == Matrix || b.Kind == Matrix:
		return c.vectors(a, b)
	case a.scalar() && (finiteKind(b) || b.Kind == Tuple), b.scalar() && (finiteKind(a) || a.Kind == Tuple):
		return c.single(a, b)
	case a.Kind == Ratio && b.scalar() || b.Kind == Ratio && a.scalar():
		return Undecided
	}
	return c.regions(a, b)
}

func finiteKind(n *Node) bool { return n.Kind == Set || n.Kind == List }

// single compares a number with a set or a tuple: the same only as its one element.
func (c *comparer) single(a, b *Node) Relation {
	if b.scalar() {
		a, b = b, a
	}
	if b.Kind != Tuple && len(b.Args) > 0 {
		all := Same
		for _, e := range b.Args {
			if r := c.compare(a, e); r != Same {
				all = min(all, Undecided)
				if r == Different {
					return Different
				}
			}
		}
		return all
	}
	if len(b.Args) == 0 && !c.finite(a) {
		return Undecided
	}
	return Different
}

// tuples compares element by element. Names, where both have them, must be the same.
func (c *comparer) tuples(a, b *Node) Relation {
	if a.Name != "" && b.Name != "" && a.Name != b.Name {
		na, nb := strings.Split(a.Name, ","), strings.Split(b.Name, ",")
		if slices.Equal(slices.Sorted(slices.Values(na)), slices.Sorted(slices.Values(nb))) {
			m := &Node{Kind: Tuple, Name: a.Name}
			for _, name := range na {
				m.Args = append(m.Args, b.Args[slices.Index(nb, name)])
			}
			return c.tuples(a, m)
		}
		return Different
	}
	return c.each(a.Args, b.Args)
}

func (c *comparer) each(a, b []*Node) Relation {
	if len(a) != len(b) {
		return Different
	}
	all := Same
	for i := range a {
		switch c.compare(a[i], b[i]) {
		case Different:
			return Different
		case Undecided:
			all = Undecided
		}
	}
	return all
}

func (c *comparer) matrices(a, b *Node) Relation {
	if len(a.Args) != len(b.Args) || len(a.Args[0].Args) != len(b.Args[0].Args) {
		return Different
	}
	return c.each(a.Args, b.Args)
}

// vectors compares a matrix with what is none: a tuple for a column or a row is undecided.
func (c *comparer) vectors(a, b *Node) Relation {
	if b.Kind == Matrix {
		a, b = b, a
	}
	var flat []*Node
	for _, r := range a.Args {
		flat = append(flat, r.Args...)
	}
	switch {
	case b.Kind == Tuple:
		if len(a.Args) > 1 && len(a.Args[0].Args) > 1 {
			return Undecided
		}
		if c.each(flat, b.Args) == Different {
			return Different
		}
		return Undecided
	case len(flat) == 1 && b.scalar():
		return Undecided
	case b.scalar():
		return Different
	}
	return Undecided
}

func (c *comparer) ratios(a, b *Node) Relation {
	if len(a.Args) != len(b.Args) {
		return Different
	}
	if c.each(a.Args, b.Args) == Same {
		return Same
	}
	all := Same
	if clock(a) && clock(b) {
		all = Undecided // 5:30 and 2:12 are one ratio, and two times
	}
	for i := 1; i < len(a.Args); i++ {
		for _, n := range []*Node{a.Args[0], a.Args[i], b.Args[0], b.Args[i]} {
			if !n.scalar() || c.scalar(n, whole(0)) != Different {
				return Undecided
			}
		}
		switch c.scalar(mul(a.Args[0], b.Args[i]), mul(a.Args[i], b.Args[0])) {
		case Different:
			return Different
		case Undecided:
			all = Undecided
		}
	}
	return all
}

// clock reports whether a ratio may be a time: two digits stand behind the colon.
func clock(n *Node) bool {
	return len(n.Args) == 2 && n.Args[0].Kind == Number && n.Args[1].Kind == Number && len(n.Args[1].Name) == 2 &&
		n.Args[0].Value.Cmp(big.NewRat(24, 1)) <= 0 && n.Args[1].Value.Cmp(big.NewRat(60, 1)) < 0
}

// elements compares sets: each element of one must be one of the other. Lists are sets too.
func (c *comparer) elements(a, b *Node) Relation {
	if len(a.Args) == 0 || len(b.Args) == 0 {
		if len(a.Args) == len(b.Args) {
			return Same
		}
		return Different
	}
	return max0(c.within(a.Args, b.Args), c.within(b.Args, a.Args))
}

// max0 is what holds when both must be the same.
func max0(a, b Relation) Relation {
	switch {
	case a == Different || b == Different:
		return Different
	case a == Same && b == Same:
		return Same
	}
	return Undecided
}

func (c *comparer) within(a, b []*Node) Relation {
	known := map[string]bool{}
	for _, n := range b {
		if n.Kind == Number {
			known[n.Value.String()] = true
		}
	}
	all := Same
	for _, n := range a {
		if n.Kind == Number && known[n.Value.String()] {
			continue
		}
		found := Different
		for _, m := range b {
			if n.Kind == Number && m.Kind == Number && n.Decimals <= 0 && m.Decimals <= 0 && n.Value.IsInt() && m.Value.IsInt() {
				continue
			}
			if r := c.compare(n, m); r == Same {
				found = Same
				break
			} else if r == Undecided {
				found = Undecided
			}
		}
		if found == Different {
			return Different
		}
		if found == Undecided {
			all = Undecided
		}
	}
	return all
}

// regions compares what may be sets of real numbers: intervals, unions, inequalities.
func (c *comparer) regions(a, b *Node) Relation {
	variables := func(n *Node) map[string]bool { return symbols(n) }
	if va, vb := variables(a), variables(b); len(va) == 1 && len(vb) == 1 && relational(a) && relational(b) && !equalKeys(va, vb) {
		return Different // x > 3 and y > 3
	}
	x, errA := c.set(a)
	y, errB := c.set(b)
	if errA == nil && errB == nil {
		return c.sets(x, y)
	}
	if r := c.inequalities(a, b); r != Undecided {
		return r
	}
	return c.witness(a, b)
}

func relational(n *Node) bool { return n.Kind == Statement || n.Kind == All }

func equalKeys(a, b map[string]bool) bool {
	for k := range a {
		if !b[k] {
			return false
		}
	}
	return len(a) == len(b)
}

// OfNumber is the formula of a number, or of an equation for the variable name.
func OfNumber(name string, v *big.Rat, decimals int) Formula {
	n := newNumber(v, decimals)
	if name != "" {
		n = &Node{Kind: Statement, Name: "=", Args: []*Node{{Kind: Symbol, Name: name}, n}}
	}
	return Formula{Node: n}
}

// Times is the formula times a number. What is no number or function stays as it is.
func (f Formula) Times(factor *big.Rat) Formula {
	if f.Node.scalar() {
		f.Node = mul(f.Node, newNumber(factor, -1))
	}
	return f
}

// Radians is an angle in degrees as one in radians.
func (f Formula) Radians() Formula {
	if f.Node.scalar() {
		f.Node = mul(f.Node, div(&Node{Kind: Constant, Name: "π"}, whole(180)))
	}
	return f
}

// HasPi reports whether π stands in the formula.
func (f Formula) HasPi() bool {
	return f.Node.has(func(n *Node) bool { return n.Kind == Constant && n.Name == "π" })
}
