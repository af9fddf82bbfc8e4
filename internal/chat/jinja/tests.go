package jinja

import (
	"strings"
	"unicode"
)

// test is v is name(a).
func (r *run) test(name string, v Value, a callArguments) bool {
	one := func() Value { return *r.parameters("the test "+name, a, "other!")[0] }
	integer := func(v Value) int {
		i, _, isInt, ok := number(r.defined(v))
		if !ok || !isInt {
			r.fail("the test %s needs an integer, not %s", name, typeName(v))
		}
		return i
	}
	switch name {
	case "defined":
		_, ok := v.(undefined)
		return !ok
	case "undefined":
		_, ok := v.(undefined)
		return ok
	case "none":
		return v == nil
	case "boolean":
		_, ok := v.(bool)
		return ok
	case "true":
		return v == true
	case "false":
		return v == false
	case "integer":
		_, ok := v.(int)
		return ok || isBig(v)
	case "float":
		_, ok := v.(float64)
		return ok
	case "number":
		_, _, _, ok := number(v)
		return ok
	case "string":
		_, ok := v.(string)
		return ok
	case "mapping":
		_, ok := v.(*Dict)
		return ok
	case "sequence": // what has a length and items, dicts included
		_, isList := sequence(v)
		_, isString := v.(string)
		_, isDict := v.(*Dict)
		_, isUndefined := v.(undefined)
		return isList || isString || isDict || isUndefined || typeName(v) == "range"
	case "iterable":
		return iterable(v)
	case "callable":
		switch v.(type) {
		case *function, *macro, *loop:
			return true
		}
		return false
	case "even":
		return integer(v)%2 == 0
	case "odd":
		return integer(v)%2 != 0
	case "divisibleby":
		n := integer(one())
		if n == 0 {
			r.fail("division by zero")
		}
		return integer(v)%n == 0
	case "eq", "equalto", "==":
		return r.equal(v, one(), 0)
	case "ne", "!=":
		return !r.equal(v, one(), 0)
	case "lt", "lessthan", "<":
		return r.less(v, one())
	case "gt", "greaterthan", ">":
		return r.less(one(), v)
	case "le", "<=":
		return !r.less(one(), v)
	case "ge", ">=":
		return !r.less(v, one())
	case "in":
		return r.contains(one(), v)
	case "sameas":
		other := one()
		return typeName(v) == typeName(other) && r.equal(v, other, 0)
	case "lower":
		s := r.text(v)
		return s == strings.ToLower(s) && strings.IndexFunc(s, unicode.IsLower) >= 0
	case "upper":
		s := r.text(v)
		return s == strings.ToUpper(s) && strings.IndexFunc(s, unicode.IsUpper) >= 0
	case "escaped":
		return false
	}
	r.fail("no test named %q", name)
	return false
}
