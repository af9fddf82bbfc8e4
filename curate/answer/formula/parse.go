package formula

import (
	"math/big"
	"slices"
	"strings"
)

// A Formula is what was read.
type Formula struct {
	Node *Node
	Unit string // words behind it, such as cm
	// Degrees says that a degree sign stands at an angle outside of any function.
	Degrees bool
}

// Parse reads a formula, in TeX or plain text. What is ambiguous, such as 1/2x, is an error.
func Parse(s string) (Formula, error) {
	if len(s) > maxText {
		return Formula{}, errTooLarge
	}
	tokens, ok := lex(s)
	if !ok || len(tokens) < 2 {
		return Formula{}, errSyntax
	}
	for i := 0; tokens[i].class == words; i++ { // Area = 5π
		if tokens[i+1].text == "=" && tokens[i+1].class == mark {
			tokens = tokens[i+2:]
			break
		}
	}
	p := &parser{tokens: tokens}
	n, err := p.list()
	if err != nil {
		return Formula{}, err
	}
	for p.peek().text == "." || p.peek().text == "," {
		p.i++
	}
	if p.peek().class != end {
		return Formula{}, errSyntax
	}
	f := Formula{Node: n, Degrees: p.degrees}
	if n.Kind != List {
		f.Unit = p.unit
	} else if p.unit != "" && p.units != len(n.Args) && p.units != 1 {
		return Formula{}, errSyntax
	}
	return f, nil
}

// A parser is a recursive descent over the tokens: list, relation, set operation, sum, product, power, primary.
type parser struct {
	tokens  []token
	i       int
	depth   int
	bars    int // absolute values that are open
	trig    int // arguments of functions that are open
	degrees bool
	unit    string
	units   int
}

func (p *parser) peek() token { return p.tokens[p.i] }

func (p *parser) ahead(n int) token { return p.tokens[min(p.i+n, len(p.tokens)-1)] }

func (p *parser) take(text string) bool {
	if t := p.peek(); (t.class == mark || t.class == name) && t.text == text {
		p.i++
		return true
	}
	return false
}

func (p *parser) enter() error {
	if p.depth++; p.depth > maxDepth {
		return errTooLarge
	}
	return nil
}

func (p *parser) sum() (*Node, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	n, err := p.product()
	if err != nil {
		return nil, err
	}
	terms := []*Node{n}
	for {
		t := p.peek()
		if t.class != mark || t.text != "+" && !minus(t.text) && t.text != "±" && t.text != "∓" {
			break
		}
		p.i++
		n, err := p.product()
		if err != nil {
			return nil, err
		}
		switch {
		case minus(t.text):
			n = neg(n)
		case t.text != "+":
			n = &Node{Kind: PlusMinus, Name: map[string]string{"±": "+", "∓": "-"}[t.text], Args: []*Node{n}}
		}
		terms = append(terms, n)
	}
	return combine(terms)
}

// combine adds terms up: numbers, or matrices of one shape.
func combine(terms []*Node) (*Node, error) {
	if len(terms) == 1 {
		return terms[0], nil
	}
	for _, n := range terms {
		if !n.scalar() {
			return nil, errSyntax
		}
	}
	return add(terms...), nil
}

func minus(s string) bool { return s == "-" || s == "−" || s == "–" }

// product reads factors, with signs between them or side by side.
func (p *parser) product() (*Node, error) {
	n, err := p.signed()
	if err != nil {
		return nil, err
	}
	slashed := false
	for {
		t := p.peek()
		switch {
		case p.take("*"):
			f, err := p.signed()
			if err != nil {
				return nil, err
			}
			if n, err = times(n, f); err != nil {
				return nil, err
			}
			slashed = false
		case p.take("/") || p.take("÷"):
			f, err := p.signed()
			if err != nil {
				return nil, err
			}
			if !n.scalar() || !f.scalar() {
				return nil, errSyntax
			}
			n = div(n, f)
			slashed = !f.grouped
		case p.starts():
			if slashed && !t.space {
				return nil, errSyntax // 1/2x
			}
			f, err := p.power()
			if err != nil {
				return nil, err
			}
			if n, err = times(n, f); err != nil {
				return nil, err
			}
		default:
			return n, nil
		}
	}
}

// times multiplies numbers, or a matrix by a number.
func times(a, b *Node) (*Node, error) {
	if a.Kind == Matrix {
		a, b = b, a
	}
	switch {
	case b.Kind == Matrix && a.scalar():
		return b.rebuild(func(row *Node) *Node { return row.rebuild(func(cell *Node) *Node { return mul(a, cell) }) }), nil
	case !a.scalar() || !b.scalar():
		return nil, errSyntax
	case a.Kind == Mul && !a.grouped && len(a.Args) < 1000 && a.Name == "":
		return mul(append(slices.Clone(a.Args), b)...), nil
	}
	return mul(a, b), nil
}

