package jinja

import "slices"

// Names are the variables that the template reads and does not set itself, in the order of the alphabet: what whoever
// executes it has to give. Jinja2 calls them undeclared. A name that the template both sets and is given is left out.
func (t *Template) Names() []string {
	n := &names{read: map[string]bool{}, set: map[string]bool{"loop": true, "caller": true, "varargs": true, "kwargs": true}}
	n.body(t.body)
	var out []string
	for name := range n.read {
		if !n.set[name] && (globals[name] == nil || name == "strftime_now") {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// names gathers the names in a template.
type names struct{ read, set map[string]bool }

func (n *names) body(ss []statement) {
	for _, s := range ss {
		n.statement(s)
	}
}

func (n *names) statement(s statement) {
	switch s := s.(type) {
	case outputStatement:
		n.reads(s.e)
	case ifStatement:
		n.reads(s.tests...)
		for _, b := range s.bodies {
			n.body(b)
		}
	case forStatement:
		n.sets(s.target)
		n.reads(s.items, s.test)
		n.body(s.body)
		n.body(s.none)
	case setStatement:
		n.sets(s.target)
		n.reads(s.value)
	case setBlockStatement:
		n.sets(s.target)
		n.filters(s.filters)
		n.body(s.body)
	case macroStatement:
		n.set[s.m.name] = true
		n.macro(s.m)
	case callStatement:
		n.reads(s.call)
		n.macro(s.caller)
	case filterStatement:
		n.filters(s.filters)
		n.body(s.body)
	case withStatement:
		n.sets(s.targets...)
		n.reads(s.values...)
		n.body(s.body)
	case scopedStatement:
		n.body(s.body)
	case generationStatement:
		n.body(s.body)
	}
}

func (n *names) macro(m *macroDefinition) {
	for _, name := range m.params {
		n.set[name] = true
	}
	n.reads(m.defaults...)
	n.body(m.body)
}

func (n *names) filters(fs []filterExpression) {
	for _, f := range fs {
		n.reads(f)
	}
}

func (n *names) arguments(a arguments) {
	n.reads(a.args...)
	n.reads(a.values...)
	n.reads(a.list, a.object)
}

func (n *names) sets(targets ...expression) {
	for _, t := range targets {
		switch t := t.(type) {
		case nameExpr:
			n.set[t.name] = true
		case tupleExpr:
			n.sets(t.items...)
		}
	}
}

func (n *names) reads(es ...expression) {
	for _, e := range es {
		switch e := e.(type) {
		case nameExpr:
			n.read[e.name] = true
		case attrExpr:
			n.reads(e.of)
		case itemExpr:
			n.reads(e.of, e.key)
		case sliceExpr:
			n.reads(e.from, e.to, e.step)
		case callExpr:
			n.reads(e.of)
			n.arguments(e.arguments)
		case filterExpression:
			n.reads(e.of)
			n.arguments(e.arguments)
		case testExpr:
			n.reads(e.of)
			n.arguments(e.arguments)
		case notExpr:
			n.reads(e.e)
		case signExpr:
			n.reads(e.e)
		case plusExpr:
			n.reads(e.e)
		case andExpr:
			n.reads(e.a, e.b)
		case orExpr:
			n.reads(e.a, e.b)
		case binaryExpr:
			n.reads(e.a, e.b)
		case concatExpr:
			n.reads(e.parts...)
		case compareExpr:
			n.reads(e.first)
			n.reads(e.rest...)
		case condExpr:
			n.reads(e.test, e.yes, e.no)
		case listExpr:
			n.reads(e.items...)
		case tupleExpr:
			n.reads(e.items...)
		case dictExpr:
			n.reads(e.keys...)
			n.reads(e.values...)
		}
	}
}
