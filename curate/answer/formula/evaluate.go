package formula

import (
	"math/big"
)

// ball computes a formula without variables.
func (c *comparer) ball(n *Node) (ball, error) {
	if err := c.spend(4); err != nil {
		return ball{}, err
	}
	switch n.Kind {
	case Number:
		return fromRat(n.Value), nil
	case Constant:
		return constant(n.Name)
	case Symbol, Integral, Sum, PlusMinus:
		return ball{}, errTranscendental
	case Pow:
		return c.power(n)
	case Root:
		b, err := c.ball(n.Args[0])
		if err != nil {
			return ball{}, err
		}
		if err := c.spend(50); err != nil {
			return ball{}, err
		}
		return b.root(n.Args[1].Value.Num().Int64())
	}
	if !n.scalar() {
		return ball{}, errTranscendental
	}
	args := make([]ball, len(n.Args))
	for i, a := range n.Args {
		var err error
		if args[i], err = c.ball(a); err != nil {
			return ball{}, err
		}
	}
	switch n.Kind {
	case Add:
		r := args[0]
		for _, a := range args[1:] {
			r = r.add(a)
		}
		return r, nil
	case Mul:
		r := args[0]
		for _, a := range args[1:] {
			r = r.mul(a)
		}
		return r, nil
	case Div:
		inv, err := args[1].inv()
		if err != nil {
			return ball{}, err
		}
		return args[0].mul(inv), nil
	}
	if err := c.spend(300); err != nil {
		return ball{}, err
	}
	return c.call(n.Name, args)
}

func constant(name string) (ball, error) {
	switch name {
	case "π":
		return ball{re: float().Set(pi()), im: float(), rad: ulp(), real: true}, nil
	case "e":
		return exactly(1).exp()
	case "i":
		return ball{re: float(), im: float().SetInt64(1), rad: bound()}, nil
	}
	return ball{}, errTranscendental
}

func (c *comparer) power(n *Node) (ball, error) {
	base, err := c.ball(n.Args[0])
	if err != nil {
		return ball{}, err
	}
	e := n.Args[1]
	if e.Kind == Number && e.Value.IsInt() {
		k := e.Value.Num()
		if !k.IsInt64() || k.BitLen() > 24 {
			return ball{}, errTooLarge
		}
		return base.powInt(k.Int64())
	}
	if err := c.spend(200); err != nil {
		return ball{}, err
	}
	if e.Kind == Number && base.real && e.Value.Denom().Bit(0) == 1 && base.re.Sign() < 0 && e.Value.Denom().BitLen() < 7 && e.Value.Num().BitLen() < 10 {
		r, err := base.root(e.Value.Denom().Int64()) // a real root, as for positive numbers
		if err != nil {
			return ball{}, err
		}
		return r.powInt(e.Value.Num().Int64())
	}
	exponent, err := c.ball(e)
	if err != nil {
		return ball{}, err
	}
	if base.isZero() {
		if s, err := exponent.sign(); err != nil || s <= 0 {
			return ball{}, errZero
		}
		return exactly(0), nil
	}
	l, err := base.log()
	if err != nil {
		return ball{}, err
	}
	return l.mul(exponent).exp()
}

