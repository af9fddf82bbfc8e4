package formula

import (
	"context"
	"errors"
	"math"
	"math/big"
	"slices"
)

// A Relation is what a comparison found.
type Relation int

// What a comparison found. Undecided is what can't be proved, or depends on the question.
const (
	Undecided Relation = iota
	Same
	Different
)

// maxWork is how much a comparison may compute, in about microseconds.
const maxWork = 400_000

// A comparer has so much work left.
type comparer struct {
	ctx     context.Context
	fuel    int
	natural bool // log without a base is the natural one
}

func (c *comparer) spend(work int) error {
	before := c.fuel >> 10
	if c.fuel -= work; c.fuel < 0 {
		return errTooLarge
	}
	if before != c.fuel>>10 && c.ctx.Err() != nil {
		return c.ctx.Err()
	}
	return nil
}

func (n *Node) has(test func(*Node) bool) bool {
	return !n.walk(func(m *Node) bool { return !test(m) })
}

func isCall(names ...string) func(*Node) bool {
	return func(n *Node) bool { return n.Kind == Call && slices.Contains(names, n.Name) }
}

// scalar compares two numbers or functions.
func (c *comparer) scalar(a, b *Node) Relation {
	ia, ib := a.isInfinite(), b.isInfinite()
	if ia != 0 || ib != 0 {
		switch {
		case ia == ib:
			return Same
		case ia != 0 && ib != 0 || c.finite(a) || c.finite(b):
			return Different
		}
		return Undecided
	}
	r, err := c.modular(a, b)
	if err == nil {
		if r == Different && len(symbols(a, b)) == 0 {
			return c.rounded(a, b)
		}
		return r
	}
	if !errors.Is(err, errTranscendental) {
		return Undecided
	}
	if towers(a, b) || towers(b, a) {
		return Different
	}
	if isLog := isCall("log?"); a.has(isLog) || b.has(isLog) {
		c.natural = true
		natural := c.numeric(a, b)
		c.natural = false
		if decimal := c.numeric(a, b); decimal != natural {
			return Undecided // which logarithm is meant depends on the question
		}
		return natural
	}
	return c.numeric(a, b)
}

// towers reports whether a is a tower of powers that is larger than the number b.
func towers(a, b *Node) bool {
	return a.Kind == Pow && b.Kind == Number && float64(size(b.Value)) < logarithm(a)
}

// logarithm is a lower bound of the binary logarithm of a whole number, or of a tower of powers of them; 0 for all else.
func logarithm(n *Node) float64 {
	switch {
	case n.Kind == Number && n.Value.IsInt() && n.Value.Sign() > 0:
		return float64(n.Value.Num().BitLen() - 1)
	case n.Kind == Pow:
		return logarithm(n.Args[0]) * math.Exp2(min(logarithm(n.Args[1]), 100))
	}
	return 0
}

// integral reports whether a node is a whole number by its form.
func integral(n *Node) bool {
	switch n.Kind {
	case Number:
		return n.Value.IsInt()
	case Pow:
		return integral(n.Args[0]) && n.Args[1].Kind == Number && n.Args[1].Value.IsInt() && n.Args[1].Value.Sign() >= 0
	case Add, Mul:
		return !slices.ContainsFunc(n.Args, func(a *Node) bool { return !integral(a) })
	case Call:
		return n.Name == "!" && integral(n.Args[0])
	}
	return false
}

func (c *comparer) finite(n *Node) bool {
	if len(symbols(n)) > 0 {
		return false
	}
	_, err := c.ball(n)
	return err == nil
}

// numeric compares in ball arithmetic.
func (c *comparer) numeric(a, b *Node) Relation {
	names := symbols(a, b)
	if len(names) == 0 {
		x, errA := c.ball(a)
		y, errB := c.ball(b)
		switch {
		case errA != nil || errB != nil:
			return Undecided
		case !x.meets(y):
			return c.rounded(a, b)
		case !x.close(y):
			return Undecided
		}
		return Same
	}
	return c.sampled(a, b, names)
}

