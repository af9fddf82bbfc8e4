package jinja

import (
	"strings"
)

func (r *run) eval(e expression, sc *scope) Value {
	defer r.deeper()()
	r.step()
	switch e := e.(type) {
	case constant:
		return e.v
	case nameExpr:
		if v, ok := sc.lookup(e.name); ok {
			return v
		}
		if v, ok := globals[e.name]; ok {
			return v
		}
		return undefined{"'" + e.name + "' is undefined"}
	case attrExpr:
		return r.attr(r.eval(e.of, sc), e.name)
	case itemExpr:
		of := r.eval(e.of, sc)
		if s, ok := e.key.(sliceExpr); ok {
			return r.slice(of, s, sc)
		}
		return r.item(of, r.eval(e.key, sc))
	case callExpr:
		of := r.eval(e.of, sc)
		return r.call(of, r.arguments(e.arguments, sc))
	case filterExpression:
		v := r.eval(e.of, sc)
		if e.name != "default" && e.name != "d" && e.name != "tojson" {
			r.there(e.of, v)
		}
		return r.filter(e.name, v, r.arguments(e.arguments, sc))
	case testExpr:
		v := r.eval(e.of, sc)
		return r.test(e.name, v, r.arguments(e.arguments, sc)) != e.negate
	case notExpr:
		return !truth(r.eval(e.e, sc))
	case signExpr:
		return r.negate(r.eval(e.e, sc))
	case plusExpr:
		v := r.eval(e.e, sc)
		if i, _, isInt, ok := number(v); !ok {
			r.fail("bad operand type for unary +: '%s'", typeName(v))
		} else if isInt {
			return i
		}
		return v
	case andExpr:
		if a := r.eval(e.a, sc); !truth(a) {
			return a
		}
		return r.eval(e.b, sc)
	case orExpr:
		if a := r.eval(e.a, sc); truth(a) {
			return a
		}
		return r.eval(e.b, sc)
	case binaryExpr:
		a := r.eval(e.a, sc)
		return r.binary(e.op, a, r.eval(e.b, sc))
	case concatExpr:
		var b strings.Builder
		for _, part := range e.parts {
			text := r.text(r.there(part, r.eval(part, sc)))
			r.room(b.Len() + len(text))
			r.made(len(text))
			b.WriteString(text)
		}
		return b.String()
	case compareExpr:
		return r.compare(e, sc)
	case condExpr:
		if truth(r.eval(e.test, sc)) {
			return r.eval(e.yes, sc)
		}
		if e.no == nil {
			return undefined{"the inline if-expression evaluated to false and no else section was defined"}
		}
		return r.eval(e.no, sc)
	case listExpr:
		return List(r.evalAll(e.items, sc))
	case tupleExpr:
		return Tuple(r.evalAll(e.items, sc))
	case dictExpr:
		d := NewDict()
		for i, k := range e.keys {
			key := r.key(r.eval(k, sc))
			r.made(64)
			d.set(key, r.eval(e.values[i], sc))
		}
		return d
	}
	r.fail("%T can't stand here", e)
	return nil
}

func (r *run) evalAll(es []expression, sc *scope) []Value {
	out := make([]Value, len(es))
	r.made(16 * len(es))
	for i, e := range es {
		out[i] = r.eval(e, sc)
	}
	return out
}

// defined fails when v is undefined: most things can't be done to what isn't there.
func (r *run) defined(v Value) Value {
	if u, ok := v.(undefined); ok {
		r.fail("%s", u.hint)
	}
	return v
}

// key fails when v can't be the key of a dict.
func (r *run) key(v Value) Value {
	if _, ok := hash(r.defined(v)); !ok {
		r.fail("unhashable type: '%s'", typeName(v))
	}
	return v
}

// attr is v.name: a method, then the item of that name, as jinja2 has it.
func (r *run) attr(v Value, name string) Value {
	r.defined(v)
	switch v := v.(type) {
	case *loop:
		if a, ok := v.attr(r, name); ok {
			return a
		}
	case *namespace:
		if a, ok := v.get(name); ok {
			return a
		}
	case *macro:
		if name == "name" {
			return v.definition.name
		}
	default:
		if m, ok := r.method(v, name); ok {
			return m
		}
		if d, ok := v.(*Dict); ok {
			if item, ok := d.get(name); ok {
				return item
			}
		}
	}
	return undefined{"'" + describe(v) + "' has no attribute '" + name + "'"}
}