func (c *comparer) call(name string, args []ball) (ball, error) {
	x := args[0]
	switch name {
	case "abs":
		if x.real {
			if x.re.Sign() < 0 {
				return x.neg(), nil
			}
			return x, nil
		}
		conj := ball{re: x.re, im: float().Neg(x.im), rad: x.rad}
		square := x.mul(conj)
		square.im, square.real = float(), true
		return square.sqrt()
	case "ln":
		return x.log()
	case "log", "log?":
		base := exactly(10)
		if len(args) == 2 {
			base = args[1]
		} else if c.natural {
			return x.log()
		}
		return ratio(x, base, ball.log)
	case "sin", "cos", "tan", "cot", "sec", "csc":
		sin, cos, err := x.sinCos()
		if err != nil {
			return ball{}, err
		}
		return trigonometric(name, sin, cos)
	case "sinh", "cosh", "tanh":
		plus, err := x.exp()
		if err != nil {
			return ball{}, err
		}
		less, err := x.neg().exp()
		if err != nil {
			return ball{}, err
		}
		half := fromRat(big.NewRat(1, 2))
		sinh, cosh := plus.add(less.neg()).mul(half), plus.add(less).mul(half)
		return trigonometric(name[:3], sinh, cosh)
	case "arctan":
		return x.arctan()
	case "arcsin":
		return x.arcsin()
	case "arccos":
		s, err := x.arcsin()
		if err != nil {
			return ball{}, err
		}
		return ball{re: float().Quo(pi(), float().SetInt64(2)), im: float(), rad: ulp(), real: true}.add(s.neg()), nil
	case "floor", "ceil":
		return x.round(name == "ceil")
	}
	return ball{}, errTranscendental
}

func ratio(a, b ball, f func(ball) (ball, error)) (ball, error) {
	x, err := f(a)
	if err != nil {
		return ball{}, err
	}
	y, err := f(b)
	if err != nil {
		return ball{}, err
	}
	inv, err := y.inv()
	return x.quotient(inv, err)
}

func (a ball) quotient(b ball, err error) (ball, error) {
	if err != nil {
		return ball{}, err
	}
	return a.mul(b), nil
}

func trigonometric(name string, sin, cos ball) (ball, error) {
	switch name {
	case "sin":
		return sin, nil
	case "cos":
		return cos, nil
	case "csc":
		return sin.inv()
	case "sec":
		return cos.inv()
	case "cot":
		sin, cos = cos, sin
	}
	inv, err := cos.inv()
	return sin.quotient(inv, err)
}

// round is the integer below or above a real number that is no integer itself.
func (b ball) round(up bool) (ball, error) {
	if !b.real || b.re.MantExp(nil) > precision/2 {
		return ball{}, errPrecision
	}
	low, high := float().Sub(b.re, b.rad), float().Add(b.re, b.rad)
	lo, _ := low.Int(nil)
	hi, _ := high.Int(nil)
	if low.Sign() < 0 && !low.IsInt() {
		lo.Sub(lo, big.NewInt(1))
	}
	if high.Sign() < 0 && !high.IsInt() {
		hi.Sub(hi, big.NewInt(1))
	}
	if lo.Cmp(hi) != 0 || b.rad.Sign() > 0 && low.IsInt() {
		return ball{}, errPrecision
	}
	if up && !low.IsInt() {
		lo.Add(lo, big.NewInt(1))
	}
	return ball{re: float().SetInt(lo), im: float(), rad: bound(), real: true}, nil
}

// function is a call, computed where its arguments are numbers that are known exactly.
func function(name string, args ...*Node) *Node {
	n := call(name, args...)
	for _, a := range args {
		if a.Kind != Number {
			return n
		}
	}
	v := args[0].Value
	switch name {
	case "abs":
		return newNumber(new(big.Rat).Abs(v), -1)
	case "floor", "ceil":
		q, m := new(big.Int).DivMod(v.Num(), v.Denom(), new(big.Int))
		if name == "ceil" && m.Sign() > 0 {
			q.Add(q, big.NewInt(1))
		}
		return newNumber(new(big.Rat).SetInt(q), -1)
	case "!":
		if k, ok := small(args[0]); ok && k >= 0 && k <= 500 {
			return newNumber(new(big.Rat).SetInt(new(big.Int).MulRange(1, k)), -1)
		}
	case "binom":
		return binomial(n)
	case "gcd", "lcm", "max", "min":
		return fold(Call, args, map[string]func(z, x, y *big.Rat) *big.Rat{"gcd": gcd, "lcm": lcm, "max": maximum, "min": minimum}[name])
	}
	return n
}

