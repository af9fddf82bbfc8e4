package jinja

import "fmt"

// A parser reads statements; its expressions are in expression.go. It panics with an [*Error].
type parser struct {
	tokens []token
	pos    int
	depth  int
}

func (p *parser) current() token { return p.tokens[p.pos] }

func (p *parser) line() int {
	if p.pos < len(p.tokens) {
		return p.tokens[p.pos].line
	}
	return 1
}

func (p *parser) next() token {
	t := p.tokens[p.pos]
	if t.kind != tokenEOF {
		p.pos++
	}
	return t
}

func (p *parser) fail(format string, args ...any) {
	panic(&Error{Line: p.line(), Message: fmt.Sprintf(format, args...)})
}

// deeper counts nesting; the caller defers the function it gives.
func (p *parser) deeper() func() {
	if p.depth++; p.depth > maxNesting {
		p.fail("more than %d blocks or brackets in one another", maxNesting)
	}
	return func() { p.depth-- }
}

func (p *parser) isName(names ...string) bool {
	t := p.current()
	for _, n := range names {
		if t.kind == tokenName && t.text == n {
			return true
		}
	}
	return false
}

func (p *parser) isOp(op string) bool {
	t := p.current()
	return t.kind == tokenOperator && t.text == op
}

func (p *parser) skipName(name string) bool {
	if p.isName(name) {
		p.next()
		return true
	}
	return false
}

func (p *parser) skipOp(op string) bool {
	if p.isOp(op) {
		p.next()
		return true
	}
	return false
}

func (p *parser) expectOp(op string) {
	if !p.skipOp(op) {
		p.fail("expected %q, got %s", op, p.describe())
	}
}

func (p *parser) expectName() string {
	if t := p.current(); t.kind == tokenName {
		return p.next().text
	}
	p.fail("expected a name, got %s", p.describe())
	return ""
}

func (p *parser) expectEnd() {
	if p.current().kind != tokenBlockEnd {
		p.fail("expected the end of the tag, got %s", p.describe())
	}
	p.next()
}

func (p *parser) describe() string {
	switch t := p.current(); t.kind {
	case tokenEOF:
		return "the end of the template"
	case tokenVariableEnd, tokenBlockEnd:
		return "the end of the tag"
	case tokenString:
		return fmt.Sprintf("the string %.40q", t.text)
	default:
		return fmt.Sprintf("%.40q", t.text)
	}
}

// statements reads up to the end of the template, or to a tag that has one of the given names; the tag's name is
// consumed and given.
func (p *parser) statements(ends ...string) (body []statement, end string) {
	defer p.deeper()()
	for {
		switch t := p.next(); t.kind {
		case tokenEOF:
			if len(ends) > 0 {
				p.fail("the template ends within a block: {%% %s %%} is missing", ends[len(ends)-1])
			}
			return body, ""
		case tokenData:
			body = append(body, dataStatement{t.text})
		case tokenVariableBegin:
			e := p.tuple(true, nil)
			if p.current().kind != tokenVariableEnd {
				p.fail("expected }}, got %s", p.describe())
			}
			p.next()
			body = append(body, outputStatement{t.line, e})
		case tokenBlockBegin:
			if p.isName(ends...) {
				return body, p.next().text
			}
			if s := p.statement(); s != nil {
				body = append(body, s)
			}
		default:
			p.pos--
			p.fail("unexpected %s", p.describe())
		}
	}
}

// block reads the body of a tag whose head has been read, up to the named end.
func (p *parser) block(end string) []statement {
	p.expectEnd()
	body, _ := p.statements(end)
	p.expectEnd()
	return body
}

func (p *parser) statement() statement {
	line := p.line()
	name := p.expectName()
	switch name {
	case "if":
		return p.ifStatement(line)
	case "for":
		return p.forStatement(line)
	case "set":
		return p.setStatement(line)
	case "macro":
		m := &macroDefinition{name: p.expectName()}
		p.signature(m)
		m.body = p.block("endmacro")
		return macroStatement{line, m}
	case "call":
		caller := &macroDefinition{name: "caller"}
		if p.isOp("(") {
			p.signature(caller)
		}
		call := p.expression()
		if _, ok := call.(callExpr); !ok {
			p.fail("expected a call")
		}
		caller.body = p.block("endcall")
		return callStatement{line, call, caller}
	case "filter":
		filters := p.filters()
		return filterStatement{line, filters, p.block("endfilter")}
	case "with":
		return p.withStatement(line)
	case "print":
		parts := []expression{p.expression()}
		for p.skipOp(",") {
			parts = append(parts, p.expression())
		}
		p.expectEnd()
		return outputStatement{line, concatExpr{parts}}
	case "block":
		p.expectName()
		for p.skipName("scoped") || p.skipName("required") {
			continue
		}
		p.expectEnd()
		body, _ := p.statements("endblock")
		if p.current().kind == tokenName {
			p.next()
		}
		p.expectEnd()
		return scopedStatement{body}
	case "autoescape":
		p.expression()
		return scopedStatement{p.block("endautoescape")}
	case "generation":
		return generationStatement{p.block("endgeneration")}
	case "break":
		p.expectEnd()
		return breakStatement{}
	case "continue":
		p.expectEnd()
		return continueStatement{}
	case "include", "import", "from", "extends":
		p.fail("{%% %s %%} is not allowed: a chat template can't load other files", name)
	}
	p.fail("unknown tag %q", name)
	return nil
}

