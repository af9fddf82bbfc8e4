package answer

import (
	"math/big"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A class is what a token is.
type class uint8

const (
	number   class = iota // a literal: 1,234.5e6
	fraction              // \frac{…}{…}, ½
	word                  // letters
	operator              // + - * / ^
	opening               // ( and { that groups
	closing
	percent
	degree
	currency
	equals // = and ≈
	comma
	bang
	stop  // what ends a phrase: . ; : ? and a line's end
	quote // marks that mean nothing here
	other // anything else: whatever it is, it isn't read
)

// A token is a piece of mathematical text.
type token struct {
	class    class
	text     string
	value    *big.Rat // of a number
	decimals int      // digits after a number's point, scale included; -1 where there is an exponent
	grouped  bool     // a number written with commas between its digits
	num, den []token  // of a fraction
	space    bool     // white space stands before it
	formula  int      // which formula it stands in, counted from 1; 0 is plain text
	upright  bool     // inside \text{…}, where a letter is no variable
}

// What is longer or deeper is not read.
const (
	maxText  = 32 << 10 // bytes of a formula or of the text that is searched for the last number
	maxDepth = 100      // levels of brackets, fractions and macros
)

// A lexer cuts text into tokens.
type lexer struct {
	s        string
	i        int
	tokens   []token
	space    bool
	formula  int  // the formula that the lexer is in
	count    int  // formulas so far
	until    int  // where the formula ends that a dollar sign opened, -1 outside of one
	depth    int  // of lexers in lexers
	upright  bool // inside \text{…}
	nodollar bool // there is no $$ further on
	unclosed int  // arguments so far whose brace is never closed
}

// lex cuts text into tokens. A formula is read as TeX from its first byte to its last.
func lex(s string, formula bool) []token {
	l := &lexer{s: s, until: -1}
	if formula {
		l.formula, l.count = 1, 1
	}
	return l.run()
}

func (l *lexer) inner(s string, upright bool) []token {
	in := &lexer{s: s, until: -1, formula: l.formula, count: l.count, depth: l.depth + 1, upright: upright || l.upright}
	if in.depth > maxDepth {
		return []token{{class: other, text: "too deep"}}
	}
	return in.run()
}

func (l *lexer) run() []token {
	for l.i < len(l.s) {
		l.next()
	}
	return times(degrees(l.tokens))
}

func (l *lexer) add(c class, text string) *token {
	l.tokens = append(l.tokens, token{class: c, text: text, decimals: -1, space: l.space, formula: l.formula, upright: l.upright})
	l.space = false
	return &l.tokens[len(l.tokens)-1]
}

var single = map[rune]class{
	'+': operator, '-': operator, '*': operator, '/': operator, '^': operator,
	'(': opening, ')': closing, '{': opening, '}': closing,
	'%': percent, '°': degree, '=': equals, '≈': equals, ',': comma, '!': bang,
	'.': stop, ';': stop, ':': stop, '?': stop, '。': stop, '\n': stop,
	'€': currency, '£': currency, '¥': currency, '₹': currency,
	'"': quote, '\'': quote, '“': quote, '”': quote, '‘': quote, '’': quote, '`': quote,
}

func (l *lexer) next() {
	if l.i == l.until {
		l.formula, l.until = 0, -1
		for l.i < len(l.s) && l.s[l.i] == '$' {
			l.i++
		}
		return
	}
	switch c := l.s[l.i]; {
	case c == '$':
		l.dollar()
		return
	case c == '\\':
		l.command()
		return
	case c >= '0' && c <= '9', c == '.' && l.i+1 < len(l.s) && isDigit(l.s[l.i+1]):
		l.number()
		return
	}
	r, size := utf8.DecodeRuneInString(l.s[l.i:])
	start := l.i
	l.i += size
	switch {
	case r == '\n':
		if l.formula == 0 {
			l.add(stop, "\n")
		}
		l.space = true
	case unicode.IsSpace(r) || r == '~' && l.formula > 0 || r == '&' && l.formula > 0:
		l.space = true
	case unicode.IsLetter(r):
		for l.i < len(l.s) && l.i != l.until {
			r, size := utf8.DecodeRuneInString(l.s[l.i:])
			if !unicode.IsLetter(r) && !unicode.IsMark(r) {
				break
			}
			l.i += size
		}
		l.add(word, l.s[start:l.i])
	default:
		if c, ok := single[r]; ok {
			l.add(c, string(r))
		} else {
			l.add(other, string(r))
		}
	}
}

// dollar decides whether a dollar sign is money or opens a formula, by pandoc's rule: a formula's first and last
// characters are no white space, and no digit follows it. A formula holds no words.
func (l *lexer) dollar() {
	rest := l.s[l.i+1:]
	if l.formula == 0 && strings.HasPrefix(rest, "$") {
		if end := -1; !l.nodollar {
			if end = strings.Index(rest[1:], "$$"); end > 0 {
				l.i += 2
				l.open(l.i + end)
				return
			}
			l.nodollar = end < 0
		}
		l.i += 2
		return
	}
	if end := strings.IndexByte(rest, '$'); l.formula == 0 && end > 0 {
		body := rest[:end]
		after := rest[end+1:]
		if !unicode.IsSpace(rune(body[0])) && !unicode.IsSpace(rune(body[end-1])) && body[end-1] != '\\' &&
			(after == "" || !isDigit(after[0])) && !strings.Contains(body, "\n\n") && !wordy(body) {
			l.i++
			l.open(l.i + end)
			return
		}
	}
	l.i++
	l.add(currency, "$")
}

func (l *lexer) open(end int) {
	l.count++
	l.formula, l.until = l.count, end
}

// wordy reports whether a formula would hold words outside of macros: then it is text between two prices.
func wordy(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			for i++; i < len(s) && isLetter(s[i]); i++ {
			}
			if i < len(s) && s[i] == '{' { // the text of \text{…}
				if n := strings.IndexByte(s[i:], '}'); n > 0 {
					i += n
				}
			}
		case isLetter(c) && (i == 0 || s[i-1] == ' '):
			n := i
			for n < len(s) && isLetter(s[n]) {
				n++
			}
			if n-i > 1 && (n == len(s) || s[n] == ' ' || s[n] == ',') && i > 0 {
				return true
			}
			i = n - 1
		}
	}
	return false
}

