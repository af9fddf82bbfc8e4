package jinja

import "strings"

// callArguments are the values of a call's arguments.
type callArguments struct {
	list  []Value
	named map[string]Value
}

// A function is something of Go that a template can call.
type function struct {
	name string
	f    func(*run, callArguments) Value
}

// A macro is a {% macro %}, or the body of a {% call %}.
type macro struct {
	definition *macroDefinition
	sc         *scope // where it was defined
}

func (r *run) arguments(a arguments, sc *scope) callArguments {
	out := callArguments{list: r.evalAll(a.args, sc), named: map[string]Value{}}
	for i, name := range a.names {
		out.named[name] = r.eval(a.values[i], sc)
	}
	if a.list != nil {
		items := r.items(r.eval(a.list, sc))
		r.made(16 * len(items))
		out.list = append(out.list, items...)
	}
	if a.object != nil {
		d, ok := r.eval(a.object, sc).(*Dict)
		if !ok {
			r.fail("the argument after ** must be a mapping")
		}
		for i, k := range d.keys {
			name, ok := k.(string)
			if !ok {
				r.fail("keywords must be strings")
			}
			out.named[name] = d.values[i]
		}
	}
	return out
}

func (r *run) call(of Value, a callArguments) Value {
	defer r.deeper()()
	switch f := of.(type) {
	case *function:
		return f.f(r, a)
	case *macro:
		return r.callMacro(f, a)
	case *loop:
		return f.recurse(r, a)
	}
	r.defined(of)
	r.fail("'%s' object is not callable", typeName(of))
	return nil
}

func (r *run) callMacro(m *macro, a callArguments) Value {
	in := m.sc.inner()
	d := m.definition
	line := r.line
	for i, name := range d.params {
		if i < len(a.list) {
			in.vars[name] = a.list[i]
		} else if v, ok := a.named[name]; ok {
			in.vars[name] = v
		} else if j := i - (len(d.params) - len(d.defaults)); j >= 0 {
			in.vars[name] = r.eval(d.defaults[j], in)
		} else {
			in.vars[name] = undefined{"parameter '" + name + "' was not provided"}
		}
	}
	rest := Tuple{}
	if len(a.list) > len(d.params) {
		rest = Tuple(a.list[len(d.params):])
	}
	extra := NewDict()
	for _, name := range sortedNames(a.named) {
		if name == "caller" {
			in.vars["caller"] = a.named[name]
		} else if _, ok := in.vars[name]; !ok {
			extra.set(name, a.named[name])
		}
	}
	in.vars["varargs"], in.vars["kwargs"] = rest, extra
	text := r.capture(d.body, in)
	r.line = line
	return text
}

// parameters gives the values of a builtin's parameters, in their order; nil means "not given". Those that end in
// "!" must be given.
func (r *run) parameters(what string, a callArguments, names ...string) []*Value {
	out := make([]*Value, len(names))
	if len(a.list) > len(names) {
		r.fail("%s takes at most %d arguments, not %d", what, len(names), len(a.list))
	}
	for i := range a.list {
		out[i] = &a.list[i]
	}
	used := 0
	for i, name := range names {
		name, required := strings.CutSuffix(name, "!")
		if v, ok := a.named[name]; ok {
			used++
			if out[i] != nil {
				r.fail("%s got two values for %s", what, name)
			}
			out[i] = &v
		}
		if required && out[i] == nil {
			r.fail("%s: the argument %s is missing", what, name)
		}
	}
	if used < len(a.named) {
		for _, name := range sortedNames(a.named) {
			if !contains(names, name) {
				r.fail("%s got an unexpected argument %q", what, name)
			}
		}
	}
	return out
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if strings.TrimSuffix(n, "!") == name {
			return true
		}
	}
	return false
}

func (r *run) stringOr(v *Value, missing string) string {
	if v == nil {
		return missing
	}
	s, ok := (*v).(string)
	if !ok {
		r.defined(*v)
		r.fail("expected a string, got %s", typeName(*v))
	}
	return s
}

func (r *run) intOr(v *Value, missing int) int {
	if v == nil || *v == nil {
		return missing
	}
	i, _, isInt, ok := number(*v)
	if !ok || !isInt {
		r.defined(*v)
		r.fail("expected an integer, got %s", typeName(*v))
	}
	return i
}

func valueOr(v *Value, missing Value) Value {
	if v == nil {
		return missing
	}
	return *v
}
