package formula

import (
	"slices"
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
	if sep := p.ahead(1).text; p.peek().class == letter && (sep == ":" || sep == "|") {
		p.i += 2
		return p.condition()
	}
	bars := p.bars
	p.bars = 1 // a bar separates
	n, err := p.list()
	p.bars = bars
	if err != nil {
		return nil, err
	}
	if p.take("|") {
		if n.Kind != Statement || n.Name != "∈" || n.Args[0].Kind != Symbol || n.Args[1].Kind != Interval {
			return nil, errSyntax
		}
		return p.condition()
	}
	if !p.take("⦄") {
		return nil, errSyntax
	}
	if n.Kind == List {
		return &Node{Kind: Set, Args: n.Args}, nil
	}
	return &Node{Kind: Set, Args: []*Node{n}}, nil
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

func scalars(nodes []*Node) bool {
	return !slices.ContainsFunc(nodes, func(n *Node) bool { return !n.scalar() })
}

// condition reads the inequalities that the elements of a set satisfy.
func (p *parser) condition() (*Node, error) {
	n, err := p.list()
	if err != nil {
		return nil, err
	}
	if n.Kind == List {
		n = normalList(n)
	}
	if n.Kind != Statement && n.Kind != All && n.Kind != Union || !p.take("⦄") {
		return nil, errSyntax
	}
	return n, nil
}
