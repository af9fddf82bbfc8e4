package jinja

import (
	"fmt"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"
)

type method func(r *run, self Value, a callArguments) Value

// changers are the methods that jinja2's immutable sandbox keeps from templates.
var changers = map[string]string{"append": "list", "extend": "list", "insert": "list", "remove": "list", "sort": "list",
	"reverse": "list", "pop": "list dict", "clear": "list dict", "update": "dict", "setdefault": "dict", "popitem": "dict"}

// method is the method of v's type that has the name.
func (r *run) method(v Value, name string) (Value, bool) {
	var methods map[string]method
	switch v.(type) {
	case string:
		methods = stringMethods
	case *Dict:
		methods = dictMethods
	case List, Tuple:
		methods = listMethods
	case float64:
		methods = floatMethods
	}
	if types := changers[name]; strings.Contains(types, typeName(v)) && types != "" {
		return undefined{fmt.Sprintf("access to attribute '%s' of '%s' object is unsafe: a chat template can't change its input", name, typeName(v))}, true
	}
	m, ok := methods[name]
	if !ok {
		return nil, false
	}
	return &function{name, func(r *run, a callArguments) Value {
		if s, ok := v.(string); ok {
			r.work(len(s))
		}
		return m(r, v, a)
	}}, true
}

var floatMethods = map[string]method{
	"is_integer": func(_ *run, v Value, _ callArguments) Value { return v.(float64) == math.Trunc(v.(float64)) },
}

var listMethods = map[string]method{
	"index": func(r *run, v Value, a callArguments) Value {
		x := *r.parameters("index", a, "value!")[0]
		items, _ := sequence(v)
		for i, item := range items {
			if r.equal(item, x, 0) {
				return i
			}
		}
		r.fail("%s is not in list", r.text(x))
		return nil
	},
	"count": func(r *run, v Value, a callArguments) Value {
		x, n := *r.parameters("count", a, "value!")[0], 0
		items, _ := sequence(v)
		for _, item := range items {
			if r.equal(item, x, 0) {
				n++
			}
		}
		return n
	},
	"copy": func(_ *run, v Value, _ callArguments) Value { return v },
}

var dictMethods = map[string]method{
	"keys": func(r *run, v Value, _ callArguments) Value { return &view{name: "dict_keys", items: r.items(v)} },
	"values": func(r *run, v Value, _ callArguments) Value {
		r.made(16 * v.(*Dict).Len())
		return &view{name: "dict_values", items: append([]Value{}, v.(*Dict).values...)}
	},
	"items": func(r *run, v Value, _ callArguments) Value {
		return &view{name: "dict_items", items: r.pairs(v.(*Dict))}
	},
	"get": func(r *run, v Value, a callArguments) Value {
		p := r.parameters("get", a, "key!", "default")
		if item, ok := v.(*Dict).get(r.key(*p[0])); ok {
			return item
		}
		return valueOr(p[1], nil)
	},
	"copy": func(r *run, v Value, _ callArguments) Value { return dictOf(r, callArguments{list: []Value{v}}) },
}

// pairs are the items of a dict.
func (r *run) pairs(d *Dict) []Value {
	r.made(64 * d.Len())
	out := make([]Value, d.Len())
	for i := range out {
		out[i] = Tuple{d.keys[i], d.values[i]}
	}
	return out
}

// trimmer makes strip and its kin.
func trimmer(left, right bool) method {
	return func(r *run, v Value, a callArguments) Value {
		set := r.parameters("strip", a, "chars")[0]
		in := isSpace
		if set != nil && *set != nil {
			chars := r.stringOr(set, "")
			in = func(c rune) bool { return strings.ContainsRune(chars, c) }
		}
		s := v.(string)
		if left {
			s = strings.TrimLeftFunc(s, in)
		}
		if right {
			s = strings.TrimRightFunc(s, in)
		}
		return s
	}
}

