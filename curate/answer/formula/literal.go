package formula

import (
	"math/big"
	"strings"
)

// literal reads a number: 1,234.5, 1{,}234, 6e3, 0x2A, 1A_{16}. In brackets a comma separates.
func (l *lexer) literal() {
	if l.radix() {
		return
	}
	start := l.i
	text := l.run()
	for _, sep := range []string{"{,}", `,\!`, `\,`, ",", "'"} {
		if sep == "," && l.depth > 0 || len(text) > 3 || text == "0" || text == "" {
			continue
		}
		at, grown := l.i, text
		for strings.HasPrefix(l.s[at:], sep) && count(l.s, at+len(sep)) == 3 {
			grown += l.s[at+len(sep) : at+len(sep)+3]
			at += len(sep) + 3
		}
		if at > l.i {
			l.i, text = at, grown
			break
		}
	}
	decimals := 0
	if l.i+1 < len(l.s) && l.s[l.i] == '.' && isDigit(l.s[l.i+1]) {
		l.i++
		part := l.run()
		decimals = len(part)
		text += part
		if l.i+1 < len(l.s) && l.s[l.i] == '.' && isDigit(l.s[l.i+1]) {
			l.failed = true // 1.2.3
		}
	}
	repeats := l.repeating(decimals)
	if len(text) > 4<<10 || l.i == start {
		l.failed = true
		return
	}
	n, ok := new(big.Int).SetString(text, 10)
	if !ok {
		l.failed = true
		return
	}
	v := new(big.Rat).SetFrac(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(decimals)), nil))
	if repeats != "" { // 0.1\overline{6} is (16-1)/90
		all, _ := new(big.Int).SetString(text+repeats, 10)
		nines := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(len(repeats))), nil)
		nines.Sub(nines, big.NewInt(1))
		v.SetFrac(all.Sub(all, n), nines.Mul(nines, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(decimals)), nil)))
		decimals = -1
	}
	t := l.add(digits, text)
	t.value, t.decimals = v, decimals
}

// repeating reads the digits that repeat: \overline{3} behind a point.
func (l *lexer) repeating(decimals int) string {
	rest := l.s[l.i:]
	if decimals == 0 {
		if !strings.HasPrefix(rest, ".") {
			return ""
		}
		rest = rest[1:]
	}
	for _, macro := range []string{`\overline{`, `\bar{`} {
		if body, ok := strings.CutPrefix(rest, macro); ok {
			if n := span(body, "0123456789"); n > 0 && n < 100 && strings.HasPrefix(body[n:], "}") {
				l.i = len(l.s) - len(body) + n + 1
				return body[:n]
			}
		}
	}
	return ""
}

// radix reads a literal whose base is written with it. The base is part of the value.
func (l *lexer) radix() bool {
	rest := l.s[l.i:]
	base, n := 0, 0
	switch {
	case len(rest) > 2 && rest[0] == '0' && (rest[1] == 'x' || rest[1] == 'X'):
		base, n = 16, span(rest[2:], "0123456789abcdefABCDEF")
		rest, l.i = rest[2:], l.i+2
	case len(rest) > 2 && rest[0] == '0' && (rest[1] == 'b' || rest[1] == 'o') && span(rest[2:], "01234567") > 0:
		base, n = map[byte]int{'b': 2, 'o': 8}[rest[1]], span(rest[2:], "01234567")
		rest, l.i = rest[2:], l.i+2
	default:
		n = span(rest, "0123456789ABCDEF")
		size := 0
		if base, size = subscript(rest[n:]); base == 0 {
			return false
		}
		defer func() { l.i += size }()
	}
	v, ok := new(big.Int).SetString(rest[:n], base)
	if l.i += n; n == 0 || n > 1000 || !ok || l.i < len(l.s) && isDigit(l.s[l.i]) {
		l.failed = true
		return true
	}
	l.add(digits, rest[:n]).value = new(big.Rat).SetInt(v)
	return true
}

var bases = map[string]int{"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "twelve": 12, "sixteen": 16}

// subscript reads the base behind a literal, 0 where there is none, and how long it is.
func subscript(s string) (base, size int) {
	body := ""
	switch {
	case strings.HasPrefix(s, "_{"):
		n := strings.IndexByte(s, '}')
		if n < 0 || n > 30 {
			return 0, 0
		}
		body, size = s[2:n], n+1
		if inner, ok := strings.CutPrefix(body, `\text{`); ok && strings.HasPrefix(s[n:], "}}") {
			body, size = inner, size+1
		}
	case strings.HasPrefix(s, "_"):
		n := 1 + span(s[1:], "0123456789")
		body, size = s[1:n], n
	}
	body = strings.Trim(body, " ()")
	if b, ok := bases[strings.ToLower(body)]; ok {
		return b, size
	}
	for _, c := range body {
		if c < '0' || c > '9' {
			return 0, 0
		}
		if base = base*10 + int(c-'0'); base > 36 {
			return 0, 0
		}
	}
	if base < 2 {
		return 0, 0
	}
	return base, size
}

// scientific reads the e3 of 6e3.
func (l *lexer) scientific() bool {
	if l.space || len(l.tokens) == 0 || l.last().class != digits || l.s[l.i]|0x20 != 'e' {
		return false
	}
	j := l.i + 1
	if j < len(l.s) && (l.s[j] == '-' || l.s[j] == '+') {
		j++
	}
	n := count(l.s, j)
	if n == 0 || n > 4 || j+n < len(l.s) && isLetter(l.s[j+n]) {
		return false
	}
	t := &l.tokens[len(l.tokens)-1]
	e := int64(0)
	for _, c := range l.s[j : j+n] {
		e = e*10 + int64(c-'0')
	}
	scale := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(e), nil))
	if l.s[l.i+1] == '-' {
		scale.Inv(scale)
	}
	t.value, t.decimals = new(big.Rat).Mul(t.value, scale), -1
	l.i = j + n
	return true
}