// commands that mean what a character means, "" for those that mean nothing.
var commands = map[string]string{
	"times": "*", "cdot": "*", "div": "/", "ast": "*", "approx": "≈", "circ": "°", "degree": "°", "lbrace": "\\{",
	"left": "", "right": "", "big": "", "Big": "", "bigl": "", "bigr": "", "Bigl": "", "Bigr": "",
	"displaystyle": "", "textstyle": "", "limits": "", "boldsymbol": "", "bf": "", "rm": "",
	"quad": " ", "qquad": " ", ",": " ", ";": " ", ":": " ", "!": "", " ": " ", "\n": " ",
	"%": "%", "euro": "€", "pounds": "£", "lparen": "(", "rparen": ")",
}

// texts are the macros whose argument is text.
var texts = map[string]bool{"text": true, "textbf": true, "textit": true, "textrm": true, "mathrm": true, "mathbf": true,
	"mathit": true, "mathsf": true, "mbox": true, "operatorname": true, "hbox": true, "emph": true, "boxed": true, "fbox": true, "underline": true}

var environments = map[string]bool{"align": true, "align*": true, "aligned": true, "equation": true, "equation*": true, "gather": true, "gather*": true, "split": true}

func (l *lexer) command() {
	start := l.i
	l.i++
	if l.i == len(l.s) {
		l.add(other, "\\")
		return
	}
	for l.i < len(l.s) && isLetter(l.s[l.i]) {
		l.i++
	}
	if l.i == start+1 {
		_, size := utf8.DecodeRuneInString(l.s[l.i:])
		l.i += size
	}
	name := l.s[start+1 : l.i]
	switch {
	case name == "$":
		l.add(currency, "$")
	case name == "(" || name == "[":
		if l.formula == 0 {
			l.count++
			l.formula = l.count
		}
	case name == ")" || name == "]":
		if l.until < 0 {
			l.formula = 0
		}
	case name == "\\":
		l.add(stop, "\\\\")
	case name == "frac" || name == "dfrac" || name == "tfrac" || name == "cfrac":
		num, ok1 := l.argument()
		den, ok2 := l.argument()
		if !ok1 || !ok2 {
			l.add(other, "\\frac")
			return
		}
		n, d := l.inner(num, false), l.inner(den, false)
		t := l.add(fraction, "\\frac")
		t.num, t.den = n, d
	case name == "begin" || name == "end":
		if arg, ok := l.argument(); !ok || !environments[arg] {
			l.add(other, "\\"+name)
			return
		}
		if l.space = true; name == "begin" && l.formula == 0 {
			l.count++
			l.formula = l.count
		} else if name == "end" && l.until < 0 {
			l.formula = 0
		}
	case texts[name]:
		arg, ok := l.argument()
		if !ok {
			l.add(other, "\\"+name)
			return
		}
		for i, t := range l.inner(arg, name != "boxed" && name != "fbox" && name != "underline") {
			t.space = t.space || i == 0
			l.tokens = append(l.tokens, t)
		}
		l.space = true
	default:
		as, ok := commands[name]
		switch {
		case !ok:
			l.add(other, "\\"+name)
		case as == " ":
			l.space = true
		case as != "":
			r, _ := utf8.DecodeRuneInString(as)
			if c, ok := single[r]; ok {
				l.add(c, as)
			} else {
				l.add(other, as)
			}
		}
	}
}

