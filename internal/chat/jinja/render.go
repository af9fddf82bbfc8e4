package jinja

import (
	"fmt"
	"strings"
	"time"
)

// A run is one execution of a template.
type run struct {
	now       time.Time
	strict    bool
	main, out *strings.Builder // out is main, or what a block's text is caught in
	generated []Span
	line      int
	steps     int
	bytes     int
	depth     int
}

// A scope holds the variables that a block has set; those of the blocks around it are seen through it.
type scope struct {
	vars   map[string]Value
	parent *scope
}

func (s *scope) inner() *scope { return &scope{vars: map[string]Value{}, parent: s} }

func (s *scope) lookup(name string) (Value, bool) {
	for ; s != nil; s = s.parent {
		if v, ok := s.vars[name]; ok {
			return v, true
		}
	}
	return nil, false
}

func (r *run) fail(format string, args ...any) {
	panic(&Error{Line: r.line, Message: fmt.Sprintf(format, args...)})
}

// step counts one thing done.
func (r *run) step() {
	if r.steps++; r.steps > maxSteps {
		r.fail("the template takes more than %d steps: does it loop for ever?", maxSteps)
	}
}

// work counts a pass over n bytes.
func (r *run) work(n int) { r.steps += n / 256 }

// made counts n bytes of new values.
func (r *run) made(n int) {
	r.work(max(n, 0))
	r.room(n)
	if n > maxBytes-r.bytes {
		r.fail("the template makes values of more than %d MiB", maxBytes>>20)
	}
	r.bytes += n
	r.step()
}

// room fails when one value would take n bytes and that is too many.
func (r *run) room(n int) {
	if n < 0 || n > maxOutput {
		r.fail("the template makes a value of more than %d MiB", maxOutput>>20)
	}
}

// deeper counts nesting; the caller defers the function it gives.
func (r *run) deeper() func() {
	if r.depth++; r.depth > maxDepth {
		r.fail("the template nests more than %d deep: does a macro call itself for ever?", maxDepth)
	}
	return func() { r.depth-- }
}

func (r *run) print(text string) {
	r.room(r.out.Len() + len(text))
	r.made(len(text))
	r.out.WriteString(text)
}

// flow says how a body ended.
type flow int

const (
	flowNext flow = iota
	flowBreak
	flowContinue
)

func (r *run) exec(body []statement, sc *scope) flow {
	defer r.deeper()()
	for _, s := range body {
		r.step()
		if f := r.statement(s, sc); f != flowNext {
			return f
		}
	}
	return flowNext
}

func (r *run) statement(s statement, sc *scope) flow {
	switch s := s.(type) {
	case dataStatement:
		r.print(s.text)
	case outputStatement:
		r.line = s.line
		r.print(r.text(r.there(s.e, r.eval(s.e, sc))))
	case ifStatement:
		r.line = s.line
		for i, test := range s.tests {
			if truth(r.eval(test, sc)) {
				return r.exec(s.bodies[i], sc)
			}
		}
		return r.exec(s.bodies[len(s.bodies)-1], sc)
	case forStatement:
		r.line = s.line
		r.forLoop(s, r.eval(s.items, sc), sc, 0)
	case setStatement:
		r.line = s.line
		r.assign(s.target, r.eval(s.value, sc), sc)
	case setBlockStatement:
		var v Value = r.capture(s.body, sc.inner())
		r.line = s.line
		r.assign(s.target, r.pipe(v, s.filters, sc), sc)
	case macroStatement:
		sc.vars[s.m.name] = &macro{s.m, sc}
	case callStatement:
		r.line = s.line
		call := s.call.(callExpr)
		of, args := r.eval(call.of, sc), r.arguments(call.arguments, sc)
		args.named["caller"] = &macro{s.caller, sc}
		r.print(r.text(r.call(of, args)))
	case filterStatement:
		text := r.capture(s.body, sc.inner())
		r.line = s.line
		r.print(r.text(r.pipe(text, s.filters, sc)))
	case withStatement:
		r.line = s.line
		in := sc.inner()
		for i, target := range s.targets {
			r.assign(target, r.eval(s.values[i], sc), in)
		}
		return r.exec(s.body, in)
	case scopedStatement:
		return r.exec(s.body, sc.inner())
	case generationStatement:
		from := r.main.Len()
		text := r.capture(s.body, sc.inner())
		r.generated = append(r.generated, Span{from, from + len(text)})
		r.print(text)
	case breakStatement:
		return flowBreak
	case continueStatement:
		return flowContinue
	}
	return flowNext
}

