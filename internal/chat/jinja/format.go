package jinja

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var percentVerb = regexp.MustCompile(`^(\((\w+)\))?([-+ #0]*)(\d{0,6})(\.(\d{0,6}))?([a-zA-Z%])`)

// percent is format % v, Python's old string formatting.
func (r *run) percent(format string, v Value) string {
	args, isTuple := v.(Tuple)
	if !isTuple {
		args = Tuple{v}
	}
	object, isObject := v.(*Dict)
	used := 0
	var b strings.Builder
	for format != "" {
		i := strings.IndexByte(format, '%')
		if i < 0 {
			b.WriteString(format)
			break
		}
		b.WriteString(format[:i])
		m := percentVerb.FindStringSubmatch(format[i+1:])
		if m == nil {
			r.fail("incomplete format")
		}
		format = format[i+1+len(m[0]):]
		if m[7] == "%" {
			b.WriteByte('%')
			continue
		}
		var arg Value
		if m[1] != "" {
			item, ok := Value(nil), false
			if isObject {
				item, ok = object.get(m[2])
			}
			if !ok {
				r.fail("format requires a mapping with the key %q", m[2])
			}
			arg = item
		} else if used >= len(args) {
			r.fail("not enough arguments for format string")
		} else {
			arg = args[used]
			used++
		}
		b.WriteString(r.verb(arg, m[3], m[4], m[6], m[5] != "", m[7]))
		r.room(b.Len())
	}
	if used < len(args) && !isObject && (isTuple || used == 0) {
		r.fail("not all arguments converted during string formatting")
	}
	r.made(b.Len())
	return b.String()
}

// verb formats one value. Width and precision have been cut to six digits by the grammar.
func (r *run) verb(arg Value, flags, width, precision string, dot bool, verb string) string {
	spec := "%" + flags + width
	if dot {
		spec += "." + precision
	}
	w, _ := strconv.Atoi(width)
	p, _ := strconv.Atoi(precision)
	r.made(w + p)
	switch verb {
	case "s":
		return fmt.Sprintf(spec+"s", r.text(r.defined(arg)))
	case "r":
		var b strings.Builder
		r.write(&b, arg, true, 0)
		return fmt.Sprintf(spec+"s", b.String())
	case "d", "i", "u", "x", "X", "o", "c":
		i, f, isInt, ok := number(arg)
		if s, isString := arg.(string); isString && verb == "c" {
			return fmt.Sprintf(spec+"s", s)
		}
		if !ok {
			r.fail("%%%s format: a real number is required, not %s", verb, typeName(arg))
		}
		if !isInt {
			i = int(f)
		}
		if verb == "i" || verb == "u" {
			verb = "d"
		}
		return fmt.Sprintf(spec+verb, i)
	case "f", "F", "e", "E", "g", "G":
		_, f, _, ok := number(arg)
		if !ok {
			r.fail("must be real number, not %s", typeName(arg))
		}
		if !dot {
			spec += ".6"
		}
		return fmt.Sprintf(spec+verb, f)
	}
	r.fail("unsupported format character '%s'", verb)
	return ""
}

var field = regexp.MustCompile(`^([^{}!:]*)(![rs])?(:([^{}]*))?\}`)

var formatSpec = regexp.MustCompile(`^(.?[<>^])?([-+ ]?)(0?)(\d{0,6})(,?)(\.(\d{1,6}))?([sdfFeEgG%xXob]?)$`)

// format is str.format.
func (r *run) format(s string, a callArguments) string {
	var b strings.Builder
	auto := 0
	for s != "" {
		i := strings.IndexAny(s, "{}")
		if i < 0 {
			b.WriteString(s)
			break
		}
		b.WriteString(s[:i])
		if strings.HasPrefix(s[i:], "{{") || strings.HasPrefix(s[i:], "}}") {
			b.WriteByte(s[i])
			s = s[i+2:]
			continue
		}
		m := field.FindStringSubmatch(s[i+1:])
		if s[i] == '}' || m == nil {
			r.fail("single '%c' encountered in format string", s[i])
		}
		s = s[i+1+len(m[0]):]
		v := r.field(m[1], a, &auto)
		if m[2] == "!r" {
			var quoted strings.Builder
			r.write(&quoted, v, true, 0)
			v = quoted.String()
		} else if m[2] == "!s" {
			v = r.text(v)
		}
		b.WriteString(r.spec(v, m[4]))
		r.room(b.Len())
	}
	r.made(b.Len())
	return b.String()
}

