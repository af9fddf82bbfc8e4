// Package formula reads mathematical formulas, in TeX or plain text, and compares them as values: expressions, equations,
// inequalities, intervals, sets, tuples, matrices and ratios.
//
// Rational functions are compared exactly at random points modulo several primes of 61 bits (Schwartz 1980, Zippel 1979).
// Everything else is compared in complex ball arithmetic: a difference is proved, equality is agreement to 40 digits at
// every point. Nothing is rounded to a float64, and each comparison has a fixed amount of work that it may do.
package formula

import (
	"errors"
	"math/big"
)

// A Kind is what a node is.
type Kind uint8

// The kinds of nodes. Those up to Call are numbers, or functions of their variables.
const (
	Number    Kind = iota // Value
	Symbol                // Name
	Constant              // Name is π, e, i or ∞
	Add                   // of all Args
	Mul                   // of all Args
	Div                   // Args[0] / Args[1]
	Pow                   // Args[0] ^ Args[1]
	Root                  // the Args[1]-th root of Args[0]
	PlusMinus             // ±Args[0]; Name is − for ∓
	Integral              // of Args[0] from Args[1] to Args[2] over Name
	Sum                   // of Args[0] from Args[1] to Args[2] over Name
	Call                  // the function Name of Args

	Tuple     // in round brackets; of two it may be an open interval
	List      // Args with commas or "and" between them
	Set       // of Args
	Interval  // from Args[0] to Args[1]; Name is its two brackets
	Matrix    // its rows are Args, each a Tuple
	Statement // Args[0] Name Args[1]; Name is one of = ≠ < ≤ > ≥ ∈
	All       // of the statements Args, such as 1 < x < 2
	Ratio     // Args[0] : Args[1] : …
	Union
	Intersection
	Difference
)

// A Node is a formula.
type Node struct {
	Kind  Kind
	Name  string
	Value *big.Rat
	Args  []*Node

	// Decimals are the digits behind the point of a Number that is one literal, -1 for any other.
	Decimals int
	// grouped says that the node stands in brackets of its own.
	grouped bool
}

// Errors of what can't be read or has no value.
var (
	errSyntax   = errors.New("not a formula that can be read")
	errTooLarge = errors.New("too large to compute")
	errZero     = errors.New("divides by zero")
)

// What has more bits than this is not computed as a fraction; modulo primes and as a ball it still is.
const maxBits = 1 << 13

// A Number of v with its digits behind the point.
func newNumber(v *big.Rat, decimals int) *Node {
	return &Node{Kind: Number, Value: v, Decimals: decimals}
}

func whole(n int64) *Node { return newNumber(big.NewRat(n, 1), -1) }

func call(name string, args ...*Node) *Node { return &Node{Kind: Call, Name: name, Args: args} }

func (n *Node) scalar() bool { return n.Kind <= Call }

func (n *Node) isInfinite() (sign int) {
	switch {
	case n.Kind == Constant && n.Name == "∞":
		return 1
	case n.Kind == Mul && len(n.Args) == 2 && n.Args[0].Kind == Number && n.Args[1].isInfinite() == 1:
		return n.Args[0].Value.Sign()
	}
	return 0
}

func size(r *big.Rat) int { return r.Num().BitLen() + r.Denom().BitLen() }

func add(args ...*Node) *Node { return fold(Add, args, (*big.Rat).Add) }

func mul(args ...*Node) *Node { return fold(Mul, args, (*big.Rat).Mul) }

// fold computes the operation where its arguments are numbers that are not too large.
func fold(kind Kind, args []*Node, op func(z, x, y *big.Rat) *big.Rat) *Node {
	if len(args) == 1 {
		return args[0]
	}
	for _, a := range args {
		if a.Kind != Number {
			return &Node{Kind: kind, Args: args}
		}
	}
	v := new(big.Rat).Set(args[0].Value)
	for _, a := range args[1:] {
		if op(v, v, a.Value); size(v) > maxBits {
			return &Node{Kind: kind, Args: args}
		}
	}
	return newNumber(v, -1)
}

func neg(a *Node) *Node {
	if a.Kind == Number {
		return newNumber(new(big.Rat).Neg(a.Value), a.Decimals)
	}
	return mul(whole(-1), a)
}

func sub(a, b *Node) *Node { return add(a, neg(b)) }

func div(a, b *Node) *Node {
	if a.Kind == Number && b.Kind == Number && b.Value.Sign() != 0 {
		if v := new(big.Rat).Quo(a.Value, b.Value); size(v) <= maxBits {
			return newNumber(v, -1)
		}
	}
	return &Node{Kind: Div, Args: []*Node{a, b}}
}