// sampled compares functions at points. A point counts when both are real there; where the first is not real it says
// nothing, and where only the second isn't the two have different domains.
func (c *comparer) sampled(a, b *Node, names map[string]bool) Relation {
	if len(names) > 20 || c.spend(a.weight()+b.weight()) != nil {
		return Undecided
	}
	order := make([]string, 0, len(names))
	for n := range names {
		order = append(order, n)
	}
	slices.Sort(order)
	imaginary := func(n *Node) bool { return n.Kind == Constant && n.Name == "i" }
	complex := a.has(imaginary) || b.has(imaginary)
	discrete := isCall("!", "floor", "ceil", "binom", "gcd", "lcm")
	integers := a.has(discrete) || b.has(discrete)
	agreed, narrower, loose := 0, 0, 0
	for point := range 14 {
		p, q := a, b
		if c.spend((a.weight()+b.weight())*len(names)/4) != nil {
			return Undecided
		}
		for i, name := range order {
			v := newNumber(sample(point, i, integers), -1)
			p, q = p.replace(name, v), q.replace(name, v)
		}
		x, errX := c.ball(simplify(p))
		y, errY := c.ball(simplify(q))
		switch {
		case c.fuel < 0:
			return Undecided
		case errX != nil && errY != nil, errX == nil && !complex && !x.real && errY == nil && !y.real:
			loose++
			continue
		case errX != nil || !complex && !x.real:
			continue
		case errY != nil || !complex && !y.real:
			narrower++
			continue
		case !x.meets(y):
			return Different
		case !x.close(y):
			return Undecided
		}
		agreed++
	}
	if agreed < 3 || narrower > 0 {
		return Undecided
	}
	return Same
}

// sample is a value for the i-th variable: fractions of both signs, some below 1, or small whole numbers.
func sample(point, i int, integer bool) *big.Rat {
	h := uint64(point*31+i*17+7) * 0x9e3779b97f4a7c15
	h ^= h >> 29
	if integer {
		return big.NewRat(int64(3+(uint64(point)+h>>7*5)%9), 1)
	}
	num, den := int64(h>>8%193)+11, int64(211)
	if point%3 == 2 {
		den = 53
	}
	if point >= 8 && (point+i)%2 == 0 || point >= 11 {
		num = -num
	}
	return big.NewRat(num, den)
}

// simplify computes the functions of numbers that are known exactly.
func simplify(n *Node) *Node {
	if len(n.Args) == 0 || !n.scalar() {
		return n
	}
	n = n.rebuild(simplify)
	switch n.Kind {
	case Call:
		return function(n.Name, n.Args...)
	case Root:
		return root(n.Args[0], n.Args[1].Value.Num().Int64())
	}
	return n
}

// rounded judges two numbers that are known to differ. A decimal for a number that has none is the same with six or
// more decimals that are correctly rounded, and can't be judged with two or more, or when it is cut off.
func (c *comparer) rounded(a, b *Node) Relation {
	switch {
	case decimal(b) && !hasDecimal(a):
		return c.near(a, b)
	case decimal(a) && !hasDecimal(b):
		return c.near(b, a)
	}
	return Different
}

func decimal(n *Node) bool { return n.Kind == Number && n.Decimals >= 0 }

// hasDecimal reports whether a number has a finite decimal: a fraction whose denominator has no factor but 2 and 5.
func hasDecimal(n *Node) bool {
	if n.Kind != Number {
		return integral(n)
	}
	d := new(big.Int).Set(n.Value.Denom())
	d.Rsh(d, d.TrailingZeroBits())
	five := new(big.Int).Exp(big.NewInt(5), big.NewInt(int64(d.BitLen()/2+1)), nil)
	return d.BitLen() < maxBits && five.Rem(five, d).Sign() == 0
}

func (c *comparer) near(exact, literal *Node) Relation {
	x, err := c.ball(exact)
	if err != nil || !x.real || literal.Decimals > 1000 {
		return Undecided
	}
	unit := new(big.Rat).SetFrac(big.NewInt(1), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(literal.Decimals)), nil))
	off, _ := float().Sub(x.re, float().SetRat(literal.Value)).Rat(nil)
	if off == nil {
		off = new(big.Rat)
	}
	towards := off.Sign() * x.re.Sign() // positive when the literal is the smaller one
	off.Abs(off)
	half := new(big.Rat).Quo(unit, big.NewRat(2, 1))
	isRounded := off.Cmp(half) <= 0
	isCut := off.Cmp(unit) < 0 && towards > 0
	switch {
	case isRounded && literal.Decimals >= 6:
		return Same
	case (isRounded || isCut) && literal.Decimals > 1:
		return Undecided
	}
	return Different
}
