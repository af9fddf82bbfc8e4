package formula

import (
	"errors"
	"math/big"
	"slices"
)

// A realset is a union of intervals and points: which of the points, and of the gaps between them, are in it.
type realset struct {
	points []*Node // ascending
	in     []bool  // gap, point, gap, …, gap
}

var errNoSet = errors.New("no set of real numbers that can be read")

// maxPoints bounds how many ends the intervals of a set may have.
const maxPoints = 200

// set reads a node as a set of real numbers. Relations are those in one variable.
func (c *comparer) set(n *Node) (realset, error) {
	if len(n.Args) > maxPoints {
		return realset{}, errTooLarge
	}
	switch n.Kind {
	case Interval:
		return c.interval(n)
	case Tuple:
		if len(n.Args) == 2 && n.Name == "" {
			return c.interval(&Node{Kind: Interval, Name: "()", Args: n.Args})
		}
	case Set:
		r := realset{in: []bool{false}}
		for _, a := range n.Args {
			point, err := c.point(a)
			if err != nil {
				return realset{}, err
			}
			if r, err = c.merge(r, point, func(a, b bool) bool { return a || b }); err != nil {
				return realset{}, err
			}
		}
		return r, nil
	case Union:
		return c.fold(n.Args, func(a, b bool) bool { return a || b })
	case Intersection, All:
		return c.fold(n.Args, func(a, b bool) bool { return a && b })
	case Difference:
		return c.fold(n.Args, func(a, b bool) bool { return a && !b })
	case Statement:
		return c.solve(n)
	}
	if n.scalar() {
		return c.point(n)
	}
	return realset{}, errNoSet
}

func (c *comparer) fold(nodes []*Node, op func(a, b bool) bool) (realset, error) {
	r, err := c.set(nodes[0])
	for _, n := range nodes[1:] {
		if err != nil {
			break
		}
		var s realset
		if s, err = c.set(n); err == nil {
			r, err = c.merge(r, s, op)
		}
	}
	return r, err
}

func (c *comparer) point(n *Node) (realset, error) {
	if b, err := c.ball(n); !n.scalar() || err != nil || !b.real || len(symbols(n)) > 0 {
		return realset{}, errNoSet
	}
	return realset{points: []*Node{n}, in: []bool{false, true, false}}, nil
}

func (c *comparer) interval(n *Node) (realset, error) {
	low, high := n.Args[0], n.Args[1]
	switch {
	case low.isInfinite() < 0 && high.isInfinite() > 0:
		return realset{in: []bool{true}}, nil
	case low.isInfinite() < 0:
		r, err := c.point(high)
		r.in = []bool{true, n.Name[1] == ']', false}
		return r, err
	case high.isInfinite() > 0:
		r, err := c.point(low)
		r.in = []bool{false, n.Name[0] == '[', true}
		return r, err
	}
	if order, err := c.order(low, high); err != nil || order >= 0 {
		return realset{}, errNoSet
	}
	if _, err := c.point(high); err != nil {
		return realset{}, err
	}
	return realset{points: []*Node{low, high}, in: []bool{false, n.Name[0] == '[', true, n.Name[1] == ']', false}}, nil
}

// order compares two real numbers.
func (c *comparer) order(a, b *Node) (int, error) {
	if a.Kind == Number && b.Kind == Number {
		return a.Value.Cmp(b.Value), nil
	}
	x, err := c.ball(a)
	if err != nil {
		return 0, err
	}
	y, err := c.ball(b)
	switch {
	case err != nil:
		return 0, err
	case !x.real || !y.real:
		return 0, errNoSet
	case x.meets(y):
		if !x.close(y) {
			return 0, errPrecision
		}
		return 0, nil
	}
	return x.re.Cmp(y.re), nil
}

