package jinja

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

type kind int

const (
	tokenEOF kind = iota
	tokenData
	tokenVariableBegin
	tokenVariableEnd
	tokenBlockBegin
	tokenBlockEnd
	tokenName
	tokenString
	tokenInteger
	tokenFloat
	tokenOperator
)

type token struct {
	kind kind
	text string
	line int
}

// operators, the longer ones first.
var operators = []string{"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}",
	">", "<", "=", ".", ":", "|", ",", ";"}

var (
	rawBegin = regexp.MustCompile(`^\s*raw\s*(-%\}\s*|%\})`)
	rawEnd   = regexp.MustCompile(`\{%([-+]?)\s*endraw\s*(\+%\}|-%\}\s*|%\}\n?)`)
	float    = regexp.MustCompile(`^(\d+_)*\d+((\.(\d+_)*\d+)?[eE][+\-]?(\d+_)*\d+|\.(\d+_)*\d+)`)
	integer  = regexp.MustCompile(`^(0[bB](_?[0-1])+|0[oO](_?[0-7])+|0[xX](_?[\da-fA-F])+|[1-9](_?\d)*|0(_?0)*)`)
)

// A lexer cuts a template into tokens, with the whitespace control of trim_blocks and lstrip_blocks applied.
type lexer struct {
	src          string
	pos          int
	line         int
	lineStarting bool
	tokens       []token
}

// lex panics with an [*Error].
func lex(source string) []token {
	source = strings.ReplaceAll(strings.ReplaceAll(source, "\r\n", "\n"), "\r", "\n")
	l := &lexer{src: strings.TrimSuffix(source, "\n"), line: 1, lineStarting: true}
	for l.pos < len(l.src) {
		l.root()
	}
	l.emit(tokenEOF, "")
	return l.tokens
}

func (l *lexer) fail(format string, args ...any) {
	panic(&Error{Line: l.line, Message: fmt.Sprintf(format, args...)})
}

func (l *lexer) emit(k kind, text string) { l.tokens = append(l.tokens, token{k, text, l.line}) }

// advance moves on by n bytes.
func (l *lexer) advance(n int) {
	l.line += strings.Count(l.src[l.pos:l.pos+n], "\n")
	l.pos += n
}

// root takes in the text up to the next tag, and that tag.
func (l *lexer) root() {
	rest := l.src[l.pos:]
	at := -1
	for i := 0; ; {
		j := strings.IndexByte(rest[i:], '{')
		if j < 0 || i+j+1 >= len(rest) {
			break
		}
		if i += j; strings.IndexByte("%{#", rest[i+1]) >= 0 {
			at = i
			break
		}
		i++
	}
	if at < 0 {
		l.data(rest)
		l.advance(len(rest))
		return
	}
	sign := byte(0)
	if at+2 < len(rest) && (rest[at+2] == '-' || rest[at+2] == '+') {
		sign = rest[at+2]
	}
	tag := rest[at+1]
	l.data(l.strip(rest[:at], sign, tag != '{'))
	l.advance(at + 2)
	if sign != 0 {
		l.advance(1)
	}
	l.lineStarting = false
	switch tag {
	case '#':
		l.comment()
	case '{':
		l.emit(tokenVariableBegin, "")
		l.expression("}}", tokenVariableEnd)
	default:
		if m := rawBegin.FindStringSubmatch(l.src[l.pos:]); m != nil {
			l.raw(m)
			return
		}
		l.emit(tokenBlockBegin, "")
		l.expression("%}", tokenBlockEnd)
	}
}

// strip takes the whitespace off the end of the text before a tag that the tag's sign or lstrip_blocks says.
func (l *lexer) strip(text string, sign byte, block bool) string {
	if sign == '-' {
		return strings.TrimRightFunc(text, isSpace)
	}
	if sign == '+' || !block {
		return text
	}
	start := strings.LastIndexByte(text, '\n') + 1
	if (start > 0 || l.lineStarting) && strings.TrimFunc(text[start:], isSpace) == "" {
		return text[:start]
	}
	return text
}

func (l *lexer) data(text string) {
	if text != "" {
		l.emit(tokenData, text)
	}
}

// trim skips what follows a tag: all whitespace after a minus, one newline after a block without sign.
func (l *lexer) trim(sign byte, block bool) {
	rest := l.src[l.pos:]
	n := 0
	if sign == '-' {
		n = len(rest) - len(strings.TrimLeftFunc(rest, isSpace))
	} else if sign == 0 && block && strings.HasPrefix(rest, "\n") {
		n = 1
	}
	l.advance(n)
	l.lineStarting = n > 0 && l.src[l.pos-1] == '\n'
}

func (l *lexer) comment() {
	end := strings.Index(l.src[l.pos:], "#}")
	if end < 0 {
		l.fail("a comment without end: #} is missing")
	}
	sign := byte(0)
	if end > 0 {
		if c := l.src[l.pos+end-1]; c == '-' || c == '+' {
			sign = c
		}
	}
	l.advance(end + 2)
	l.trim(sign, true)
}