// binomial is x(x-1)…(x-k+1)/k! for a whole k.
func binomial(n *Node) *Node {
	k, ok := small(n.Args[1])
	if !ok || k < 0 || k > 300 || int(k)*n.Args[0].weight() > maxNodes {
		return n
	}
	terms := []*Node{whole(1)}
	for j := range k {
		terms = append(terms, div(sub(n.Args[0], whole(j)), whole(j+1)))
	}
	return mul(terms...)
}

func gcd(z, x, y *big.Rat) *big.Rat {
	if !x.IsInt() || !y.IsInt() {
		return z.SetInt64(0)
	}
	g := new(big.Int).GCD(nil, nil, new(big.Int).Abs(x.Num()), new(big.Int).Abs(y.Num()))
	return z.SetInt(g)
}

func lcm(z, x, y *big.Rat) *big.Rat {
	g := gcd(new(big.Rat), x, y)
	if g.Sign() == 0 {
		return z.SetInt64(0)
	}
	p := new(big.Rat).Mul(x, y)
	return z.Quo(p.Abs(p), g)
}

func maximum(z, x, y *big.Rat) *big.Rat {
	if x.Cmp(y) < 0 {
		x = y
	}
	return z.Set(x)
}

func minimum(z, x, y *big.Rat) *big.Rat {
	if x.Cmp(y) > 0 {
		x = y
	}
	return z.Set(x)
}

// coefficients are those of a polynomial in one variable, lowest first; ok is false when n is none of a degree up to 100.
func coefficients(n *Node, x string) (out []*Node, ok bool) {
	if !symbols(n)[x] {
		return []*Node{n}, n.scalar()
	}
	switch n.Kind {
	case Symbol:
		return []*Node{whole(0), whole(1)}, true
	case Add:
		for _, a := range n.Args {
			p, ok := coefficients(a, x)
			if !ok {
				return nil, false
			}
			for i, c := range p {
				if i == len(out) {
					out = append(out, c)
				} else {
					out[i] = add(out[i], c)
				}
			}
		}
		return out, true
	case Mul:
		out = []*Node{whole(1)}
		for _, a := range n.Args {
			p, ok := coefficients(a, x)
			if !ok {
				return nil, false
			}
			if out = product(out, p); out == nil {
				return nil, false
			}
		}
		return out, true
	case Div:
		p, ok := coefficients(n.Args[0], x)
		if !ok || symbols(n.Args[1])[x] {
			return nil, false
		}
		for _, c := range p {
			out = append(out, div(c, n.Args[1]))
		}
		return out, true
	case Pow:
		p, ok := coefficients(n.Args[0], x)
		k, whole0 := small(n.Args[1])
		if !ok || !whole0 || k < 0 || int64(len(p)-1)*k > 100 {
			return nil, false
		}
		out = []*Node{whole(1)}
		for range k {
			if out = product(out, p); out == nil {
				return nil, false
			}
		}
		return out, true
	}
	return nil, false
}

func product(a, b []*Node) []*Node {
	if len(a)+len(b) > 102 {
		return nil
	}
	out := make([]*Node, len(a)+len(b)-1)
	for i := range out {
		out[i] = whole(0)
	}
	for i, x := range a {
		for j, y := range b {
			out[i+j] = add(out[i+j], mul(x, y))
		}
	}
	for _, n := range out {
		if n.weight() > maxNodes/10 {
			return nil
		}
	}
	return out
}

// integrate computes the integral of a polynomial.
func integrate(n *Node) *Node {
	p, ok := coefficients(n.Args[0], n.Name)
	if !ok {
		return n
	}
	terms := []*Node{whole(0)}
	for k, c := range p {
		e := whole(int64(k + 1))
		terms = append(terms, mul(div(c, e), sub(pow(n.Args[2], e), pow(n.Args[1], e))))
	}
	return add(terms...)
}
