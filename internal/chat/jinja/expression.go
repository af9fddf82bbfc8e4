package jinja

import (
	"math/big"
	"strconv"
)

// The grammar of jinja2's parser, from what binds least to what binds most: if-else, or, and, not, comparisons, + and
// -, ~, * / // %, **, signs, then attributes, items, calls, filters and tests.

func (p *parser) expression() expression {
	defer p.deeper()()
	e := p.or()
	for p.skipName("if") {
		c := condExpr{test: p.or(), yes: e}
		if p.skipName("else") {
			c.no = p.expression()
		}
		e = c
	}
	return e
}

func (p *parser) or() expression {
	e := p.and()
	for p.skipName("or") {
		e = orExpr{e, p.and()}
	}
	return e
}

func (p *parser) and() expression {
	e := p.not()
	for p.skipName("and") {
		e = andExpr{e, p.not()}
	}
	return e
}

func (p *parser) not() expression {
	if p.skipName("not") {
		defer p.deeper()()
		return notExpr{p.not()}
	}
	return p.compare()
}

func (p *parser) compare() expression {
	c := compareExpr{first: p.sum()}
	for {
		op := ""
		switch t := p.current(); {
		case t.kind == tokenOperator && (t.text == "==" || t.text == "!=" || t.text == "<" || t.text == "<=" || t.text == ">" || t.text == ">="):
			op = t.text
			p.next()
		case p.skipName("in"):
			op = "in"
		case p.isName("not") && p.tokens[p.pos+1].kind == tokenName && p.tokens[p.pos+1].text == "in":
			p.next()
			p.next()
			op = "not in"
		}
		if op == "" {
			break
		}
		c.ops = append(c.ops, op)
		c.rest = append(c.rest, p.sum())
	}
	if len(c.ops) == 0 {
		return c.first
	}
	return c
}

// binary reads operands with the given operators between them.
func (p *parser) binary(operand func() expression, ops ...string) expression {
	e := operand()
	for {
		op := ""
		for _, o := range ops {
			if p.skipOp(o) {
				op = o
				break
			}
		}
		if op == "" {
			return e
		}
		e = binaryExpr{op, e, operand()}
	}
}

func (p *parser) sum() expression { return p.binary(p.concat, "+", "-") }

