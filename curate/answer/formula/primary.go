package formula

import (
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// primary reads a number, a variable, what stands in brackets, or a function with its arguments.
func (p *parser) primary() (*Node, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	t := p.peek()
	p.i = min(p.i+1, len(p.tokens)-1)
	switch t.class {
	case digits:
		n := newNumber(t.value, t.decimals)
		if len(t.text) == 2 {
			n.Name = t.text // 5:05 is a time
		}
		return p.mixed(n)
	case letter:
		return p.symbol(t.text)
	case name:
		return p.named(t.text)
	case mark:
		return p.bracket(t.text)
	}
	return nil, errSyntax
}

func (p *parser) bracket(open string) (*Node, error) {
	switch open {
	case "π", "∞":
		return &Node{Kind: Constant, Name: open}, nil
	case "∅":
		return &Node{Kind: Set}, nil
	case "ℝ":
		return reals(), nil
	case "⦃":
		return p.set()
	case "|":
		if p.peek().text == "|" {
			return nil, errSyntax
		}
		p.bars++
		n, err := p.sum()
		if p.bars--; err != nil {
			return nil, err
		}
		if !p.take("|") || !n.scalar() {
			return nil, errSyntax
		}
		return call("abs", n), nil
	case "⌊", "⌈":
		n, err := p.sum()
		if err != nil {
			return nil, err
		}
		if !p.take(map[string]string{"⌊": "⌋", "⌈": "⌉"}[open]) || !n.scalar() {
			return nil, errSyntax
		}
		return call(map[string]string{"⌊": "floor", "⌈": "ceil"}[open], n), nil
	case "(", "[", "{", "⟨", "]":
		return p.group(open)
	}
	return nil, errSyntax
}

func reals() *Node {
	infinity := &Node{Kind: Constant, Name: "∞"}
	return &Node{Kind: Interval, Name: "()", Args: []*Node{neg(infinity), infinity}}
}

// group reads what stands in brackets: one formula, a tuple or an interval.
func (p *parser) group(open string) (*Node, error) {
	bars := p.bars
	p.bars = 0
	n, err := p.list()
	if p.bars = bars; err != nil {
		return nil, err
	}
	shut := p.peek().text
	if p.peek().class != mark {
		return nil, errSyntax
	}
	p.i++
	items := []*Node{n}
	if n.Kind == List && !n.grouped {
		if n.Name != "," {
			return nil, errSyntax
		}
		items = n.Args
	}
	pair := open + shut
	switch {
	case pair == "{}" && len(items) > 1:
		return &Node{Kind: Set, Args: items}, nil
	case (pair == "()" || pair == "{}" || pair == "[]") && len(items) == 1:
		m := *n
		if pair != "{}" && m.Kind == Number {
			m.Decimals = -1
		}
		m.grouped = true
		return &m, nil
	case pair == "()" && len(items) == 2 && (items[0].isInfinite() != 0 || items[1].isInfinite() != 0):
		return &Node{Kind: Interval, Name: pair, Args: items}, nil
	case pair == "()" || pair == "⟨⟩" || pair == "[]" && len(items) > 2:
		return &Node{Kind: Tuple, Args: items}, nil
	case len(items) == 2 && (pair == "[]" || pair == "[)" || pair == "(]" || pair == "][" || pair == "]]" || pair == "[["):
		name := strings.NewReplacer("][", "()", "]]", "(]", "[[", "[)").Replace(pair)
		return &Node{Kind: Interval, Name: name, Args: items}, nil
	}
	return nil, errSyntax
}

// set reads the elements of a set, or the condition in {x | x > 3}.
func (p *parser) set() (*Node, error) {
	if p.take("⦄") {
		return &Node{Kind: Set}, nil
	}
	bars := p.bars
	p.bars = 1 // a bar separates
	n, err := p.list()
	p.bars = bars
	if err != nil {
		return nil, err
	}
	if n.Kind == Ratio && len(n.Args) == 2 && n.Args[0].Kind == Symbol {
		return nil, errSyntax
	}
	if p.take("|") {
		if n.Kind != Symbol && (n.Kind != Statement || n.Name != "∈" || n.Args[0].Kind != Symbol) {
			return nil, errSyntax
		}
		if n, err = p.list(); err == nil && (n.Kind != Statement && n.Kind != All || !p.take("⦄")) {
			err = errSyntax
		}
		return n, err
	}
	if !p.take("⦄") {
		return nil, errSyntax
	}
	if n.Kind == List {
		return &Node{Kind: Set, Args: n.Args}, nil
	}
	return &Node{Kind: Set, Args: []*Node{n}}, nil
}

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
		n, err := p.argumentOrSigned()
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
	arg, err := p.power0(bracketed)
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

func (p *parser) power0(bracketed bool) (*Node, error) {
	if bracketed {
		return p.primary()
	}
	if minus(p.peek().text) {
		return p.signed()
	}
	return p.power()
}

func (p *parser) argumentOrSigned() (*Node, error) {
	if minus(p.peek().text) {
		return p.signed()
	}
	return p.argument()
}

var matrices = map[string]bool{"pmatrix": true, "bmatrix": true, "matrix": true, "smallmatrix": true, "array": true, "Bmatrix": true, "vmatrix": true, "Vmatrix": true}

// environment reads a matrix, or the determinant that vertical bars around one mean.
func (p *parser) environment() (*Node, error) {
	env, ok := p.word()
	if !ok || !matrices[env] {
		return nil, errSyntax
	}
	if env == "array" {
		if !p.take("{") {
			return nil, errSyntax
		}
		for !p.take("}") {
			if p.peek().class == end {
				return nil, errSyntax
			}
			p.i++
		}
	}
	m := &Node{Kind: Matrix}
	row := &Node{Kind: Tuple}
	for p.peek().text != "end" {
		if p.take(`\`) {
			m.Args, row = append(m.Args, row), &Node{Kind: Tuple}
			continue
		}
		if len(row.Args) > 0 && !p.take("&") {
			return nil, errSyntax
		}
		cell, err := p.sum()
		if err != nil {
			return nil, err
		}
		if !cell.scalar() {
			return nil, errSyntax
		}
		row.Args = append(row.Args, cell)
	}
	p.i++
	if shut, ok := p.word(); !ok || shut != env {
		return nil, errSyntax
	}
	if len(row.Args) > 0 {
		m.Args = append(m.Args, row)
	}
	for _, r := range m.Args {
		if len(r.Args) != len(m.Args[0].Args) || len(r.Args) == 0 {
			return nil, errSyntax
		}
	}
	if len(m.Args) == 0 {
		return nil, errSyntax
	}
	if env == "vmatrix" || env == "Vmatrix" {
		return determinant(m)
	}
	return m, nil
}

// word reads letters in braces.
func (p *parser) word() (string, bool) {
	if !p.take("{") {
		return "", false
	}
	text := ""
	for p.peek().class == letter || p.peek().class == words || p.peek().class == name {
		text += p.peek().text
		p.i++
	}
	p.take("*")
	return text, p.take("}")
}

// determinant expands along the first row: up to four rows.
func determinant(m *Node) (*Node, error) {
	n := len(m.Args)
	if n != len(m.Args[0].Args) || n > 4 {
		return nil, errSyntax
	}
	if n == 1 {
		return m.Args[0].Args[0], nil
	}
	var terms []*Node
	for c := range n {
		minor := &Node{Kind: Matrix}
		for _, r := range m.Args[1:] {
			minor.Args = append(minor.Args, &Node{Kind: Tuple, Args: slices.Delete(slices.Clone(r.Args), c, c+1)})
		}
		d, err := determinant(minor)
		if err != nil {
			return nil, err
		}
		t := mul(m.Args[0].Args[c], d)
		if t.weight() > maxNodes/10 {
			return nil, errTooLarge
		}
		if c%2 == 1 {
			t = neg(t)
		}
		terms = append(terms, t)
	}
	return add(terms...), nil
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
				low, err = p.argumentOrSigned()
			}
		case p.take("^"):
			high, err = p.argumentOrSigned()
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

func scalars(nodes []*Node) bool {
	return !slices.ContainsFunc(nodes, func(n *Node) bool { return !n.scalar() })
}
