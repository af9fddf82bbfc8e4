package jinja

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Value is what a template computes with: nil (None), bool, int, *big.Int, float64, string, List, Tuple, *Dict,
// undefined, *namespace, *stream, *view, or something to call. Values don't change once they are made, namespaces excepted.
type Value any

type (
	// A List is a Python list.
	List []Value
	// A Tuple is a Python tuple.
	Tuple []Value

	// undefined is what a name or attribute that isn't there gives; hint says which.
	undefined struct{ hint string }

	namespace struct{ *Dict }
)

// typeName is Python's name of the value's type.
func typeName(v Value) string {
	switch v := v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case int, *big.Int:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case List:
		return "list"
	case Tuple:
		return "tuple"
	case *Dict:
		return "dict"
	case undefined:
		return "Undefined"
	case *namespace:
		return "Namespace"
	case *loop:
		return "LoopContext"
	case *stream:
		return "generator"
	case *view:
		return v.name
	case *macro:
		return "Macro"
	}
	return "function"
}

func truth(v Value) bool {
	switch v := v.(type) {
	case nil, undefined:
		return false
	case bool:
		return v
	case int:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case List:
		return len(v) > 0
	case Tuple:
		return len(v) > 0
	case *Dict:
		return v.Len() > 0
	case *view:
		return len(v.items) > 0
	}
	return true
}

// text is Python's str(v). It is what a template prints. The length is bounded by limit, at which it panics.
func (r *run) text(v Value) string {
	if s, ok := v.(string); ok {
		return s
	}
	var b strings.Builder
	r.write(&b, v, false, 0)
	r.made(b.Len())
	return b.String()
}

// write writes str(v), or with quote repr(v).
func (r *run) write(b *strings.Builder, v Value, quote bool, depth int) {
	if r.step(); depth > maxNesting {
		r.fail("the value nests too deeply to be printed")
	}
	r.room(b.Len())
	list := func(open string, items []Value, end string) {
		b.WriteString(open)
		for i, item := range items {
			if i > 0 {
				b.WriteString(", ")
			}
			r.write(b, item, true, depth+1)
		}
		b.WriteString(end)
	}
	switch v := v.(type) {
	case nil:
		b.WriteString("None")
	case undefined:
		if quote {
			b.WriteString("Undefined")
		}
	case bool:
		if v {
			b.WriteString("True")
		} else {
			b.WriteString("False")
		}
	case int:
		b.WriteString(strconv.Itoa(v))
	case *big.Int:
		b.WriteString(v.String())
	case float64:
		b.WriteString(floatText(v))
	case string:
		if quote {
			writeRepr(b, v)
		} else {
			b.WriteString(v)
		}
	case List:
		list("[", v, "]")
	case Tuple:
		if len(v) == 1 {
			list("(", v, ",)")
		} else {
			list("(", v, ")")
		}
	case *Dict:
		b.WriteByte('{')
		for i := range v.keys {
			if i > 0 {
				b.WriteString(", ")
			}
			r.write(b, v.keys[i], true, depth+1)
			b.WriteString(": ")
			r.write(b, v.values[i], true, depth+1)
		}
		b.WriteByte('}')
	case *view:
		switch {
		case v.name != "range":
			list(v.name+"([", v.items, "])")
		case v.text == "":
			r.fail("it prints a slice of a range: put the filter list behind it")
		default:
			b.WriteString(v.text)
		}
	case *stream:
		r.fail("it prints an iterator, of which Python prints where it lies in memory: put the filter list behind it")
	default:
		r.fail("it prints a %s, of which Python prints where it lies in memory", typeName(v))
	}
}

// floatText is Python's repr of a float: the shortest digits, with an exponent below 1e-4 and from 1e16 on.
func floatText(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case math.IsNaN(f):
		return "nan"
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

func writeRepr(b *strings.Builder, s string) {
	quote := '\''
	if strings.ContainsRune(s, '\'') && !strings.ContainsRune(s, '"') {
		quote = '"'
	}
	b.WriteRune(quote)
	for _, c := range s {
		switch {
		case c == quote || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c == ' ' || unicode.IsPrint(c):
			b.WriteRune(c)
		case c < 0x100:
			fmt.Fprintf(b, `\x%02x`, c)
		case c < 0x10000:
			fmt.Fprintf(b, `\u%04x`, c)
		default:
			fmt.Fprintf(b, `\U%08x`, c)
		}
	}
	b.WriteRune(quote)
}

// number gives the value as a number: an int where exact, else a float.
func number(v Value) (i int, f float64, isInt, ok bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, 1, true, true
		}
		return 0, 0, true, true
	case int:
		return v, float64(v), true, true
	case *big.Int:
		f, _ := new(big.Float).SetInt(v).Float64()
		return 0, f, false, true
	case float64:
		return 0, v, false, true
	}
	return 0, 0, false, false
}