func (p *parser) concat() expression {
	parts := []expression{p.product()}
	for p.skipOp("~") {
		parts = append(parts, p.product())
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return concatExpr{parts}
}

func (p *parser) product() expression { return p.binary(p.power, "*", "//", "/", "%") }

func (p *parser) power() expression {
	return p.binary(func() expression { return p.unary(true) }, "**")
}

func (p *parser) unary(filters bool) expression {
	defer p.deeper()()
	var e expression
	switch {
	case p.skipOp("-"):
		e = signExpr{p.unary(false)}
	case p.skipOp("+"):
		e = plusExpr{p.unary(false)}
	default:
		e = p.primary()
	}
	e = p.postfix(e)
	if filters {
		e = p.filtersAndTests(e)
	}
	return e
}

func (p *parser) primary() expression {
	t := p.next()
	switch t.kind {
	case tokenName:
		switch t.text {
		case "true", "True":
			return constant{true}
		case "false", "False":
			return constant{false}
		case "none", "None":
			return constant{nil}
		}
		return nameExpr{t.text}
	case tokenString:
		s := t.text
		for p.current().kind == tokenString {
			s += p.next().text
		}
		return constant{s}
	case tokenInteger:
		if i, err := strconv.ParseInt(t.text, 0, 64); err == nil {
			return constant{int(i)}
		}
		if i, ok := new(big.Int).SetString(t.text, 0); ok {
			return constant{i}
		}
	case tokenFloat:
		if f, err := strconv.ParseFloat(t.text, 64); err == nil {
			return constant{f}
		}
	case tokenOperator:
		switch t.text {
		case "(":
			var e expression = tupleExpr{}
			if !p.isOp(")") {
				e = p.tuple(true, nil)
			}
			p.expectOp(")")
			return e
		case "[":
			var items []expression
			for !p.isOp("]") {
				if len(items) > 0 {
					p.expectOp(",")
					if p.isOp("]") {
						break
					}
				}
				items = append(items, p.expression())
			}
			p.expectOp("]")
			return listExpr{items}
		case "{":
			return p.dict()
		}
	}
	p.pos--
	p.fail("expected an expression, got %s", p.describe())
	return nil
}

func (p *parser) dict() expression {
	var d dictExpr
	for !p.isOp("}") {
		if len(d.keys) > 0 {
			p.expectOp(",")
			if p.isOp("}") {
				break
			}
		}
		d.keys = append(d.keys, p.expression())
		p.expectOp(":")
		d.values = append(d.values, p.expression())
	}
	p.expectOp("}")
	return d
}

// tuple reads one expression, or several with commas between them. Without conditions an "if" is left standing.
func (p *parser) tuple(conditions bool, ends []string) expression {
	one := p.expression
	if !conditions {
		one = func() expression { defer p.deeper()(); return p.or() }
	}
	var items []expression
	for {
		if k := p.current().kind; len(items) > 0 && (k == tokenVariableEnd || k == tokenBlockEnd || p.isOp(")") || p.isName(ends...)) {
			break
		}
		items = append(items, one())
		if !p.skipOp(",") {
			if len(items) == 1 {
				return items[0]
			}
			break
		}
	}
	return tupleExpr{items}
}

func (p *parser) postfix(e expression) expression {
	for {
		switch {
		case p.skipOp("."):
			if t := p.current(); t.kind == tokenInteger {
				p.next()
				i, _ := strconv.Atoi(t.text)
				e = itemExpr{e, constant{i}}
			} else {
				e = attrExpr{e, p.expectName()}
			}
		case p.skipOp("["):
			e = itemExpr{e, p.subscript()}
		case p.isOp("("):
			e = callExpr{e, p.arguments()}
		default:
			return e
		}
	}
}

// subscript reads what stands between brackets, and the closing one.
func (p *parser) subscript() expression {
	var items []expression
	for !p.isOp("]") {
		if len(items) > 0 {
			p.expectOp(",")
		}
		items = append(items, p.subscripted())
	}
	p.expectOp("]")
	switch len(items) {
	case 0:
		p.fail("an index is missing")
	case 1:
		return items[0]
	}
	return tupleExpr{items}
}

func (p *parser) subscripted() expression {
	part := func() expression {
		if p.isOp(":") || p.isOp("]") || p.isOp(",") {
			return nil
		}
		return p.expression()
	}
	from := part()
	if !p.skipOp(":") {
		return from
	}
	s := sliceExpr{from: from, to: part()}
	if p.skipOp(":") {
		s.step = part()
	}
	return s
}

func (p *parser) filtersAndTests(e expression) expression {
	for {
		switch {
		case p.skipOp("|"):
			f := filterExpression{of: e, name: p.dotted()}
			if p.isOp("(") {
				f.arguments = p.arguments()
			}
			e = f
		case p.skipName("is"):
			e = p.test(e)
		case p.isOp("("):
			e = callExpr{e, p.arguments()}
		default:
			return e
		}
	}
}

func (p *parser) test(e expression) expression {
	t := testExpr{of: e, negate: p.skipName("not")}
	t.name = p.dotted()
	switch c := p.current(); {
	case p.isOp("("):
		t.arguments = p.arguments()
	case p.isName("else", "or", "and"):
	case c.kind == tokenName || c.kind == tokenString || c.kind == tokenInteger || c.kind == tokenFloat || p.isOp("[") || p.isOp("{"):
		if p.isName("is") {
			p.fail("tests can't be chained with is")
		}
		t.args = []expression{p.postfix(p.primary())}
	}
	return t
}

func (p *parser) arguments() (a arguments) {
	p.expectOp("(")
	first := true
	for !p.isOp(")") {
		if !first {
			p.expectOp(",")
			if p.isOp(")") {
				break
			}
		}
		first = false
		switch {
		case p.skipOp("**"):
			a.object = p.expression()
		case p.skipOp("*"):
			a.list = p.expression()
		case p.current().kind == tokenName && p.tokens[p.pos+1].kind == tokenOperator && p.tokens[p.pos+1].text == "=":
			a.names = append(a.names, p.expectName())
			p.next()
			a.values = append(a.values, p.expression())
		default:
			if len(a.names) > 0 || a.object != nil {
				p.fail("an argument follows a named one")
			}
			a.args = append(a.args, p.expression())
		}
	}
	p.expectOp(")")
	return a
}
