package jinja

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

var stringMethods map[string]method

func init() { // format calls methods, which would make an initialisation cycle
	stringMethods = map[string]method{
		"strip":      trimmer(true, true),
		"lstrip":     trimmer(true, false),
		"rstrip":     trimmer(false, true),
		"upper":      mapper(strings.ToUpper),
		"lower":      mapper(strings.ToLower),
		"casefold":   mapper(strings.ToLower),
		"title":      mapper(title),
		"capitalize": mapper(capitalize),
		"swapcase":   mapper(swapcase),
		"startswith": affix("startswith", strings.HasPrefix),
		"endswith":   affix("endswith", strings.HasSuffix),
		"find":       finder("find", strings.Index, false),
		"rfind":      finder("rfind", strings.LastIndex, false),
		"index":      finder("index", strings.Index, true),
		"rindex":     finder("rindex", strings.LastIndex, true),
		"ljust":      padder("ljust", false, true),
		"rjust":      padder("rjust", true, false),
		"center":     padder("center", true, true),
		"isalpha":    every(unicode.IsLetter),
		"isdigit":    every(unicode.IsDigit),
		"isdecimal":  every(unicode.IsDigit),
		"isnumeric":  every(unicode.IsNumber),
		"isalnum":    every(isAlnum),
		"isspace":    every(isSpace),
		"isascii": func(_ *run, v Value, _ callArguments) Value {
			return strings.IndexFunc(v.(string), func(c rune) bool { return c >= utf8.RuneSelf }) < 0
		},
		"isupper": func(_ *run, v Value, _ callArguments) Value { return isUpperText(v.(string)) },
		"islower": func(_ *run, v Value, _ callArguments) Value { return isLowerText(v.(string)) },
		"istitle": func(_ *run, v Value, _ callArguments) Value {
			s := v.(string)
			return strings.IndexFunc(s, unicode.IsLetter) >= 0 && s == title(s)
		},
		"removeprefix": func(r *run, v Value, a callArguments) Value {
			return strings.TrimPrefix(v.(string), r.stringOr(r.parameters("removeprefix", a, "prefix!")[0], ""))
		},
		"removesuffix": func(r *run, v Value, a callArguments) Value {
			return strings.TrimSuffix(v.(string), r.stringOr(r.parameters("removesuffix", a, "suffix!")[0], ""))
		},
		"replace": func(r *run, v Value, a callArguments) Value {
			p := r.parameters("replace", a, "old!", "new!", "count")
			return r.replace(v.(string), r.stringOr(p[0], ""), r.stringOr(p[1], ""), r.intOr(p[2], -1))
		},
		"count": func(r *run, v Value, a callArguments) Value {
			p := r.parameters("count", a, "sub!", "start", "end")
			return strings.Count(within(r, v.(string), p[1], p[2]), r.stringOr(p[0], ""))
		},
		"join": func(r *run, v Value, a callArguments) Value {
			items := r.items(*r.parameters("join", a, "iterable!")[0])
			for i := range items {
				if _, ok := items[i].(string); !ok {
					r.fail("sequence item %d: expected str instance, %s found", i, typeName(items[i]))
				}
			}
			return r.join(items, v.(string))
		},
		"split":  splitter("split", false),
		"rsplit": splitter("rsplit", true),
		"splitlines": func(r *run, v Value, a callArguments) Value {
			keep := truth(valueOr(r.parameters("splitlines", a, "keepends")[0], false))
			return r.lines(v.(string), keep)
		},
		"partition": func(r *run, v Value, a callArguments) Value {
			sep := r.stringOr(r.parameters("partition", a, "sep!")[0], "")
			before, after, ok := strings.Cut(v.(string), sep)
			if !ok {
				return Tuple{v, "", ""}
			}
			return Tuple{before, sep, after}
		},
		"rpartition": func(r *run, v Value, a callArguments) Value {
			s, sep := v.(string), r.stringOr(r.parameters("rpartition", a, "sep!")[0], "")
			i := strings.LastIndex(s, sep)
			if i < 0 {
				return Tuple{"", "", s}
			}
			return Tuple{s[:i], sep, s[i+len(sep):]}
		},
		"zfill": func(r *run, v Value, a callArguments) Value {
			s := v.(string)
			n := r.intOr(r.parameters("zfill", a, "width!")[0], 0) - r.length(s)
			if s != "" && (s[0] == '-' || s[0] == '+') {
				return s[:1] + r.repeat("0", n) + s[1:]
			}
			return r.repeat("0", n) + s
		},
		"format": func(r *run, v Value, a callArguments) Value { return r.format(v.(string), a) },
	}
}