// mapper makes a method without arguments.
func mapper(f func(string) string) method {
	return func(r *run, v Value, a callArguments) Value {
		r.parameters("the method", a)
		s := f(v.(string))
		r.made(len(s))
		return s
	}
}

// every makes a method that says whether all characters are such, and there is one.
func every(f func(rune) bool) method {
	return func(r *run, v Value, a callArguments) Value {
		r.parameters("the method", a)
		s := v.(string)
		return s != "" && strings.IndexFunc(s, func(c rune) bool { return !f(c) }) < 0
	}
}

// affix makes startswith and endswith.
func affix(name string, f func(s, affix string) bool) method {
	return func(r *run, v Value, a callArguments) Value {
		p := r.parameters(name, a, "prefix!", "start", "end")
		s := within(r, v.(string), p[1], p[2])
		if options, ok := (*p[0]).(Tuple); ok {
			for i := range options {
				if f(s, r.stringOr(&options[i], "")) {
					return true
				}
			}
			return false
		}
		return f(s, r.stringOr(p[0], ""))
	}
}

// within is s[start:end] in characters.
func within(r *run, s string, start, end *Value) string {
	if start == nil && end == nil {
		return s
	}
	n := r.length(s)
	at := func(v *Value, missing int) int {
		i := r.intOr(v, missing)
		if i < 0 {
			i += n
		}
		return min(max(i, 0), n)
	}
	from, to := at(start, 0), at(end, n)
	return substring(s, from, max(from, to))
}

// finder makes find, index and their kin.
func finder(name string, f func(s, sub string) int, fails bool) method {
	return func(r *run, v Value, a callArguments) Value {
		p := r.parameters(name, a, "sub!", "start", "end")
		s := v.(string)
		piece := within(r, s, p[1], p[2])
		i := f(piece, r.stringOr(p[0], ""))
		if i < 0 {
			if fails {
				r.fail("substring not found")
			}
			return -1
		}
		start := 0
		if p[1] != nil {
			if start = r.intOr(p[1], 0); start < 0 {
				start = max(0, start+r.length(s))
			}
		}
		return start + r.length(piece[:i])
	}
}

// padder makes ljust, rjust and center.
func padder(name string, left, right bool) method {
	return func(r *run, v Value, a callArguments) Value {
		p := r.parameters(name, a, "width!", "fillchar")
		s, fill := v.(string), r.stringOr(p[1], " ")
		n := max(r.intOr(p[0], 0)-r.length(s), 0)
		if left && right { // Python puts the odd one to the left when the width is odd
			before := n/2 + n&(r.intOr(p[0], 0))&1
			return r.repeat(fill, before) + s + r.repeat(fill, n-before)
		}
		if left {
			return r.repeat(fill, n) + s
		}
		return s + r.repeat(fill, n)
	}
}

func isUpperText(s string) bool {
	return strings.IndexFunc(s, unicode.IsUpper) >= 0 && strings.IndexFunc(s, unicode.IsLower) < 0
}

func isLowerText(s string) bool {
	return strings.IndexFunc(s, unicode.IsLower) >= 0 && strings.IndexFunc(s, unicode.IsUpper) < 0
}

func isAlnum(c rune) bool {
	return unicode.IsLetter(c) || unicode.IsNumber(c)
}

// title is Python's str.title: a letter after a non-letter is upper case, the others lower case.
func title(s string) string {
	letter := false
	return strings.Map(func(c rune) rune {
		was := letter
		letter = unicode.IsLetter(c)
		if was {
			return unicode.ToLower(c)
		}
		return unicode.ToTitle(c)
	}, s)
}

// capitalize is Python's str.capitalize.
func capitalize(s string) string {
	_, size := utf8.DecodeRuneInString(s)
	return strings.ToTitle(s[:size]) + strings.ToLower(s[size:])
}

func swapcase(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsUpper(c) {
			return unicode.ToLower(c)
		}
		return unicode.ToUpper(c)
	}, s)
}