// starts reports whether the next token begins a factor that stands beside the last one.
func (p *parser) starts() bool {
	t := p.peek()
	switch t.class {
	case digits:
		return p.i > 0 && p.tokens[p.i-1].text == ")" || p.i > 0 && p.tokens[p.i-1].text == "}"
	case letter:
		return true
	case name:
		return t.text != "and" && t.text != "or" && t.text != "end" && t.text != "choose" && t.text != "pmod"
	case mark:
		return t.text == "(" || t.text == "{" || t.text == "π" || t.text == "∞" || t.text == "⌊" || t.text == "⌈" || t.text == "|" && p.bars == 0
	}
	return false
}

func (p *parser) signed() (*Node, error) {
	negative := false
	for n := 0; ; n++ {
		t := p.peek()
		switch {
		case t.class == mark && minus(t.text):
			negative = !negative
		case t.class == mark && (t.text == "±" || t.text == "∓"):
			p.i++
			n, err := p.product()
			if err != nil {
				return nil, err
			}
			n = &Node{Kind: PlusMinus, Name: map[string]string{"±": "+", "∓": "-"}[t.text], Args: []*Node{n}}
			if negative {
				n = neg(n)
			}
			return n, nil
		case t.text != "+" || t.class != mark:
			f, err := p.power()
			if err != nil || !negative {
				return f, err
			}
			if f.Kind == Matrix {
				return times(whole(-1), f)
			}
			if !f.scalar() {
				return nil, errSyntax
			}
			g := neg(f)
			g.grouped = f.grouped
			return g, nil
		}
		if p.i++; n > 2 {
			return nil, errSyntax
		}
	}
}

func (p *parser) power() (*Node, error) {
	base, err := p.postfix()
	if err != nil {
		return nil, err
	}
	if p.peek().text != "^" || p.peek().class != mark {
		return base, nil
	}
	p.i++
	if p.ring() {
		return p.angle(base)
	}
	exponent, err := p.exponent()
	if err != nil {
		return nil, err
	}
	if !base.scalar() || !exponent.scalar() {
		return nil, errSyntax
	}
	return pow(base, exponent), nil
}

// ring takes the ° of 45^\circ and of 45^{\circ}.
func (p *parser) ring() bool {
	if p.take("°") {
		return true
	}
	if p.peek().text == "{" && p.ahead(1).text == "°" && p.ahead(2).text == "}" {
		p.i += 3
		return true
	}
	return false
}

// angle is a number of degrees: in the argument of a function in radians, elsewhere with a unit.
func (p *parser) angle(n *Node) (*Node, error) {
	if !n.scalar() {
		return nil, errSyntax
	}
	if p.trig == 0 {
		p.degrees = true
		return n, nil
	}
	return mul(n, div(&Node{Kind: Constant, Name: "π"}, whole(180))), nil
}

// exponent reads what stands behind ^: a group, or a factor with its sign.
func (p *parser) exponent() (*Node, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	if p.peek().text == "{" {
		return p.postfix()
	}
	if t := p.peek(); minus(t.text) || t.text == "+" {
		p.i++
		n, err := p.exponent()
		if err == nil && minus(t.text) {
			n = neg(n)
		}
		return n, err
	}
	return p.power()
}

func (p *parser) postfix() (*Node, error) {
	n, err := p.primary()
	for err == nil {
		switch {
		case p.peek().class == mark && (p.peek().text == "!" || p.peek().text == "%" || p.peek().text == "°") && !n.scalar():
			return nil, errSyntax
		case p.take("!"):
			if p.peek().text == "!" {
				return nil, errSyntax // a double factorial
			}
			n = call("!", n)
		case p.take("%"):
			n = mul(n, newNumber(big.NewRat(1, 100), -1))
		case p.take("°"):
			n, err = p.angle(n)
		default:
			return n, nil
		}
	}
	return nil, err
}

// mixed reads the fraction behind a whole number: 1\frac{1}{2} is 3/2, 3\frac{5}{4} is ambiguous.
func (p *parser) mixed(n *Node) (*Node, error) {
	if t := p.peek(); n.Decimals != 0 || t.class != name || t.text != "frac" {
		return n, nil
	}
	f, err := p.primary()
	switch {
	case err != nil:
		return nil, err
	case f.Kind != Number:
		return mul(n, f), nil
	case f.Value.Sign() <= 0 || f.Value.Cmp(big.NewRat(1, 1)) >= 0:
		return nil, errSyntax
	}
	return add(n, f), nil
}

func (p *parser) symbol(text string) (*Node, error) {
	switch text {
	case "e", "i":
		if p.peek().text != "_" {
			return &Node{Kind: Constant, Name: text}, nil
		}
	}
	n := &Node{Kind: Symbol, Name: text}
	if p.take("_") {
		var sub []string
		if p.take("{") {
			for p.peek().text != "}" {
				if p.peek().class == end || len(sub) > 20 {
					return nil, errSyntax
				}
				sub = append(sub, p.peek().text)
				p.i++
			}
		} else {
			sub = []string{p.peek().text}
		}
		p.i = min(p.i+1, len(p.tokens)-1)
		n.Name += "_" + strings.Join(sub, "")
	}
	for p.take("'") {
		n.Name += "'"
	}
	return n, nil
}
