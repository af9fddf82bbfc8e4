package jinja

import (
	"html"
	"math"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"unicode"
)

type filter func(r *run, v Value, a callArguments) Value

// filter is v | name(a).
func (r *run) filter(name string, v Value, a callArguments) Value {
	f, ok := filters[name]
	if !ok {
		r.fail("no filter named %q", name)
	}
	if s, ok := v.(string); ok {
		r.work(len(s))
	}
	return f(r, v, a)
}

var filters map[string]filter

func init() { // select and its kin call filters, which would make an initialisation cycle
	filters = map[string]filter{
		"abs": absolute, "attr": attribute, "batch": batch, "capitalize": onText(capitalize), "center": center,
		"count": length, "d": defaulted, "default": defaulted, "dictsort": dictsort, "e": onText(html.EscapeString),
		"escape": onText(html.EscapeString), "first": first, "float": toFloat, "forceescape": onText(html.EscapeString),
		"format": formatFilter, "groupby": groupby, "indent": indent, "int": toInt, "items": items, "join": join, "last": last,
		"length": length, "list": toList, "lower": onText(strings.ToLower), "map": mapped, "max": extreme(true),
		"min": extreme(false), "reject": chosen("reject", false, false), "rejectattr": chosen("rejectattr", true, false),
		"replace": replace, "reverse": reverse, "round": round, "safe": toString, "select": chosen("select", false, true),
		"selectattr": chosen("selectattr", true, true), "slice": sliced, "sort": sorted, "string": toString, "sum": sum,
		"title": onText(titleFilter), "tojson": toJSON, "trim": trim, "truncate": truncate, "unique": unique,
		"upper": onText(strings.ToUpper), "urlencode": urlencode, "wordcount": wordcount,
	}
}

// onText makes a filter without arguments that works on str(v).
func onText(f func(string) string) filter {
	return func(r *run, v Value, a callArguments) Value {
		r.parameters("the filter", a)
		s := f(r.text(v))
		r.made(len(s))
		return s
	}
}

func toString(r *run, v Value, _ callArguments) Value { return r.text(v) }

func toList(r *run, v Value, _ callArguments) Value { return List(r.items(v)) }

func length(r *run, v Value, _ callArguments) Value { return r.length(v) }

func absolute(r *run, v Value, _ callArguments) Value {
	if r.less(v, 0) {
		return r.negate(v)
	}
	if i, _, isInt, _ := number(v); isInt { // True is 1
		return i
	}
	return v
}

func attribute(r *run, v Value, a callArguments) Value {
	name := r.stringOr(r.parameters("attr", a, "name!")[0], "")
	if _, ok := v.(*Dict); ok { // attributes only, not items
		if m, ok := r.method(v, name); ok {
			return m
		}
		return undefined{"'dict object' has no attribute '" + name + "'"}
	}
	return r.attr(v, name)
}

func defaulted(r *run, v Value, a callArguments) Value {
	p := r.parameters("default", a, "default_value", "boolean")
	if _, missing := v.(undefined); missing || truth(valueOr(p[1], false)) && !truth(v) {
		return valueOr(p[0], "")
	}
	return v
}

func first(r *run, v Value, _ callArguments) Value {
	if s, ok := v.(*stream); ok {
		if item, ok := s.next(); ok {
			return item
		}
	} else if items := r.items(v); len(items) > 0 {
		return items[0]
	}
	return undefined{"no first item, sequence was empty"}
}

func last(r *run, v Value, _ callArguments) Value {
	if _, ok := v.(*stream); ok {
		r.fail("'generator' object is not reversible")
	}
	if items := r.items(v); len(items) > 0 {
		return items[len(items)-1]
	}
	return undefined{"no last item, sequence was empty"}
}

func items(r *run, v Value, _ callArguments) Value {
	switch v := v.(type) {
	case undefined:
		return &stream{}
	case *Dict:
		return &stream{r.pairs(v)}
	}
	r.fail("can only get item pairs from a mapping")
	return nil
}

func toFloat(r *run, v Value, a callArguments) Value {
	missing := valueOr(r.parameters("float", a, "default")[0], 0.0)
	if s, ok := v.(string); ok {
		if f, err := strconv.ParseFloat(strings.TrimFunc(s, isSpace), 64); err == nil {
			return f
		}
		return missing
	}
	if _, f, _, ok := number(r.defined(v)); ok {
		return f
	}
	return missing
}