// field is the argument that a replacement field names: a place or a name, then attributes and items.
func (r *run) field(name string, a callArguments, auto *int) Value {
	head := name
	if i := strings.IndexAny(name, ".["); i >= 0 {
		head = name[:i]
	}
	rest := name[len(head):]
	var v Value
	i, err := strconv.Atoi(head)
	if head == "" {
		i, err = *auto, nil
		*auto++
	}
	if err == nil {
		if i < 0 || i >= len(a.list) {
			r.fail("replacement index %d out of range for positional args tuple", i)
		}
		v = a.list[i]
	} else {
		named, ok := a.named[head]
		if !ok {
			r.fail("format: there is no argument %q", head)
		}
		v = named
	}
	for rest != "" {
		if rest[0] == '.' {
			end := strings.IndexAny(rest[1:], ".[")
			if end < 0 {
				end = len(rest) - 1
			}
			v, rest = r.attr(v, rest[1:1+end]), rest[1+end:]
			continue
		}
		end := strings.IndexByte(rest, ']')
		if rest[0] != '[' || end < 0 {
			r.fail("format: %q is not a field", name)
		}
		key := rest[1:end]
		if i, err := strconv.Atoi(key); err == nil {
			v = r.item(v, i)
		} else {
			v = r.item(v, key)
		}
		rest = rest[end+1:]
	}
	return v
}

// spec formats v by a format specification.
func (r *run) spec(v Value, spec string) string {
	if spec == "" {
		return r.text(v)
	}
	m := formatSpec.FindStringSubmatch(spec)
	if m == nil {
		r.fail("format: unsupported format specification %q", spec)
	}
	align, fill := "", " "
	if m[1] != "" {
		align = m[1][len(m[1])-1:]
		if f := m[1][:len(m[1])-1]; f != "" {
			fill = f
		}
	}
	i, f, isInt, isNumber := number(v)
	text, verb, precision := "", m[8], -1
	if m[7] != "" {
		precision, _ = strconv.Atoi(m[7])
		r.made(precision)
	}
	switch {
	case !isNumber:
		text = r.text(v)
		if precision >= 0 && precision < r.length(text) {
			text = substring(text, 0, precision)
		}
	case verb == "" && isInt && precision < 0 || verb == "d":
		text = strconv.Itoa(i)
	case strings.Contains("xXob", verb) && verb != "":
		text = fmt.Sprintf("%"+verb, i)
	case verb == "":
		text = floatText(f)
		if precision >= 0 {
			text = strconv.FormatFloat(f, 'g', precision, 64)
		}
	default:
		if precision < 0 {
			precision = 6
		}
		if verb == "%" {
			text = strconv.FormatFloat(100*f, 'f', precision, 64) + "%"
		} else {
			text = strconv.FormatFloat(f, verb[0]|0x20, precision, 64)
		}
	}
	if isNumber {
		if m[5] != "" {
			text = thousands(text)
		}
		if m[2] == "+" || m[2] == " " {
			if f >= 0 {
				text = m[2] + text
			}
		}
	}
	width, _ := strconv.Atoi(m[4])
	pad := max(width-r.length(text), 0)
	if m[3] != "" && align == "" && isNumber {
		sign := ""
		if text != "" && strings.ContainsAny(text[:1], "+- ") {
			sign, text = text[:1], text[1:]
		}
		return sign + r.repeat("0", pad) + text
	}
	if align == "" && isNumber {
		align = ">"
	}
	switch align {
	case ">":
		return r.repeat(fill, pad) + text
	case "^":
		return r.repeat(fill, pad/2) + text + r.repeat(fill, pad-pad/2)
	}
	return text + r.repeat(fill, pad)
}

func thousands(s string) string {
	end := strings.IndexAny(s, ".e%")
	if end < 0 {
		end = len(s)
	}
	start := 0
	if strings.HasPrefix(s, "-") {
		start = 1
	}
	var b strings.Builder
	b.WriteString(s[:start])
	for i := start; i < end; i++ {
		if i > start && (end-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteByte(s[i])
	}
	return b.String() + s[end:]
}