// argument takes a macro's next argument: what stands in braces, or one character.
func (l *lexer) argument() (string, bool) {
	for l.i < len(l.s) && l.s[l.i] == ' ' {
		l.i++
	}
	end := len(l.s)
	if l.until >= 0 {
		end = l.until
	}
	if l.i >= end {
		return "", false
	}
	if l.s[l.i] != '{' {
		if c := l.s[l.i]; c == '}' || c == '\\' || c == '$' {
			return "", false
		}
		_, size := utf8.DecodeRuneInString(l.s[l.i:])
		l.i += size
		return l.s[l.i-size : l.i], true
	}
	if l.unclosed > maxDepth { // looking for the end of each again would take quadratic time
		return "", false
	}
	body, ok := braced(l.s[l.i:end])
	if !ok {
		l.unclosed++
		return "", false
	}
	l.i += len(body) + 2
	return body, true
}

// braced is what stands between the brace that s begins with and the one that closes it.
func braced(s string) (string, bool) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return s[1:i], true
			}
		}
	}
	return "", false
}

// degrees takes off the ^ that TeX writes before a ring: 45^\circ, 45^{\circ}.
func degrees(ts []token) []token {
	out := ts[:0]
	for i := 0; i < len(ts); i++ {
		switch rest := ts[i:]; {
		case rest[0].text == "^" && len(rest) > 1 && rest[1].class == degree:
			continue
		case rest[0].text == "^" && len(rest) > 3 && rest[1].text == "{" && rest[2].class == degree && rest[3].text == "}":
			out = append(out, rest[2])
			i += 3
		default:
			out = append(out, rest[0])
		}
	}
	return out
}

// times finds the letter x that stands for a multiplication sign: between two numbers, spaced on both sides or on none.
func times(ts []token) []token {
	for i := 1; i+1 < len(ts); i++ {
		t, before, after := &ts[i], ts[i-1], ts[i+1]
		if t.class != word || t.text != "x" && t.text != "X" || t.space != after.space {
			continue
		}
		left := before.class == number || before.class == fraction || before.class == closing || before.class == percent
		right := after.class == number || after.class == fraction || t.space && (after.class == opening || after.class == currency)
		if left && right {
			t.class, t.text = operator, "*"
		}
	}
	return ts
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
