package formula

import (
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// argument reads what a macro takes: a group, a digit or a variable.
func (p *parser) argument() (*Node, error) {
	t := &p.tokens[p.i]
	if t.class == digits && len(t.text) > 1 && strings.Trim(t.text, "0123456789") == "" && t.decimals == 0 { // \frac12
		first := t.text[:1]
		rest, _ := new(big.Int).SetString(t.text[1:], 10)
		t.text, t.value = t.text[1:], new(big.Rat).SetInt(rest)
		return whole(int64(first[0] - '0')), nil
	}
	n, err := p.plainPrimary()
	if err == nil && !n.scalar() {
		err = errSyntax
	}
	return n, err
}

// plainPrimary is a primary that isn't the whole part of a mixed number.
func (p *parser) plainPrimary() (*Node, error) {
	if t := p.peek(); t.class == digits {
		p.i++
		return newNumber(t.value, t.decimals), nil
	}
	return p.primary()
}

func (p *parser) named(f string) (*Node, error) {
	switch f {
	case "frac", "binom":
		a, err := p.argument()
		if err != nil {
			return nil, err
		}
		b, err := p.argument()
		if err != nil {
			return nil, err
		}
		if f == "binom" {
			return call(f, a, b), nil
		}
		if differential(a) && differential(b) {
			return nil, errSyntax // a derivative
		}
		n := div(a, b)
		n.grouped = true
		return n, nil
	case "sqrt", "cbrt":
		return p.root(f)
	case "begin":
		return p.environment()
	case "int":
		return p.integral()
	case "sum":
		return p.series()
	case "overline":
		if t := p.peek(); t.text == "{" && p.ahead(2).text == "}" && p.ahead(1).class == letter {
			p.i += 3
			return &Node{Kind: Symbol, Name: "bold " + p.tokens[p.i-2].text}, nil
		}
		return nil, errSyntax
	case "gcd", "lcm", "max", "min":
		n, err := p.plainPrimary()
		if err != nil {
			return nil, err
		}
		if n.Kind != Tuple && n.Kind != Set || !scalars(n.Args) {
			return nil, errSyntax
		}
		return call(f, n.Args...), nil
	case "and", "or", "end", "choose", "pmod", "det", "prod":
		return nil, errSyntax
	}
	return p.function(f)
}

// differential reports whether a node is d, or d times something.
func differential(n *Node) bool {
	if n.Kind == Mul {
		n = n.Args[0]
	}
	return n.Kind == Symbol && n.Name == "d"
}

func (p *parser) root(f string) (*Node, error) {
	k := int64(2)
	if f == "cbrt" {
		k = 3
	}
	if f == "sqrt" && p.take("[") {
		n, err := p.sum()
		if err != nil {
			return nil, err
		}
		if n.Kind != Number || !n.Value.IsInt() || n.Value.Num().BitLen() > 7 || n.Value.Sign() <= 0 || !p.take("]") {
			return nil, errSyntax
		}
		k = n.Value.Num().Int64()
	}
	n, err := p.plainPrimary()
	if err != nil {
		return nil, err
	}
	if !n.scalar() {
		return nil, errSyntax
	}
	r := root(n, k)
	r.grouped = true
	return r, nil
}

// function reads the argument of sin, log and the like. Without brackets it is the factors that stand side by side, up
// to the next function: \sin 2x\cos y is a product of two.
func (p *parser) function(f string) (*Node, error) {
	var power, base *Node
	var err error
	for p.peek().text == "^" || p.peek().text == "_" {
		sub := p.peek().text == "_"
		p.i++
		n, err := p.signedArgument()
		if err != nil {
			return nil, err
		}
		if sub {
			base = n
		} else {
			power = n
		}
	}
	if base != nil && f != "log" {
		return nil, errSyntax
	}
	if power != nil && power.Kind == Number && power.Value.Cmp(big.NewRat(-1, 1)) == 0 {
		inverse, ok := map[string]string{"sin": "arcsin", "cos": "arccos", "tan": "arctan"}[f]
		if !ok {
			return nil, errSyntax
		}
		f, power = inverse, nil
	}
	p.trig++
	defer func() { p.trig-- }()
	bracketed := p.peek().text == "("
	arg, err := p.operand(bracketed)
	if err != nil {
		return nil, err
	}
	for !bracketed && p.starts() && (p.peek().class == letter || p.peek().text == "π" || p.peek().text == "frac" || p.peek().text == "sqrt") {
		n, err := p.power()
		if err != nil {
			return nil, err
		}
		arg = mul(arg, n)
	}
	if !arg.scalar() {
		return nil, errSyntax
	}
	var n *Node
	switch {
	case f == "lg":
		n = call("log", arg, whole(10))
	case base != nil:
		n = call("log", arg, base)
	case f == "exp":
		n = pow(&Node{Kind: Constant, Name: "e"}, arg)
	case f == "log":
		n = call("log?", arg)
	default:
		n = call(f, arg)
	}
	if power != nil {
		n = pow(n, power)
	}
	return n, nil
}

func (p *parser) operand(bracketed bool) (*Node, error) {
	if bracketed {
		return p.primary()
	}
	if minus(p.peek().text) {
		return p.signed()
	}
	return p.power()
}

func (p *parser) signedArgument() (*Node, error) {
	if minus(p.peek().text) {
		return p.signed()
	}
	return p.argument()
}

// bounds reads _a^b.
func (p *parser) bounds() (low, high *Node, err error) {
	for range 2 {
		switch {
		case p.take("_"):
			if p.peek().text == "{" {
				p.i++
				if low, err = p.relation(); err == nil && !p.take("}") {
					err = errSyntax
				}
			} else {
				low, err = p.signedArgument()
			}
		case p.take("^"):
			high, err = p.signedArgument()
		default:
			err = errSyntax
		}
		if err != nil {
			return nil, nil, err
		}
	}
	if low == nil || high == nil {
		return nil, nil, errSyntax
	}
	return low, high, nil
}

// integral reads \int_a^b f\,dx.
func (p *parser) integral() (*Node, error) {
	low, high, err := p.bounds()
	if err != nil {
		return nil, err
	}
	for at := p.i; at+1 < len(p.tokens); at++ {
		if p.tokens[at].class != letter || p.tokens[at].text != "d" || p.tokens[at+1].class != letter {
			continue
		}
		inner := &parser{tokens: append(slices.Clone(p.tokens[p.i:at]), token{class: end}), depth: p.depth}
		f := whole(1)
		if at > p.i {
			if f, err = inner.sum(); err != nil || inner.peek().class != end {
				return nil, errSyntax
			}
		}
		p.i = at + 2
		if !f.scalar() || !low.scalar() || !high.scalar() {
			return nil, errSyntax
		}
		return integrate(&Node{Kind: Integral, Name: p.tokens[at+1].text, Args: []*Node{f, low, high}}), nil
	}
	return nil, errSyntax
}

// series reads \sum_{k=1}^n f, and adds up what is finite and short.
func (p *parser) series() (*Node, error) {
	low, high, err := p.bounds()
	if err != nil {
		return nil, err
	}
	if low.Kind != Statement || low.Name != "=" || low.Args[0].Kind != Symbol && low.Args[0].Name != "i" {
		return nil, errSyntax
	}
	f, err := p.product()
	if err != nil {
		return nil, err
	}
	index, from := low.Args[0].Name, low.Args[1]
	if low.Args[0].Kind == Constant {
		f = unimaginary(f)
	}
	if !f.scalar() || !high.scalar() {
		return nil, errSyntax
	}
	a, okA := small(from)
	b, okB := small(high)
	if !okA || !okB || b-a > 1000 || int(max(b-a, 1))*f.weight() > maxNodes {
		return &Node{Kind: Sum, Name: index, Args: []*Node{f, from, high}}, nil
	}
	terms := []*Node{whole(0)}
	for k := a; k <= b; k++ {
		terms = append(terms, f.replace(index, whole(k)))
	}
	return add(terms...), nil
}

// unimaginary makes the i that counts a variable.
func unimaginary(n *Node) *Node {
	if n.Kind == Constant && n.Name == "i" {
		return &Node{Kind: Symbol, Name: "i"}
	}
	if len(n.Args) == 0 {
		return n
	}
	return n.rebuild(unimaginary)
}

func small(n *Node) (int64, bool) {
	if n.Kind != Number || !n.Value.IsInt() || n.Value.Num().BitLen() > 20 {
		return 0, false
	}
	v, err := strconv.ParseInt(n.Value.Num().String(), 10, 64)
	return v, err == nil
}
