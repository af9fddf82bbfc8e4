package formula

import (
	"math/big"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A class is what a token is.
type class uint8

const (
	end    class = iota
	digits       // a literal, with its value
	letter       // a variable
	name         // a function, constant or macro that is known
	mark         // one character
	words        // text
)

type token struct {
	class    class
	text     string
	value    *big.Rat
	decimals int
	space    bool // white space stands before it
}

// Limits of what is read.
const (
	maxText   = 32 << 10
	maxTokens = 8 << 10
	maxDepth  = 600 // about three for each bracket
)

type lexer struct {
	s      string
	i      int
	tokens []token
	space  bool
	depth  int // of brackets
	failed bool

	integral bool // an integral sign was read
}

// lex cuts a formula into tokens.
func lex(s string) ([]token, bool) {
	l := &lexer{s: s}
	for l.i < len(s) && !l.failed && len(l.tokens) < maxTokens {
		l.next()
	}
	if l.failed || l.i < len(s) {
		return nil, false
	}
	return append(l.tokens, token{class: end}), true
}

func (l *lexer) add(c class, text string) *token {
	l.tokens = append(l.tokens, token{class: c, text: text, space: l.space})
	l.space = false
	return &l.tokens[len(l.tokens)-1]
}

func (l *lexer) next() {
	c := l.s[l.i]
	switch {
	case c == '\\':
		l.command()
		return
	case c >= '0' && c <= '9', c == '.' && l.i+1 < len(l.s) && isDigit(l.s[l.i+1]):
		l.literal()
		return
	case c|0x20 >= 'a' && c|0x20 <= 'z':
		l.word()
		return
	}
	r, size := utf8.DecodeRuneInString(l.s[l.i:])
	l.i += size
	switch {
	case unicode.IsSpace(r) || r == '~' || r == '$':
		l.space = true
		return
	case greekRunes[r] != "":
		l.add(letter, greekRunes[r])
		return
	case r == '√':
		l.add(name, "sqrt")
		return
	case r == '∛':
		l.add(name, "cbrt")
		return
	}
	switch two := l.s[l.i-size : min(l.i-size+2, len(l.s))]; two {
	case "<=", ">=", "!=", "**":
		l.i++
		r = map[string]rune{"<=": '≤', ">=": '≥', "!=": '≠', "**": '^'}[two]
	}
	l.mark(string(r))
}

func (l *lexer) mark(s string) {
	switch s {
	case "⩽":
		s = "≤"
	case "⩾":
		s = "≥"
	case "·", "×", "⋅":
		s = "*"
	case "(", "[", "⦃", "⟨":
		l.depth++
	case ")", "]", "⦄", "⟩":
		l.depth--
	}
	l.add(mark, s)
}

func span(s, chars string) int {
	n := 0
	for n < len(s) && strings.IndexByte(chars, s[n]) >= 0 {
		n++
	}
	return n
}

func (l *lexer) run() string {
	n := count(l.s, l.i)
	l.i += n
	return l.s[l.i-n : l.i]
}

func count(s string, i int) int { return span(s[min(i, len(s)):], "0123456789") }

// word reads letters of plain text: a name that is known, text, or variables side by side.
func (l *lexer) word() {
	n := l.i
	for n < len(l.s) && (l.s[n]|0x20 >= 'a' && l.s[n]|0x20 <= 'z') {
		n++
	}
	text := l.s[l.i:n]
	if l.scientific() {
		return
	}
	if base, _ := subscript(l.s[l.i+span(l.s[l.i:], "0123456789ABCDEF"):]); base > 10 && span(text, "ABCDEF") > 1 && l.radix() { // FF_{16}
		return
	}
	lower := strings.ToLower(text)
	if lower == "x" && n-l.i == 1 && l.times(n) {
		return
	}
	l.i = n
	if l.known(lower, text) {
		return
	}
	operand := len(l.tokens) > 0 && (l.last().class == digits || l.last().class == letter || l.last().text == ")" || l.last().text == "}" || l.last().text == "π")
	differential := l.integral && len(text) == 2 && text[0] == 'd'
	if !differential && (len(text) > 3 || len(text) > 1 && l.space && operand) {
		l.add(words, text)
		return
	}
	for len(text) > 0 {
		l.add(letter, text[:1])
		text = text[1:]
	}
}

func (l *lexer) last() token { return l.tokens[len(l.tokens)-1] }

// times finds the letter x that is a multiplication sign: 6 x 10^3.
func (l *lexer) times(after int) bool {
	if len(l.tokens) == 0 || l.last().class != digits || !l.space || !strings.HasPrefix(l.s[after:], " ") || count(l.s, after+1) == 0 {
		return false
	}
	l.i = after
	l.add(mark, "*")
	return true
}

func (l *lexer) command() {
	l.i++
	if l.i == len(l.s) {
		l.failed = true
		return
	}
	start := l.i
	for l.i < len(l.s) && isLetter(l.s[l.i]) {
		l.i++
	}
	if l.i == start {
		_, size := utf8.DecodeRuneInString(l.s[l.i:])
		l.i += size
	}
	text := l.s[start:l.i]
	switch {
	case text == "\\":
		l.mark(`\`)
	case text == "$":
	case strings.HasPrefix(l.s[start:], "mathbb{R}") || strings.HasPrefix(l.s[start:], "mathbf{R}"):
		l.i = start + len("mathbb{R}")
		l.mark("ℝ")
	case textMacros[text]:
		l.text()
	case boxMacros[text]: // the group behind it is all that matters
	case l.macro(text):
	case !l.known(text, text):
		l.failed = true
	}
}

func (l *lexer) macro(text string) bool {
	as, ok := macros[text]
	if !ok {
		return false
	}
	switch as {
	case " ":
		l.space = true
	case "":
		if (text == "left" || text == "right") && strings.HasPrefix(strings.TrimLeft(l.s[l.i:], " "), ".") { // an invisible bracket
			l.i += strings.IndexByte(l.s[l.i:], '.') + 1
		}
	default:
		l.mark(as)
	}
	return true
}

// text reads the argument of \text: a number or a variable as such, anything else as words.
func (l *lexer) text() {
	rest := strings.TrimLeft(l.s[l.i:], " ")
	l.i = len(l.s) - len(rest)
	end := strings.IndexByte(rest, '}')
	if !strings.HasPrefix(rest, "{") || end < 0 {
		l.failed = true
		return
	}
	body := strings.TrimSpace(rest[1:end])
	if strings.ContainsAny(body, `{\`) {
		l.failed = true
		return
	}
	spaced := strings.HasPrefix(rest, "{ ") || l.space
	l.i += end + 1
	switch lower := strings.ToLower(body); {
	case body == "":
		l.space = true
	case count(body, 0) == len(body) || len(body) == 1 && !spaced && len(l.tokens) == 0:
		inner, ok := lex(body)
		l.failed = l.failed || !ok
		l.tokens = append(l.tokens, inner[:max(len(inner)-1, 0)]...)
	case named[lower], aliases[lower] != "":
		l.known(lower, lower)
	default:
		l.add(words, body)
	}
	l.space = true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