func (r *run) equal(a, b Value, depth int) bool {
	if r.step(); depth > maxNesting {
		r.fail("the values nest too deeply to be compared")
	}
	if ai, af, aInt, ok := number(a); ok {
		bi, bf, bInt, ok := number(b)
		if x, big1 := a.(*big.Int); big1 {
			y, big2 := b.(*big.Int)
			return big2 && x.Cmp(y) == 0
		}
		return ok && (aInt && bInt && ai == bi || !(aInt && bInt) && af == bf)
	}
	items := func(a, b []Value) bool {
		if len(a) != len(b) {
			return false
		}
		for i := range a {
			if !r.equal(a[i], b[i], depth+1) {
				return false
			}
		}
		return true
	}
	switch a := a.(type) {
	case nil:
		return b == nil
	case undefined:
		_, ok := b.(undefined)
		return ok
	case string:
		s, ok := b.(string)
		r.work(len(a))
		return ok && a == s
	case List:
		l, ok := b.(List)
		return ok && items(a, l)
	case Tuple:
		l, ok := b.(Tuple)
		return ok && items(a, l)
	case *Dict:
		d, ok := b.(*Dict)
		if !ok || a.Len() != d.Len() {
			return false
		}
		for i, k := range a.keys {
			v, ok := d.get(k)
			if !ok || !r.equal(a.values[i], v, depth+1) {
				return false
			}
		}
		return true
	case *namespace:
		return a == b
	case *macro:
		return a == b
	case *loop:
		return a == b
	case *stream:
		return a == b
	case *view:
		w, ok := b.(*view)
		return a == b || ok && a.name == w.name && a.name != "dict_values" && items(a.items, w.items)
	}
	return false
}

// less is Python's a < b; it fails for values without an order.
func (r *run) less(a, b Value) bool {
	r.step()
	if ai, af, aInt, ok := number(a); ok {
		if bi, bf, bInt, ok := number(b); ok {
			if aInt && bInt {
				return ai < bi
			}
			return af < bf
		}
	}
	if x, ok := a.(string); ok {
		if y, ok := b.(string); ok {
			r.work(min(len(x), len(y)))
			return x < y
		}
	}
	x, okX := sequence(a)
	y, okY := sequence(b)
	if okX && okY && typeName(a) == typeName(b) {
		for i := range min(len(x), len(y)) {
			if !r.equal(x[i], y[i], 0) {
				defer r.deeper()()
				return r.less(x[i], y[i])
			}
		}
		return len(x) < len(y)
	}
	r.defined(a)
	r.defined(b)
	r.fail("'<' not supported between instances of %q and %q", typeName(a), typeName(b))
	return false
}

func sequence(v Value) ([]Value, bool) {
	switch v := v.(type) {
	case List:
		return v, true
	case Tuple:
		return v, true
	}
	return nil, false
}

// items are what a for loop over v sees.
func (r *run) items(v Value) []Value {
	switch v := v.(type) {
	case undefined:
		return nil
	case List:
		return v
	case Tuple:
		return v
	case *Dict:
		r.made(16 * len(v.keys))
		return append([]Value{}, v.keys...)
	case string:
		r.made(32 * len(v))
		out := make([]Value, 0, len(v))
		for _, c := range v {
			out = append(out, string(c))
		}
		return out
	case *stream:
		return v.left()
	case *view:
		return v.items
	}
	r.fail("'%s' object is not iterable", typeName(v))
	return nil
}

func (r *run) length(v Value) int {
	switch v := v.(type) {
	case undefined:
		return 0
	case string:
		r.work(len(v))
		return utf8.RuneCountInString(v)
	case List:
		return len(v)
	case Tuple:
		return len(v)
	case *Dict:
		return v.Len()
	case *loop:
		return len(v.items)
	case *view:
		return len(v.items)
	}
	r.fail("object of type '%s' has no len()", typeName(v))
	return 0
}

// contains is Python's item in v.
func (r *run) contains(v, item Value) bool {
	switch v := v.(type) {
	case string:
		s, ok := item.(string)
		if !ok {
			r.defined(item)
			r.fail("'in <string>' requires string as left operand, not %s", typeName(item))
		}
		r.work(len(v))
		return strings.Contains(v, s)
	case *Dict:
		_, ok := v.get(r.key(item))
		return ok
	}
	for _, x := range r.items(v) {
		if r.equal(x, item, 0) {
			return true
		}
	}
	return false
}
