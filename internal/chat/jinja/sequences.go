package jinja

import (
	"strconv"
	"strings"
)

// path is the attribute of v that a filter's attribute argument names: an index, a name, or names with dots.
func (r *run) path(v, attribute Value) Value {
	s, ok := attribute.(string)
	if !ok {
		return r.item(v, attribute)
	}
	for _, part := range strings.Split(s, ".") {
		if i, err := strconv.Atoi(part); err == nil {
			v = r.item(v, i)
		} else {
			v = r.item(v, part)
		}
	}
	return v
}

func mapped(r *run, v Value, a callArguments) Value {
	in := r.items(v)
	r.made(16 * len(in))
	out := make([]Value, len(in))
	if attribute, ok := a.named["attribute"]; ok && len(a.list) == 0 {
		p := r.parameters("map", a, "attribute!", "default")
		for i, item := range in {
			out[i] = r.path(item, attribute)
			if _, missing := out[i].(undefined); missing && p[1] != nil {
				out[i] = *p[1]
			}
		}
		return &stream{out}
	}
	if len(a.list) == 0 {
		r.fail("map requires a filter argument")
	}
	name := r.stringOr(&a.list[0], "")
	for i, item := range in {
		out[i] = r.filter(name, item, callArguments{a.list[1:], a.named})
	}
	return &stream{out}
}

// chosen makes select, reject, selectattr and rejectattr.
func chosen(what string, byAttribute, want bool) filter {
	return func(r *run, v Value, a callArguments) Value {
		rest := a.list
		get := func(v Value) Value { return v }
		if byAttribute {
			if len(rest) == 0 {
				r.fail("%s: the argument attribute is missing", what)
			}
			attribute := rest[0]
			get = func(v Value) Value { return r.path(v, attribute) }
			rest = rest[1:]
		}
		holds := func(v Value) bool { return truth(v) }
		if len(rest) > 0 {
			name := r.stringOr(&rest[0], "")
			holds = func(v Value) bool { return r.test(name, v, callArguments{rest[1:], a.named}) }
		}
		out := &stream{}
		for _, item := range r.items(v) {
			r.made(16)
			if holds(get(item)) == want {
				out.items = append(out.items, item)
			}
		}
		return out
	}
}

func sorted(r *run, v Value, a callArguments) Value {
	p := r.parameters("sort", a, "reverse", "case_sensitive", "attribute")
	return r.sortBy(r.items(v), r.sortKey(p[2], p[1]), truth(valueOr(p[0], false)))
}

// sortKey is what items are compared by: themselves or an attribute (or several, with commas between them).
func (r *run) sortKey(attribute, caseSensitive *Value) func(Value) Value {
	sensitive := truth(valueOr(caseSensitive, false))
	if attribute == nil || *attribute == nil {
		return func(v Value) Value { return fold(v, sensitive) }
	}
	if s, ok := (*attribute).(string); ok && strings.Contains(s, ",") {
		return func(v Value) Value {
			var out Tuple
			for _, name := range strings.Split(s, ",") {
				out = append(out, fold(r.path(v, name), sensitive))
			}
			return out
		}
	}
	return func(v Value) Value { return fold(r.path(v, *attribute), sensitive) }
}

func unique(r *run, v Value, a callArguments) Value {
	p := r.parameters("unique", a, "case_sensitive", "attribute")
	key, seen, out := r.sortKey(p[1], p[0]), NewDict(), &stream{}
	for _, item := range r.items(v) {
		r.made(64)
		k := r.key(key(item))
		if _, ok := seen.get(k); !ok {
			seen.set(k, true)
			out.items = append(out.items, item)
		}
	}
	return out
}

// extreme makes min and max.
func extreme(largest bool) filter {
	return func(r *run, v Value, a callArguments) Value {
		p := r.parameters("min", a, "case_sensitive", "attribute")
		in, key := r.items(v), r.sortKey(p[1], p[0])
		if len(in) == 0 {
			return undefined{"no aggregated item, sequence was empty"}
		}
		best := in[0]
		for _, item := range in[1:] {
			x, y := key(item), key(best)
			if largest {
				x, y = y, x
			}
			if r.less(x, y) {
				best = item
			}
		}
		return best
	}
}

func sum(r *run, v Value, a callArguments) Value {
	p := r.parameters("sum", a, "attribute", "start")
	total := valueOr(p[1], 0)
	for _, item := range r.items(v) {
		if p[0] != nil && *p[0] != nil {
			item = r.path(item, *p[0])
		}
		total = r.binary("+", total, item)
	}
	return total
}

func groupby(r *run, v Value, a callArguments) Value {
	p := r.parameters("groupby", a, "attribute!", "default", "case_sensitive")
	get := func(v Value) Value {
		x := r.path(v, *p[0])
		if _, missing := x.(undefined); missing && p[1] != nil {
			x = *p[1]
		}
		return x
	}
	sensitive := truth(valueOr(p[2], false))
	key := func(v Value) Value { return fold(get(v), sensitive) }
	out := List{}
	var group List
	in := r.sortBy(r.items(v), key, false)
	for i, item := range in {
		group = append(group, item)
		if i+1 == len(in) || !r.equal(key(item), key(in[i+1]), 0) {
			out = append(out, Tuple{get(group[0]), group})
			group = nil
		}
	}
	return out
}

func batch(r *run, v Value, a callArguments) Value {
	p := r.parameters("batch", a, "linecount!", "fill_with")
	n := r.intOr(p[0], 1)
	if n < 1 {
		r.fail("batch: the size must be positive, not %d", n)
	}
	in, out := r.items(v), &stream{}
	r.made(32 * len(in))
	if p[1] != nil && len(in)%n > 0 {
		r.made(16 * min(n, maxOutput))
	}
	for from := 0; from < len(in); from += n {
		part := append(List{}, in[from:min(from+n, len(in))]...)
		for p[1] != nil && *p[1] != nil && len(part) < n {
			part = append(part, *p[1])
		}
		out.items = append(out.items, part)
	}
	return out
}

func sliced(r *run, v Value, a callArguments) Value {
	p := r.parameters("slice", a, "slices!", "fill_with")
	in, n, out := r.items(v), r.intOr(p[0], 1), &stream{}
	if n < 1 {
		r.fail("slice: the number of slices must be positive, not %d", n)
	}
	r.made(32 * (len(in) + min(n, maxBytes)))
	at := 0
	for i := range n {
		size := len(in) / n
		if i < len(in)%n {
			size++
		}
		part := append(List{}, in[at:at+size]...)
		at += size
		if p[1] != nil && *p[1] != nil && i >= len(in)%n {
			part = append(part, *p[1])
		}
		out.items = append(out.items, part)
	}
	return out
}