func toInt(r *run, v Value, a callArguments) Value {
	p := r.parameters("int", a, "default", "base")
	missing := valueOr(p[0], 0)
	if s, ok := v.(string); ok {
		s = strings.TrimFunc(s, isSpace)
		base := r.intOr(p[1], 10)
		if base < 2 || base > 36 {
			r.fail("int: the base must be from 2 to 36")
		}
		if i, err := strconv.ParseInt(s, base, 64); err == nil {
			return int(i)
		}
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(f) || math.Abs(f) >= 1<<63 {
			return missing
		}
		return int(f)
	}
	i, f, isInt, ok := number(r.defined(v))
	switch {
	case isInt:
		return i
	case isBig(v):
		return v
	case !ok || math.IsNaN(f) || math.Abs(f) >= 1<<63:
		return missing
	}
	return int(f)
}

func round(r *run, v Value, a callArguments) Value {
	p := r.parameters("round", a, "precision", "method")
	i, f, isInt, ok := number(v)
	if !ok {
		r.fail("round needs a number, not %s", typeName(r.defined(v)))
	}
	precision := r.intOr(p[0], 0)
	scale := math.Pow(10, float64(precision))
	switch m := r.stringOr(p[1], "common"); m {
	case "common":
		if isInt && precision >= 0 {
			return i
		} else if isBig(v) && precision >= 0 {
			return v
		}
		return math.RoundToEven(f*scale) / scale
	case "ceil":
		return math.Ceil(f*scale) / scale
	case "floor":
		return math.Floor(f*scale) / scale
	default:
		r.fail("round: the method must be common, ceil or floor, not %q", m)
	}
	return nil
}

func replace(r *run, v Value, a callArguments) Value {
	p := r.parameters("replace", a, "old!", "new!", "count")
	return r.replace(r.text(v), r.text(*p[0]), r.text(*p[1]), r.intOr(p[2], -1))
}

func trim(r *run, v Value, a callArguments) Value {
	s := r.text(v)
	if p := r.parameters("trim", a, "chars")[0]; p != nil && *p != nil {
		chars := r.stringOr(p, "")
		return strings.TrimFunc(s, func(c rune) bool { return strings.ContainsRune(chars, c) })
	}
	return strings.TrimFunc(s, isSpace)
}

func center(r *run, v Value, a callArguments) Value {
	width := valueOr(r.parameters("center", a, "width")[0], 80)
	return stringMethods["center"](r, r.text(v), callArguments{list: []Value{width}})
}

func indent(r *run, v Value, a callArguments) Value {
	p := r.parameters("indent", a, "width", "first", "blank")
	by, isText := valueOr(p[0], 4).(string)
	if !isText {
		by = r.repeat(" ", r.intOr(p[0], 4))
	}
	blank := truth(valueOr(p[2], false))
	var b strings.Builder
	for i, l := range r.lines(r.stringOr(&v, "")+"\n", false) {
		if i > 0 {
			b.WriteByte('\n')
		}
		line := l.(string)
		if (i > 0 || truth(valueOr(p[1], false))) && (blank || line != "" || i == 0) {
			r.made(len(by))
			b.WriteString(by)
		}
		b.WriteString(line)
	}
	r.made(b.Len())
	return b.String()
}

// titleFilter is not str.title: words begin after white space, - and opening brackets only.
func titleFilter(s string) string {
	start := true
	return strings.Map(func(c rune) rune {
		was := start
		start = c == '-' || isSpace(c) || strings.ContainsRune("({[<", c)
		if was {
			return unicode.ToUpper(c)
		}
		return unicode.ToLower(c)
	}, s)
}

func truncate(r *run, v Value, a callArguments) Value {
	p := r.parameters("truncate", a, "length", "killwords", "end", "leeway")
	s, n, end := r.stringOr(&v, ""), r.intOr(p[0], 255), r.stringOr(p[2], "...")
	if r.length(s) <= n+r.intOr(p[3], 5) {
		return s
	}
	if n < r.length(end) {
		r.fail("truncate: expected length >= %d, got %d", r.length(end), n)
	}
	cut := substring(s, 0, n-r.length(end))
	if !truth(valueOr(p[1], false)) {
		if i := strings.LastIndex(cut, " "); i >= 0 {
			cut = cut[:i]
		}
	}
	return cut + end
}

func wordcount(r *run, v Value, _ callArguments) Value {
	return len(strings.FieldsFunc(r.text(v), func(c rune) bool { return !isAlnum(c) && c != '_' }))
}