// merge combines two sets point by point and gap by gap.
func (c *comparer) merge(a, b realset, op func(a, b bool) bool) (realset, error) {
	r := realset{in: []bool{op(a.in[0], b.in[0])}}
	i, j := 0, 0
	for i < len(a.points) || j < len(b.points) {
		order := -1
		switch {
		case i == len(a.points):
			order = 1
		case j < len(b.points):
			var err error
			if order, err = c.order(a.points[i], b.points[j]); err != nil {
				return realset{}, err
			}
		}
		inA, inB := a.in[2*i], b.in[2*j]
		var at *Node
		if order <= 0 {
			at, inA = a.points[i], a.in[2*i+1]
			i++
		}
		if order >= 0 {
			at, inB = b.points[j], b.in[2*j+1]
			j++
		}
		r.points = append(r.points, at)
		r.in = append(r.in, op(inA, inB), op(a.in[2*i], b.in[2*j]))
	}
	if len(r.points) > maxPoints {
		return realset{}, errTooLarge
	}
	return r, nil
}

// sets compares two sets of real numbers.
func (c *comparer) sets(a, b realset) Relation {
	differ, err := c.merge(a, b, func(a, b bool) bool { return a != b })
	switch {
	case err != nil:
		return Undecided
	case slices.Contains(differ.in, true):
		return Different
	}
	return Same
}

// solve is what satisfies a relation that is linear in its one variable.
func (c *comparer) solve(n *Node) (realset, error) {
	names := symbols(n)
	if len(names) != 1 || !n.Args[0].scalar() || !n.Args[1].scalar() {
		return realset{}, errNoSet
	}
	name := ""
	for name = range names {
	}
	op := n.Name
	if inf := n.Args[1].isInfinite(); inf != 0 && n.Args[0].Kind == Symbol && (op == "<" && inf > 0 || op == ">" && inf < 0) {
		return realset{in: []bool{true}}, nil // x < ∞
	}
	if inf := n.Args[0].isInfinite(); inf != 0 && n.Args[1].Kind == Symbol && (op == "<" && inf < 0 || op == ">" && inf > 0) {
		return realset{in: []bool{true}}, nil
	}
	p, ok := coefficients(sub(n.Args[0], n.Args[1]), name)
	for ok && len(p) > 2 && c.scalar(p[len(p)-1], whole(0)) == Same {
		p = p[:len(p)-1]
	}
	if !ok || len(p) != 2 {
		return realset{}, errNoSet
	}
	slope, err := c.order(p[1], whole(0))
	if err != nil || slope == 0 {
		return realset{}, errNoSet
	}
	if slope < 0 {
		op = map[string]string{"<": ">", ">": "<", "≤": "≥", "≥": "≤"}[op]
		if op == "" {
			op = n.Name
		}
	}
	r, err := c.point(simplify(neg(div(p[0], p[1]))))
	r.in = map[string][]bool{"=": {false, true, false}, "≠": {true, false, true}, "<": {true, false, false}, "≤": {true, true, false},
		">": {false, false, true}, "≥": {false, true, true}}[op]
	if r.in == nil {
		return realset{}, errNoSet
	}
	return r, err
}

// holds reports whether a relation is true with a number in the place of its variable.
func (c *comparer) holds(n *Node, name string, v *big.Rat) (bool, error) {
	if n.Kind == All {
		for _, a := range n.Args {
			if ok, err := c.holds(a, name, v); err != nil || !ok {
				return false, err
			}
		}
		return true, nil
	}
	at := newNumber(v, -1)
	if n.Kind != Statement || !n.Args[0].scalar() || !n.Args[1].scalar() {
		return false, errNoSet
	}
	order, err := c.order(simplify(n.Args[0].replace(name, at)), simplify(n.Args[1].replace(name, at)))
	if err != nil {
		return false, err
	}
	switch n.Name {
	case "<":
		return order < 0, nil
	case "≤":
		return order <= 0, nil
	case ">":
		return order > 0, nil
	case "≥":
		return order >= 0, nil
	case "=":
		return order == 0, nil
	}
	return order != 0, nil
}