// there fails in a strict run when e's value is None or undefined.
func (r *run) there(e expression, v Value) Value {
	if !r.strict {
		return v
	}
	what := "the value"
	if n, ok := e.(nameExpr); ok {
		what = n.name
	}
	switch v := v.(type) {
	case undefined:
		r.fail("%s", v.hint)
	case nil:
		r.fail("%s is null: test for it, as in {%% if x %%}, or give what stands for it, as in {{ x | default('none', true) }}", what)
	}
	return v
}

// capture gives the text that a body prints.
func (r *run) capture(body []statement, sc *scope) string {
	outer := r.out
	r.out = &strings.Builder{}
	defer func() { r.out = outer }()
	r.exec(body, sc)
	return r.out.String()
}

func (r *run) pipe(v Value, filters []filterExpression, sc *scope) Value {
	for _, f := range filters {
		v = r.filter(f.name, v, r.arguments(f.arguments, sc))
	}
	return v
}

func (r *run) assign(target expression, v Value, sc *scope) {
	switch t := target.(type) {
	case nameExpr:
		sc.vars[t.name] = v
	case namespaceAttr:
		of, _ := sc.lookup(t.name)
		ns, ok := of.(*namespace)
		if !ok {
			r.fail("cannot assign attribute on non-namespace object")
		}
		if strings.HasPrefix(t.attr, "_") {
			r.fail("chat templates cannot store underscore-prefixed attributes on a namespace, but got '%s'", t.attr)
		}
		ns.set(t.attr, v)
	case tupleExpr:
		items := r.items(v)
		if len(items) != len(t.items) {
			r.fail("expected %d values to unpack, got %d", len(t.items), len(items))
		}
		for i, target := range t.items {
			r.assign(target, items[i], sc)
		}
	}
}

// A loop is the variable of that name inside a for loop.
type loop struct {
	statement forStatement
	sc        *scope
	items     []Value
	index0    int
	depth0    int
	changed   []Value // what changed() saw last
}

func (l *loop) attr(r *run, name string) (Value, bool) {
	n := len(l.items)
	at := func(i int, hint string) Value {
		if i < 0 || i >= n {
			return undefined{hint}
		}
		return l.items[i]
	}
	switch name {
	case "index":
		return l.index0 + 1, true
	case "index0":
		return l.index0, true
	case "revindex":
		return n - l.index0, true
	case "revindex0":
		return n - l.index0 - 1, true
	case "first":
		return l.index0 == 0, true
	case "last":
		return l.index0 == n-1, true
	case "length":
		return n, true
	case "depth":
		return l.depth0 + 1, true
	case "depth0":
		return l.depth0, true
	case "previtem":
		return at(l.index0-1, "there is no previous item"), true
	case "nextitem":
		return at(l.index0+1, "there is no next item"), true
	case "cycle":
		return &function{"cycle", func(r *run, a callArguments) Value {
			if len(a.list) == 0 {
				r.fail("no items for cycling given")
			}
			return a.list[l.index0%len(a.list)]
		}}, true
	case "changed":
		return &function{"changed", func(r *run, a callArguments) Value {
			same := l.changed != nil && r.equal(List(l.changed), List(a.list), 0)
			l.changed = append([]Value{}, a.list...)
			return !same
		}}, true
	}
	return nil, false
}

func (r *run) forLoop(s forStatement, over Value, sc *scope, depth int) {
	items := r.items(over)
	if s.test != nil {
		var kept []Value
		for _, item := range items {
			in := sc.inner()
			r.assign(s.target, item, in)
			if truth(r.eval(s.test, in)) {
				kept = append(kept, item)
			}
		}
		items = kept
	}
	l := &loop{statement: s, sc: sc, items: items, depth0: depth}
	whole := false // some round came to its end; without one jinja2 takes the else branch, even after break and continue
	for i, item := range items {
		r.step()
		l.index0 = i
		in := sc.inner()
		in.vars["loop"] = l
		r.assign(s.target, item, in)
		f := r.exec(s.body, in)
		if f == flowBreak {
			break
		}
		whole = whole || f == flowNext
	}
	if !whole {
		r.exec(s.none, sc.inner())
	}
}

// recurse renders loop(items) of a recursive for loop.
func (l *loop) recurse(r *run, a callArguments) Value {
	if !l.statement.recursive {
		r.fail("the loop is not recursive: {%% for … recursive %%} is missing")
	}
	if len(a.list) != 1 {
		r.fail("loop() takes one argument")
	}
	defer r.deeper()()
	outer, before := r.out, l.index0
	r.out = &strings.Builder{}
	defer func() { r.out, l.index0 = outer, before }()
	r.forLoop(l.statement, a.list[0], l.sc, l.depth0+1)
	return r.out.String()
}