// item is v[key]: the item, then for a string the method of that name.
func (r *run) item(v, key Value) Value {
	r.defined(v)
	switch v := v.(type) {
	case *Dict:
		if item, ok := v.get(key); ok {
			return item
		}
	case List, Tuple, string, *view:
		if i, _, isInt, ok := number(key); ok && isInt {
			n := r.length(v)
			if i < 0 {
				i += n
			}
			if i < 0 || i >= n {
				return undefined{describe(v) + " has no element " + r.text(key)}
			}
			if s, ok := v.(string); ok {
				return substring(s, i, i+1)
			}
			if items, ok := indexed(v); ok {
				return items[i]
			}
		}
	}
	if name, ok := key.(string); ok {
		return r.attr(v, name)
	}
	return undefined{describe(v) + " has no element " + r.text(key)}
}

func describe(v Value) string {
	switch v.(type) {
	case nil:
		return "None"
	default:
		return typeName(v) + " object"
	}
}

func (r *run) compare(e compareExpr, sc *scope) Value {
	a := r.eval(e.first, sc)
	for i, op := range e.ops {
		b := r.eval(e.rest[i], sc)
		var ok bool
		switch op {
		case "==":
			ok = r.equal(a, b, 0)
		case "!=":
			ok = !r.equal(a, b, 0)
		case "<":
			ok = r.less(a, b)
		case ">":
			ok = r.less(b, a)
		case "<=":
			ok = r.less(a, b) || r.equal(a, b, 0)
		case ">=":
			ok = r.less(b, a) || r.equal(a, b, 0)
		case "in":
			ok = r.contains(b, a)
		case "not in":
			ok = !r.contains(b, a)
		}
		if !ok {
			return false
		}
		a = b
	}
	return true
}

// slice is v[from:to:step].
func (r *run) slice(v Value, s sliceExpr, sc *scope) Value {
	r.defined(v)
	bound := func(e expression) (int, bool) {
		if e == nil {
			return 0, false
		}
		x := r.eval(e, sc)
		if x == nil {
			return 0, false
		}
		i, _, isInt, ok := number(x)
		if !ok || !isInt {
			r.fail("slice indices must be integers or None, not %s", typeName(x))
		}
		return i, true
	}
	var items []Value
	text, isText := v.(string)
	if !isText {
		var ok bool
		if items, ok = indexed(v); !ok {
			r.fail("'%s' object can't be sliced", typeName(v))
		}
	}
	n := r.length(v)
	step, given := bound(s.step)
	if !given {
		step = 1
	}
	if step == 0 {
		r.fail("slice step cannot be zero")
	}
	low, high := 0, n // what the bounds are clipped to
	from, to := 0, n
	if step < 0 {
		low, high = -1, n-1
		from, to = n-1, -1
	}
	clip := func(i int) int {
		if i < 0 {
			i += n
		}
		return min(max(i, low), high)
	}
	if i, ok := bound(s.from); ok {
		from = clip(i)
	}
	if i, ok := bound(s.to); ok {
		to = clip(i)
	}
	if step == 1 {
		to = max(from, to)
		if isText {
			return substring(text, from, to)
		}
		return like(v, items[from:to:to])
	}
	var runes []rune
	if isText {
		r.made(4 * len(text))
		runes = []rune(text)
	}
	var out []Value
	var b strings.Builder
	for i := from; step > 0 && i < to || step < 0 && i > to; i += step {
		if isText {
			b.WriteRune(runes[i])
		} else {
			out = append(out, items[i])
		}
	}
	r.made(b.Len() + 16*len(out))
	if isText {
		return b.String()
	}
	return like(v, out)
}

// like gives items the type of v, a list, a tuple or a range.
func like(v Value, items []Value) Value {
	switch v.(type) {
	case Tuple:
		return Tuple(items)
	case *view:
		return &view{name: "range", items: items}
	}
	return List(items)
}

// substring is s[from:to] in characters; the bounds lie within s.
func substring(s string, from, to int) string {
	start, end, n := len(s), len(s), 0
	for i := range s {
		if n == from {
			start = i
		}
		if n == to {
			end = i
			break
		}
		n++
	}
	return s[min(start, end):end]
}