func urlencode(r *run, v Value, _ callArguments) Value {
	quote := func(v Value) string {
		s := url.QueryEscape(r.text(v))
		r.made(len(s))
		return s
	}
	var pairs []Value
	switch v := v.(type) {
	case *Dict:
		pairs = r.pairs(v)
	case List, Tuple, *stream, *view:
		pairs = r.items(v)
	default:
		return strings.NewReplacer("+", "%20", "%2F", "/").Replace(quote(v))
	}
	var parts []string
	for _, p := range pairs {
		pair := r.items(p)
		if len(pair) != 2 {
			r.fail("urlencode: expected 2 values to unpack, got %d", len(pair))
		}
		parts = append(parts, quote(pair[0])+"="+quote(pair[1]))
	}
	return strings.Join(parts, "&")
}

func reverse(r *run, v Value, _ callArguments) Value {
	if s, ok := v.(string); ok {
		r.made(4 * len(s))
		runes := []rune(s)
		for i, j := 0, len(runes)-1; i < j; i, j = i+1, j-1 {
			runes[i], runes[j] = runes[j], runes[i]
		}
		return string(runes)
	}
	in := r.items(v)
	r.made(16 * len(in))
	out := make([]Value, len(in))
	for i, item := range in {
		out[len(in)-1-i] = item
	}
	switch v.(type) {
	case *stream, undefined: // which Python cannot reverse without making a list of it
		return List(out)
	}
	return &stream{out}
}

func join(r *run, v Value, a callArguments) Value {
	p := r.parameters("join", a, "d", "attribute")
	in := r.items(v)
	if p[1] != nil {
		out := make([]Value, len(in))
		for i, item := range in {
			out[i] = r.path(item, *p[1])
		}
		in = out
	}
	return r.join(in, r.text(valueOr(p[0], "")))
}

func toJSON(r *run, v Value, a callArguments) Value {
	p := r.parameters("tojson", a, "ensure_ascii", "indent", "separators", "sort_keys")
	w := &jsonWriter{r: r, ascii: truth(valueOr(p[0], false)), sort: truth(valueOr(p[3], false)), comma: ", ", colon: ": "}
	if in := valueOr(p[1], nil); in != nil {
		w.multiline, w.comma = true, ","
		if s, ok := in.(string); ok {
			w.indent = s
		} else {
			w.indent = r.repeat(" ", min(r.intOr(p[1], 0), 1000))
		}
	}
	if sep := valueOr(p[2], nil); sep != nil {
		parts := r.items(sep)
		if len(parts) != 2 {
			r.fail("tojson: separators must be two strings")
		}
		w.comma, w.colon = r.stringOr(&parts[0], ""), r.stringOr(&parts[1], "")
	}
	w.write(v, 0)
	r.made(w.b.Len())
	return w.b.String()
}

func formatFilter(r *run, v Value, a callArguments) Value {
	if len(a.named) > 0 {
		d := NewDict()
		for _, name := range sortedNames(a.named) {
			d.set(name, a.named[name])
		}
		return r.percent(r.text(v), d)
	}
	return r.percent(r.text(v), Tuple(a.list))
}

func dictsort(r *run, v Value, a callArguments) Value {
	p := r.parameters("dictsort", a, "case_sensitive", "by", "reverse")
	pairs := r.items(items(r, v, callArguments{}))
	at := 0
	switch by := r.stringOr(p[1], "key"); by {
	case "key":
	case "value":
		at = 1
	default:
		r.fail("you can only sort by either key or value, not %q", by)
	}
	key := func(v Value) Value { return fold(v.(Tuple)[at], truth(valueOr(p[0], false))) }
	return r.sortBy(pairs, key, truth(valueOr(p[2], false)))
}

// fold is what strings are compared by.
func fold(v Value, caseSensitive bool) Value {
	if s, ok := v.(string); ok && !caseSensitive {
		return strings.ToLower(s)
	}
	return v
}

func (r *run) sortBy(in []Value, key func(Value) Value, reversed bool) List {
	r.made(64 * len(in))
	keys := make([]Value, len(in))
	order := make([]int, len(in))
	for i, item := range in {
		keys[i], order[i] = key(item), i
	}
	sort.SliceStable(order, func(i, j int) bool {
		if reversed {
			return r.less(keys[order[j]], keys[order[i]])
		}
		return r.less(keys[order[i]], keys[order[j]])
	})
	out := make(List, len(in))
	for i, j := range order {
		out[i] = in[j]
	}
	return out
}
