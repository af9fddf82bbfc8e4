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

// macros that mean a character, "" for those that mean nothing.
var macros = map[string]string{
	"cdot": "*", "times": "*", "ast": "*", "div": "/", "pm": "±", "mp": "∓",
	"le": "≤", "leq": "≤", "leqslant": "≤", "ge": "≥", "geq": "≥", "geqslant": "≥", "lt": "<", "gt": ">", "ne": "≠", "neq": "≠",
	"in": "∈", "cup": "∪", "bigcup": "∪", "cap": "∩", "setminus": "∖", "backslash": "∖", "smallsetminus": "∖",
	"emptyset": "∅", "varnothing": "∅", "infty": "∞", "pi": "π", "R": "ℝ", "reals": "ℝ",
	"lvert": "|", "rvert": "|", "vert": "|", "mid": "|", "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉",
	"langle": "⟨", "rangle": "⟩", "lbrace": "⦃", "rbrace": "⦄", "{": "⦃", "}": "⦄", "lbrack": "[", "rbrack": "]",
	"lparen": "(", "rparen": ")", "circ": "°", "degree": "°", "%": "%", "colon": ":", "land": "∧", "wedge": "∧", "lor": "∨", "vee": "∨",
	"approx": "≈", "equiv": "≡", "i": "i", "prime": "'", "mathbb{R}": "ℝ", "lbrakk": "[",
	"Re": "ℝ", "colon=": ":", "{,}": ",",

	"left": "", "right": "", "big": "", "Big": "", "bigg": "", "Bigg": "", "bigl": "", "bigr": "", "Bigl": "", "Bigr": "", "middle": "",
	"displaystyle": "", "textstyle": "", "limits": "", "nolimits": "", "boldsymbol": "", "bf": "", "rm": "", "!": "", "(": "", ")": "", "[": "", "]": "",
	"angle": "", "triangle": "", "measuredangle": "",
	"quad": " ", "qquad": " ", ",": " ", ";": " ", ":": " ", " ": " ", "\n": " ", ">": " ", "thinspace": " ", "hspace": " ", "$": "",
}

// greek letters are variables, in TeX and in plain text.
var greek = map[string]bool{"alpha": true, "beta": true, "gamma": true, "delta": true, "epsilon": true, "varepsilon": true, "zeta": true, "eta": true,
	"theta": true, "vartheta": true, "kappa": true, "lambda": true, "mu": true, "nu": true, "xi": true, "rho": true, "sigma": true, "tau": true,
	"phi": true, "varphi": true, "chi": true, "psi": true, "omega": true, "Delta": true, "Gamma": true, "Omega": true, "Theta": true, "Phi": true,
	"Sigma": true, "Lambda": true, "Psi": true, "ell": true}

var greekRunes = map[rune]string{'α': "alpha", 'β': "beta", 'γ': "gamma", 'δ': "delta", 'θ': "theta", 'λ': "lambda", 'μ': "mu", 'φ': "phi", 'ϕ': "phi",
	'ω': "omega", 'σ': "sigma", 'ρ': "rho", 'τ': "tau", 'ε': "epsilon", 'ψ': "psi", 'Δ': "Delta"}

// named are names that the parser knows; the arguments of the functions stand behind them.
var named = map[string]bool{"frac": true, "sqrt": true, "cbrt": true, "binom": true, "int": true, "sum": true, "begin": true, "end": true, "overline": true, "prod": true,
	"sin": true, "cos": true, "tan": true, "cot": true, "sec": true, "csc": true, "arcsin": true, "arccos": true, "arctan": true,
	"sinh": true, "cosh": true, "tanh": true, "log": true, "ln": true, "lg": true, "exp": true, "abs": true, "floor": true, "ceil": true,
	"gcd": true, "lcm": true, "max": true, "min": true, "and": true, "or": true, "pmod": true, "det": true}

var aliases = map[string]string{"dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom", "choose": "choose",
	"asin": "arcsin", "acos": "arccos", "atan": "arctan", "tg": "tan", "ctg": "cot", "vec": "overline", "hat": "overline", "bar": "overline",
	"mathbf": "overline", "overrightarrow": "overline", "infinity": "∞", "inf": "∞", "pi": "π", "union": "∪", "degrees": "°", "degree": "°", "deg": "°"}

var textMacros = map[string]bool{"text": true, "textbf": true, "textit": true, "textrm": true, "mathrm": true, "mathit": true, "mathsf": true,
	"mbox": true, "operatorname": true, "hbox": true, "emph": true, "textnormal": true}

var boxMacros = map[string]bool{"boxed": true, "fbox": true, "underline": true, "boldsymbol": true, "mathcal": true}

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
	case "¬", "∪", "∩": // themselves
	case "·", "×", "⋅":
		s = "*"
	case "(", "[", "⦃", "⟨":
		l.depth++
	case ")", "]", "⦄", "⟩":
		l.depth--
	}
	l.add(mark, s)
}

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

// times finds the letter x that is a multiplication sign: 6 x 10^3.
func (l *lexer) times(after int) bool {
	if len(l.tokens) == 0 || l.last().class != digits || !l.space || !strings.HasPrefix(l.s[after:], " ") || count(l.s, after+1) == 0 {
		return false
	}
	l.i = after
	l.add(mark, "*")
	return true
}

// known adds a token for a name that means something.
func (l *lexer) known(lower, text string) bool {
	if as, ok := aliases[text]; ok {
		lower, text = as, as
	}
	switch {
	case lower == "π" || lower == "∞" || lower == "∪" || lower == "°":
		l.mark(lower)
	case greek[text]:
		l.add(letter, text)
	case named[lower] && len(lower) > 1:
		l.integral = l.integral || lower == "int"
		l.add(name, lower)
	default:
		return false
	}
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
		for _, t := range inner[:max(len(inner)-1, 0)] {
			l.tokens = append(l.tokens, t)
		}
	case named[lower], aliases[lower] != "":
		l.known(lower, lower)
	default:
		l.add(words, body)
	}
	l.space = true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