func (p *parser) ifStatement(line int) statement {
	s := ifStatement{line: line}
	for {
		s.tests = append(s.tests, p.tuple(false, nil))
		p.expectEnd()
		body, end := p.statements("elif", "else", "endif")
		s.bodies = append(s.bodies, body)
		switch end {
		case "elif":
			continue
		case "else":
			s.bodies = append(s.bodies, p.block("endif"))
		default:
			p.expectEnd()
			s.bodies = append(s.bodies, nil)
		}
		return s
	}
}

func (p *parser) forStatement(line int) statement {
	s := forStatement{line: line, target: p.target()}
	if !p.skipName("in") {
		p.fail("expected \"in\", got %s", p.describe())
	}
	s.items = p.tuple(false, []string{"recursive"})
	if p.skipName("if") {
		s.test = p.expression()
	}
	s.recursive = p.skipName("recursive")
	p.expectEnd()
	body, end := p.statements("else", "endfor")
	s.body = body
	if end == "else" {
		s.none = p.block("endfor")
	} else {
		p.expectEnd()
	}
	return s
}

func (p *parser) setStatement(line int) statement {
	var target expression
	if p.current().kind == tokenName && p.tokens[p.pos+1].kind == tokenOperator && p.tokens[p.pos+1].text == "." {
		name := p.expectName()
		p.next()
		target = namespaceAttr{name, p.expectName()}
	} else {
		target = p.target()
	}
	if p.skipOp("=") {
		value := p.tuple(true, nil)
		p.expectEnd()
		return setStatement{line, target, value}
	}
	var filters []filterExpression
	if p.skipOp("|") {
		filters = p.filters()
	}
	return setBlockStatement{line, target, filters, p.block("endset")}
}

func (p *parser) withStatement(line int) statement {
	s := withStatement{line: line}
	for p.current().kind != tokenBlockEnd {
		if len(s.targets) > 0 {
			p.expectOp(",")
		}
		s.targets = append(s.targets, p.target())
		p.expectOp("=")
		s.values = append(s.values, p.expression())
	}
	s.body = p.block("endwith")
	return s
}

// target reads what is assigned to: a name, or names in parentheses or with commas between them.
func (p *parser) target() expression {
	defer p.deeper()()
	var items []expression
	tuple := false
	for {
		if p.skipOp("(") {
			items = append(items, p.target())
			p.expectOp(")")
		} else {
			switch name := p.expectName(); name {
			case "true", "false", "none", "True", "False", "None":
				p.fail("can't assign to %q", name)
			default:
				items = append(items, nameExpr{name})
			}
		}
		if !p.skipOp(",") {
			break
		}
		tuple = true
		if p.isName("in") || p.isOp("=") || p.isOp(")") {
			break
		}
	}
	if tuple {
		return tupleExpr{items}
	}
	return items[0]
}

// signature reads the parameters of a macro.
func (p *parser) signature(m *macroDefinition) {
	p.expectOp("(")
	for !p.isOp(")") {
		if len(m.params) > 0 {
			p.expectOp(",")
		}
		m.params = append(m.params, p.expectName())
		if p.skipOp("=") {
			m.defaults = append(m.defaults, p.expression())
		} else if len(m.defaults) > 0 {
			p.fail("a parameter without default follows one with a default")
		}
	}
	p.expectOp(")")
}

// filters reads filter names and arguments with | between them.
func (p *parser) filters() (out []filterExpression) {
	for {
		f := filterExpression{name: p.dotted()}
		if p.isOp("(") {
			f.arguments = p.arguments()
		}
		out = append(out, f)
		if !p.skipOp("|") {
			return out
		}
	}
}

func (p *parser) dotted() string {
	name := p.expectName()
	for p.skipOp(".") {
		name += "." + p.expectName()
	}
	return name
}