func (l *lexer) raw(begin []string) {
	l.advance(len(begin[0]))
	l.lineStarting = strings.HasSuffix(begin[0], "\n")
	rest := l.src[l.pos:]
	m := rawEnd.FindStringSubmatchIndex(rest)
	if m == nil {
		l.fail("a raw block without end: {%% endraw %%} is missing")
	}
	sign := byte(0)
	if m[2] < m[3] {
		sign = rest[m[2]]
	}
	l.data(l.strip(rest[:m[0]], sign, true))
	l.advance(m[1])
	l.lineStarting = rest[m[1]-1] == '\n'
}

// expression takes in the tokens up to the end of the tag.
func (l *lexer) expression(end string, last kind) {
	var open []byte
	for {
		rest := l.src[l.pos:]
		if rest == "" {
			l.fail("the template ends within a tag: %s is missing", end)
		}
		if len(open) == 0 {
			sign := byte(0)
			if rest[0] == '-' || rest[0] == '+' && last == tokenBlockEnd {
				sign = rest[0]
			}
			tail := rest
			if sign != 0 {
				tail = rest[1:]
			}
			if strings.HasPrefix(tail, end) {
				l.emit(last, "")
				l.advance(len(rest) - len(tail) + len(end))
				l.trim(sign, last == tokenBlockEnd)
				return
			}
		}
		c, size := utf8.DecodeRuneInString(rest)
		switch {
		case isSpace(c):
			l.advance(size)
		case c == '\'' || c == '"':
			l.string(rest)
		case c >= '0' && c <= '9':
			l.number(rest)
		case c == '_' || unicode.IsLetter(c):
			n := strings.IndexFunc(rest, func(c rune) bool { return c != '_' && !unicode.IsLetter(c) && !unicode.IsDigit(c) })
			if n < 0 {
				n = len(rest)
			}
			l.emit(tokenName, rest[:n])
			l.advance(n)
		default:
			open = l.operator(rest, open)
		}
	}
}

func (l *lexer) operator(rest string, open []byte) []byte {
	for _, op := range operators {
		if !strings.HasPrefix(rest, op) {
			continue
		}
		switch op {
		case "(", "[", "{":
			open = append(open, map[string]byte{"(": ')', "[": ']', "{": '}'}[op])
		case ")", "]", "}":
			if len(open) == 0 || open[len(open)-1] != op[0] {
				l.fail("unexpected %q", op)
			}
			open = open[:len(open)-1]
		}
		l.emit(tokenOperator, op)
		l.advance(len(op))
		return open
	}
	c, _ := utf8.DecodeRuneInString(rest)
	l.fail("unexpected character %q", c)
	return nil
}

func (l *lexer) number(rest string) {
	if m := float.FindString(rest); m != "" {
		l.emit(tokenFloat, strings.ReplaceAll(m, "_", ""))
		l.advance(len(m))
		return
	}
	m := integer.FindString(rest)
	l.emit(tokenInteger, strings.ReplaceAll(m, "_", ""))
	l.advance(len(m))
}

func (l *lexer) string(rest string) {
	quote := rest[0]
	var b strings.Builder
	for i := 1; i < len(rest); {
		switch c := rest[i]; {
		case c == quote:
			l.emit(tokenString, b.String())
			l.advance(i + 1)
			return
		case c == '\\' && i+1 < len(rest):
			i += 1 + escape(&b, rest[i+1:])
		default:
			b.WriteByte(c)
			i++
		}
	}
	l.fail("a string without end: %c is missing", quote)
}

var simpleEscapes = map[byte]string{'\n': "", '\\': "\\", '\'': "'", '"': "\"", 'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n",
	'r': "\r", 't': "\t", 'v': "\v"}

// escape writes what a backslash and the start of s stand for in a Python string, and gives the length of that start.
func escape(b *strings.Builder, s string) int {
	if text, ok := simpleEscapes[s[0]]; ok {
		b.WriteString(text)
		return 1
	}
	digits := func(from, n, base int) (rune, int, bool) {
		end := min(from+n, len(s))
		v, err := strconv.ParseUint(s[from:end], base, 32)
		return rune(v), end, err == nil && v <= unicode.MaxRune && end-from == n
	}
	switch {
	case s[0] >= '0' && s[0] <= '7':
		n := 1
		for n < 3 && n < len(s) && s[n] >= '0' && s[n] <= '7' {
			n++
		}
		c, _, _ := digits(0, n, 8)
		b.WriteRune(c)
		return n
	case strings.IndexByte("xuU", s[0]) >= 0:
		n := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[0]]
		if c, end, ok := digits(1, n, 16); ok {
			b.WriteRune(c)
			return end
		}
	}
	b.WriteByte('\\')
	return 0
}

// isSpace is Python's str.isspace of a character.
func isSpace(c rune) bool { return unicode.IsSpace(c) || c >= 0x1c && c <= 0x1f }
