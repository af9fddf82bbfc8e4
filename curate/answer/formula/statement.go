package formula

// list reads items with commas, "and" or "or" between them.
func (p *parser) list() (*Node, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	first, err := p.relation()
	if err != nil {
		return nil, err
	}
	items, how := []*Node{first}, ""
	for {
		at, by := p.i, ""
		for {
			t := p.peek()
			if t.text == "∧" {
				t.text = "and"
			} else if t.text == "∨" {
				t.text = "or"
			}
			if t.text != "," && t.text != ";" && t.text != "and" && t.text != "or" || t.class == words {
				break
			}
			if by = t.text; by == ";" {
				by = ","
			}
			p.i++
		}
		if by == "" || p.peek().class == end {
			p.i = at
			break
		}
		if how != "" && how != by && how != "," {
			return nil, errSyntax
		}
		how = by
		n, err := p.relation()
		if err != nil {
			return nil, err
		}
		items = append(items, n)
	}
	if len(items) == 1 {
		return first, nil
	}
	return &Node{Kind: List, Name: how, Args: items}, nil
}

var relations = map[string]string{"=": "=", "≠": "≠", "<": "<", "≤": "≤", ">": ">", "≥": "≥", "∈": "∈"}

// relation reads an expression, a ratio, or a chain of relations between expressions.
func (p *parser) relation() (*Node, error) {
	left, err := p.setwise()
	if err != nil {
		return nil, err
	}
	if p.peek().text == ":" {
		ratio := &Node{Kind: Ratio, Args: []*Node{left}}
		for p.take(":") {
			n, err := p.setwise()
			if err != nil {
				return nil, err
			}
			ratio.Args = append(ratio.Args, n)
		}
		return ratio, nil
	}
	var chain []*Node
	for {
		op, ok := relations[p.peek().text]
		if !ok || p.peek().class != mark {
			break
		}
		p.i++
		right, err := p.setwise()
		if err != nil {
			return nil, err
		}
		chain = append(chain, &Node{Kind: Statement, Name: op, Args: []*Node{left, right}})
		left = right
	}
	if p.take("≈") { // what it is about doesn't count, but for x ≈ 1.41
		right, err := p.setwise()
		if err != nil {
			return nil, err
		}
		if len(chain) == 0 && left.Kind == Symbol {
			left = right
		}
	}
	if p.peek().class == words {
		p.unit = p.peek().text
		p.units++
		p.i++
		if p.take("^") { // cm^2
			power, err := p.exponent()
			if err != nil || power.Kind != Number || !power.Value.IsInt() {
				return nil, errSyntax
			}
			p.unit += "^" + power.Value.Num().String()
		}
	}
	switch len(chain) {
	case 0:
		return left, nil
	case 1:
		return chain[0], nil
	}
	return &Node{Kind: All, Args: chain}, nil
}

var setOperations = map[string]Kind{"∪": Union, "∩": Intersection, "∖": Difference}

func (p *parser) setwise() (*Node, error) {
	left, err := p.sum()
	for err == nil {
		t := p.peek()
		if t.text == `\` && left.Kind >= Set { // A \ B in plain text
			t.text = "∖"
		}
		kind, ok := setOperations[t.text]
		if !ok || t.class != mark {
			break
		}
		p.i++
		var right *Node
		if right, err = p.sum(); err == nil {
			left = &Node{Kind: kind, Args: []*Node{left, right}}
		}
	}
	return left, err
}