func pow(a, b *Node) *Node {
	if a.Kind == Number && b.Kind == Number && b.Value.IsInt() && b.Value.Num().IsInt64() {
		n := b.Value.Num().Int64()
		if wide := int64(size(a.Value)); n >= -maxBits && n <= maxBits && max(n, -n)*wide <= maxBits && (a.Value.Sign() != 0 || n >= 0) {
			k := new(big.Int).Abs(b.Value.Num())
			num, den := new(big.Int).Exp(a.Value.Num(), k, nil), new(big.Int).Exp(a.Value.Denom(), k, nil)
			if n < 0 {
				num, den = den, num
			}
			return newNumber(new(big.Rat).SetFrac(num, den), -1)
		}
	}
	return &Node{Kind: Pow, Args: []*Node{a, b}}
}

// root is the k-th root, exact where it is a rational number.
func root(a *Node, k int64) *Node {
	if a.Kind == Number && (a.Value.Sign() >= 0 || k%2 == 1) && k <= 64 {
		num, ok1 := exactRoot(a.Value.Num(), k)
		den, ok2 := exactRoot(a.Value.Denom(), k)
		if ok1 && ok2 {
			return newNumber(new(big.Rat).SetFrac(num, den), -1)
		}
	}
	return &Node{Kind: Root, Args: []*Node{a, whole(k)}}
}

// exactRoot is the integer r with r^k = n, by bisection.
func exactRoot(n *big.Int, k int64) (*big.Int, bool) {
	if n.BitLen() > maxBits {
		return nil, false
	}
	if k == 2 && n.Sign() >= 0 {
		r := new(big.Int).Sqrt(n)
		return r, new(big.Int).Mul(r, r).Cmp(n) == 0
	}
	if n.BitLen() > 512 {
		return nil, false
	}
	abs, e := new(big.Int).Abs(n), big.NewInt(k)
	low, high := new(big.Int), new(big.Int).Lsh(big.NewInt(1), uint(abs.BitLen()/int(k)+1))
	for low.Cmp(high) < 0 {
		mid := new(big.Int).Add(low, high)
		mid.Rsh(mid.Add(mid, big.NewInt(1)), 1)
		if new(big.Int).Exp(mid, e, nil).Cmp(abs) <= 0 {
			low = mid
		} else {
			high = mid.Sub(mid, big.NewInt(1))
		}
	}
	exact := new(big.Int).Exp(low, e, nil).Cmp(abs) == 0
	if n.Sign() < 0 {
		low = new(big.Int).Neg(low)
	}
	return low, exact
}

// walk visits a node and all below it until visit says no.
func (n *Node) walk(visit func(*Node) bool) bool {
	if !visit(n) {
		return false
	}
	for _, a := range n.Args {
		if !a.walk(visit) {
			return false
		}
	}
	return true
}

// symbols are the names of the variables that are free in the nodes.
func symbols(nodes ...*Node) map[string]bool {
	found := map[string]bool{}
	var visit func(n *Node, bound map[string]bool)
	visit = func(n *Node, bound map[string]bool) {
		switch {
		case n.Kind == Symbol && !bound[n.Name]:
			found[n.Name] = true
		case (n.Kind == Integral || n.Kind == Sum) && !bound[n.Name]:
			inner := map[string]bool{n.Name: true}
			for k := range bound {
				inner[k] = true
			}
			visit(n.Args[0], inner)
			for _, a := range n.Args[1:] {
				visit(a, bound)
			}
			return
		}
		for _, a := range n.Args {
			visit(a, bound)
		}
	}
	for _, n := range nodes {
		visit(n, nil)
	}
	return found
}

// replace puts by in the place of the variable name.
func (n *Node) replace(name string, by *Node) *Node {
	if n.Kind == Symbol && n.Name == name {
		return by
	}
	changed := false
	args := make([]*Node, len(n.Args))
	for i, a := range n.Args {
		args[i] = a
		if (n.Kind != Integral && n.Kind != Sum) || n.Name != name || i > 0 { // there it is another variable
			args[i] = a.replace(name, by)
		}
		changed = changed || args[i] != a
	}
	if !changed {
		return n
	}
	i := -1
	return n.rebuild(func(*Node) *Node { i++; return args[i] })
}

// maxNodes is how large a formula may become that is computed from another: its parts are shared, and a sum of products of
// sums would soon have more terms than there is memory.
const maxNodes = 20_000

// weight is the number of nodes, counted up to a little more than maxNodes.
func (n *Node) weight() int {
	w := 0
	n.walk(func(*Node) bool {
		w++
		return w <= maxNodes
	})
	return w
}

// rebuild makes the node anew from arguments that are changed.
func (n *Node) rebuild(change func(*Node) *Node) *Node {
	args := make([]*Node, len(n.Args))
	for i, a := range n.Args {
		args[i] = change(a)
	}
	switch n.Kind {
	case Add:
		return add(args...)
	case Mul:
		return mul(args...)
	case Div:
		return div(args[0], args[1])
	case Pow:
		return pow(args[0], args[1])
	}
	m := *n
	m.Args = args
	return &m
}
