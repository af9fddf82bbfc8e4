package answer

import (
	"strings"
	"unicode"
)

// vulgar are the fractions that are one character.
var vulgar = map[rune]string{
	'½': `\frac{1}{2}`, '⅓': `\frac{1}{3}`, '⅔': `\frac{2}{3}`, '¼': `\frac{1}{4}`, '¾': `\frac{3}{4}`,
	'⅕': `\frac{1}{5}`, '⅖': `\frac{2}{5}`, '⅗': `\frac{3}{5}`, '⅘': `\frac{4}{5}`, '⅙': `\frac{1}{6}`, '⅚': `\frac{5}{6}`,
	'⅐': `\frac{1}{7}`, '⅛': `\frac{1}{8}`, '⅜': `\frac{3}{8}`, '⅝': `\frac{5}{8}`, '⅞': `\frac{7}{8}`, '⅑': `\frac{1}{9}`, '⅒': `\frac{1}{10}`,
}

var superscripts = map[rune]byte{'⁰': '0', '¹': '1', '²': '2', '³': '3', '⁴': '4', '⁵': '5', '⁶': '6', '⁷': '7', '⁸': '8', '⁹': '9', '⁻': '-', '⁺': '+'}

// folds are characters that mean another one.
var folds = map[rune]rune{
	'−': '-', '–': '-', '‒': '-', '﹣': '-', '‐': '-', '‑': '-',
	'×': '*', '⋅': '*', '·': '*', '∗': '*', '✕': '*', '÷': '/', '⁄': '/', '∕': '/',
	'\u00a0': ' ', '\u2007': ' ', '\u200b': ' ', '\ufeff': ' ', '\r': '\n',
	'＄': '$', '，': ',', '．': '.', '％': '%',
}

// fold writes what Unicode has several characters for in one way: digits of full width, minus signs, fractions and
// powers that are characters of their own. It takes Markdown's emphasis out.
func fold(s string) string {
	if plain(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	power := false
	for _, r := range s {
		if c, ok := superscripts[r]; ok {
			if !power {
				b.WriteString("^{")
			}
			power = true
			b.WriteByte(c)
			continue
		}
		if power {
			b.WriteByte('}')
			power = false
		}
		switch to, ok := folds[r]; {
		case r >= 0x80 && unicode.Is(unicode.Nd, r):
			b.WriteByte('0' + digit(r))
		case ok:
			b.WriteRune(to)
		case r == '\u2009' || r == '\u202f':
			b.WriteString(`\,`) // a thin space separates groups of digits
		case vulgar[r] != "":
			b.WriteString(vulgar[r])
		case r >= '！' && r <= '～':
			b.WriteRune(r - 0xfee0)
		case r == unicode.ReplacementChar:
			b.WriteByte('?')
		default:
			b.WriteRune(r)
		}
	}
	if power {
		b.WriteByte('}')
	}
	return unemphasise(b.String())
}

// digit is the value of a decimal digit of any script: each script has its ten in a row.
func digit(r rune) byte {
	if r >= 0x1d7ce { // mathematical digits, five rows without a gap
		return byte((r - 0x1d7ce) % 10)
	}
	n := byte(0)
	for n < 9 && unicode.Is(unicode.Nd, r-rune(n)-1) {
		n++
	}
	return n
}

// unemphasise takes Markdown's emphasis out. Between two numbers ** is a power.
func unemphasise(s string) string {
	var b strings.Builder
	for at := 0; ; {
		i := strings.Index(s[at:], "**")
		if i < 0 {
			b.WriteString(s[at:])
			break
		}
		i += at
		b.WriteString(s[at:i])
		mark := "**"
		if at = i + 2; i > 0 && at < len(s) && (isDigit(s[i-1]) || s[i-1] == ')' || isLetter(s[i-1]) && (i == 1 || !isLetter(s[i-2]))) && (isDigit(s[at]) || s[at] == '(' || isLetter(s[at]) && (at+1 == len(s) || !isLetter(s[at+1]))) {
			mark = "^"
		}
		b.WriteString(mark)
	}
	return emphasis.Replace(b.String())
}

var emphasis = strings.NewReplacer("**", "", "__", "", "```", "\n")

// plain reports whether there is nothing to fold.
func plain(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= 0x80 || c == '\r' || (c == '*' || c == '_' || c == '`') && i+1 < len(s) && s[i+1] == c {
			return false
		}
	}
	return true
}