func (r *run) replace(s, from, to string, n int) string {
	count := strings.Count(s, from)
	if n >= 0 {
		count = min(count, n)
	}
	if grows := len(to) - len(from); grows > 0 && count > maxBytes/grows {
		r.made(maxBytes + 1)
	}
	r.made(len(s) + count*max(len(to)-len(from), 0))
	return strings.Replace(s, from, to, n)
}

// join is sep.join of the items' texts.
func (r *run) join(items []Value, sep string) string {
	var b strings.Builder
	for i, item := range items {
		if i > 0 {
			b.WriteString(sep)
		}
		text := r.text(item)
		r.room(b.Len() + len(text) + len(sep))
		r.made(len(text) + len(sep))
		b.WriteString(text)
	}
	return b.String()
}

// splitter makes split and rsplit.
func splitter(name string, right bool) method {
	return func(r *run, v Value, a callArguments) Value {
		p := r.parameters(name, a, "sep", "maxsplit")
		s, limit := v.(string), r.intOr(p[1], -1)
		if p[0] != nil && *p[0] != nil {
			sep := r.stringOr(p[0], "")
			if sep == "" {
				r.fail("empty separator")
			}
			r.made(32 * (1 + strings.Count(s, sep)))
			return list(splitAt(s, sep, limit, right))
		}
		r.made(16 * len(s))
		return list(splitSpace(s, limit, right))
	}
}

func list(parts []string) List {
	out := make(List, len(parts))
	for i, p := range parts {
		out[i] = p
	}
	return out
}

func splitAt(s, sep string, limit int, right bool) []string {
	if limit < 0 {
		return strings.Split(s, sep)
	}
	if !right {
		return strings.SplitN(s, sep, limit+1)
	}
	parts := strings.Split(s, sep)
	if extra := len(parts) - 1 - limit; extra > 0 {
		parts = append([]string{strings.Join(parts[:extra+1], sep)}, parts[extra+1:]...)
	}
	return parts
}

// splitSpace splits at runs of whitespace, which the ends of the string don't count.
func splitSpace(s string, limit int, right bool) (out []string) {
	if limit < 0 {
		return strings.FieldsFunc(s, isSpace)
	}
	if right {
		for s = strings.TrimRightFunc(s, isSpace); s != ""; s = strings.TrimRightFunc(s, isSpace) {
			i := strings.LastIndexFunc(s, isSpace)
			if len(out) == limit || i < 0 {
				out = append(out, s)
				break
			}
			_, size := utf8.DecodeRuneInString(s[i:])
			out = append(out, s[i+size:])
			s = s[:i]
		}
		for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
			out[i], out[j] = out[j], out[i]
		}
		if len(out) > 0 {
			out[0] = strings.TrimLeftFunc(out[0], func(c rune) bool { return len(out) <= limit && isSpace(c) })
		}
		return out
	}
	for s = strings.TrimLeftFunc(s, isSpace); s != ""; s = strings.TrimLeftFunc(s, isSpace) {
		i := strings.IndexFunc(s, isSpace)
		if len(out) == limit || i < 0 {
			return append(out, s)
		}
		out = append(out, s[:i])
		s = s[i:]
	}
	return out
}

// lines splits at Python's line ends.
func (r *run) lines(s string, keep bool) List {
	r.made(16 * strings.Count(s, "\n"))
	out := List{}
	for s != "" {
		i := strings.IndexFunc(s, func(c rune) bool {
			return c >= '\n' && c <= '\r' || c >= 0x1c && c <= 0x1e || c == 0x85 || c == 0x2028 || c == 0x2029
		})
		if i < 0 {
			return append(out, s)
		}
		_, size := utf8.DecodeRuneInString(s[i:])
		if strings.HasPrefix(s[i:], "\r\n") {
			size = 2
		}
		if keep {
			out = append(out, s[:i+size])
		} else {
			out = append(out, s[:i])
		}
		s = s[i+size:]
	}
	return out
}
