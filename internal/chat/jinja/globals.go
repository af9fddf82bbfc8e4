package jinja

import (
	"sort"
	"time"
)

var globals map[string]Value

func init() {
	globals = map[string]Value{}
	for name, f := range map[string]func(*run, callArguments) Value{
		"range": rangeOf, "dict": dictOf, "namespace": namespaceOf, "raise_exception": raise, "strftime_now": strftimeNow,
		"joiner": joiner, "cycler": cycler,
	} {
		globals[name] = &function{name, f}
	}
}

func sortedNames(m map[string]Value) []string {
	out := make([]string, 0, len(m))
	for name := range m {
		out = append(out, name)
	}
	sort.Strings(out)
	return out
}

func raise(r *run, a callArguments) Value {
	message := r.parameters("raise_exception", a, "message!")[0]
	panic(&Error{Line: r.line, Message: r.text(*message), Raised: true})
}

func strftimeNow(r *run, a callArguments) Value {
	format := r.stringOr(r.parameters("strftime_now", a, "format!")[0], "")
	if r.now.IsZero() {
		r.now = time.Now()
	}
	return r.strftime(r.now, format)
}

func rangeOf(r *run, a callArguments) Value {
	p := r.parameters("range", a, "start!", "stop", "step")
	from, to, step := 0, r.intOr(p[0], 0), 1
	if p[1] != nil {
		from, to = to, r.intOr(p[1], 0)
	}
	if p[2] != nil {
		step = r.intOr(p[2], 1)
	}
	if step == 0 {
		r.fail("range() arg 3 must not be zero")
	}
	out := []Value{}
	for i := from; step > 0 && i < to || step < 0 && i > to; i += step {
		if len(out) >= maxRange {
			r.fail("range too big: more than %d items", maxRange)
		}
		out = append(out, i)
	}
	r.made(16 * len(out))
	return rangeView(out, from, to, step)
}

func dictOf(r *run, a callArguments) Value {
	d := NewDict()
	if len(a.list) > 1 {
		r.fail("dict expected at most 1 argument, got %d", len(a.list))
	}
	if len(a.list) == 1 {
		if from, ok := a.list[0].(*Dict); ok {
			for i, k := range from.keys {
				d.set(k, from.values[i])
			}
		} else {
			for _, item := range r.items(a.list[0]) {
				pair := r.items(item)
				if len(pair) != 2 {
					r.fail("dict: an item of length %d; 2 is required", len(pair))
				}
				d.set(r.key(pair[0]), pair[1])
			}
		}
	}
	for _, name := range sortedNames(a.named) {
		d.set(name, a.named[name])
	}
	r.made(64 * d.Len())
	return d
}

func namespaceOf(r *run, a callArguments) Value {
	d := dictOf(r, a).(*Dict)
	for _, k := range d.keys {
		if name, ok := k.(string); ok && len(name) > 0 && name[0] == '_' {
			r.fail("chat templates cannot store underscore-prefixed attributes on a namespace, but got '%s'", name)
		}
	}
	return &namespace{d}
}

func joiner(r *run, a callArguments) Value {
	sep := r.stringOr(r.parameters("joiner", a, "sep")[0], ", ")
	used := false
	return &function{"joiner", func(*run, callArguments) Value {
		if !used {
			used = true
			return ""
		}
		return sep
	}}
}

func cycler(r *run, a callArguments) Value {
	if len(a.list) == 0 {
		r.fail("at least one item has to be provided")
	}
	at := 0
	d := NewDict()
	d.set("next", &function{"next", func(*run, callArguments) Value {
		v := a.list[at]
		at = (at + 1) % len(a.list)
		return v
	}})
	d.set("reset", &function{"reset", func(*run, callArguments) Value { at = 0; return nil }})
	return &namespace{d}
}
