// Package answer reads the final answer out of what a model wrote and compares answers as values.
//
// What counts as the answer: the last \boxed{}, else the last line that begins with ####, else what follows the last
// "answer is" or "answer:", else the last number or formula. Read are quantities (integers, decimals, thousands
// separators, signs, money, percent, fractions, mixed numbers, scientific notation, number words, arithmetic over these,
// with units), formulas (see package formula) and a few words (yes, Monday, the letter of a choice). Anything else is an
// error and never a value: a verifier that can't read must not judge.
//
// All arithmetic is bounded, see the limits in token.go, number.go, arithmetic.go and package formula.
package answer

import (
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"stillhouse/curate/answer/formula"
)

// An Answer is a value that was read.
type Answer struct {
	// From is the text that it was read from, shortened.
	From string

	value    *big.Rat         // of one number; nil where form or text is the answer
	form     *formula.Formula // of what is no single number
	text     string           // of an answer in words
	source   string           // of form or text, shortened
	choice   string           // the letter of one of several choices: B of (B) 12
	marked   bool             // a mark points at it
	decimals int              // digits after the point of a value that is one literal, -1 for any other
	percent  bool             // written with a percent sign, which is in the value: 50% is 0.5
	unit     unit             // the zero unit where there is none
	name     string           // of the variable in x = 5
}

// ErrNone says that a text holds no answer that could be read.
var ErrNone = errors.New("no number could be read")

var (
	thinking    = regexp.MustCompile(`(?s)<think(?:ing)?>.*?</think(?:ing)?>`)
	control     = regexp.MustCompile(`<\|[a-z_]{1,30}\|>|</?s>|<(?:eos|bos|pad|end_of_turn)>`) // a template's tokens
	calculation = regexp.MustCompile(`<<[^<>\n]*>>`)                                           // GSM8K's calculator notes
	announced   = regexp.MustCompile(`^(?i)answers?\b[ *_]*(?:is|are|equals|was|:|=|≈)[ *_:=\n]*`)
	boxes       = []string{`\boxed`, `\fbox`}
)

// Final reads the answer of a model's text. The error says what was looked at and why it is no value.
func Final(text string) (Answer, error) {
	if strings.Contains(text, "<think") || strings.Contains(text, "</think") {
		text = thinking.ReplaceAllString(text, "")
		if _, after, ok := strings.Cut(text, "</think>"); ok { // templates may open the block in the prompt
			text = after
		}
		if before, _, ok := strings.Cut(text, "<think"); ok && strings.TrimSpace(before) == "" {
			return Answer{}, fmt.Errorf("%w: the reasoning never ends", ErrNone)
		}
	}
	if strings.HasSuffix(strings.TrimRight(text, " \n"), ">") {
		text = control.ReplaceAllString(text, "")
	}
	if a, ok, err := marked(text); ok {
		return a, err
	}
	tail := text
	if len(tail) > maxText {
		tail = strings.ToValidUTF8(tail[len(tail)-maxText:], "")
	}
	tail = fold(note(tail))
	ts := lex(tail, false)
	a, err := whole(ts)
	if err != nil {
		a, err = last(ts)
	}
	if err != nil {
		if b, ok := unmarked(text); ok {
			return named(b, nil, strings.TrimSpace(short(text)))
		}
	}
	return named(a, err, strings.TrimSpace(lastLine(text)))
}

// unmarked reads a text that is a formula or a few words, or the last formula in it.
func unmarked(text string) (Answer, bool) {
	if len(text) > maxText {
		return Answer{}, false
	}
	a, err := general(text, true)
	if err != nil {
		a, err = formulas(text)
	}
	if len(text) < 20 {
		a, err = chosen(a, err, text)
	}
	return a, err == nil
}

// Reference reads a reference answer: the answer alone, or a whole solution with one of the marks.
func Reference(text string) (Answer, error) {
	if strings.TrimSpace(text) == "" {
		return Answer{}, fmt.Errorf("%w: it is empty", ErrNone)
	}
	if a, ok, err := marked(text); ok {
		return a, err
	}
	if len(text) > maxText {
		return Answer{}, fmt.Errorf("%w: it is longer than %d bytes", ErrNone, maxText)
	}
	a, err := whole(body(text))
	if err != nil {
		if b, problem := general(undollar(text), false); problem == nil {
			a, err = b, nil
		}
	}
	a, err = chosen(a, err, text)
	a.marked = true
	return named(a, err, strings.TrimSpace(text))
}

// marked reads what the last mark points at. ok is false when there is no mark.
func marked(text string) (a Answer, ok bool, err error) {
	if at := max(strings.LastIndex(text, boxes[0]), strings.LastIndex(text, boxes[1])); at >= 0 {
		a, err := boxed(text, at)
		a.marked = true
		return a, true, err
	}
	if line, ok := hashes(text); ok {
		line = note(line)
		a, err := whole(body(line))
		if err != nil {
			a, err = first(lex(fold(line), false))
		}
		if err != nil {
			a, err = announcedFormula(line)
		}
		a, err = chosen(a, err, line)
		a.marked = true
		a, err = named(a, err, "#### "+strings.TrimSpace(line))
		return a, true, err
	}
	if from, to, ok := announcement(text); ok {
		rest := text[to:]
		if len(rest) > maxText {
			rest = strings.ToValidUTF8(rest[:maxText], "")
		}
		rest = note(rest)
		ts := sentence(lex(fold(rest), false))
		a, err := whole(ts)
		if err != nil {
			a, err = first(ts)
		}
		if err != nil {
			a, err = announcedFormula(rest)
		}
		a, err = chosen(a, err, rest)
		a.marked = true
		line, _, _ := strings.Cut(rest, "\n")
		a, err = named(a, err, strings.TrimSpace(text[from:to])+" "+strings.TrimSpace(line))
		return a, true, err
	}
	return Answer{}, false, nil
}

// announcement finds the last "answer is" or "answer:". Of the word answer it looks at the last thousand.
func announcement(text string) (from, to int, ok bool) {
	small, large := strings.LastIndex(text, "nswer"), strings.LastIndex(text, "NSWER")
	for range 1000 {
		at := max(small, large) - 1
		switch {
		case at < 0:
			return 0, 0, false
		case small > large:
			small = strings.LastIndex(text[:small], "nswer")
		default:
			large = strings.LastIndex(text[:large], "NSWER")
		}
		if r, _ := utf8.DecodeLastRuneInString(text[:at]); unicode.IsLetter(r) || unicode.IsDigit(r) {
			continue
		}
		if m := announced.FindStringIndex(text[at:min(at+200, len(text))]); m != nil {
			return at, at + m[1], true
		}
	}
	return 0, 0, false
}

// boxed reads the box whose macro stands at text[at].
func boxed(text string, at int) (Answer, error) {
	rest := text[at:]
	rest = rest[strings.IndexByte(rest, 'x')+1:]
	rest = strings.TrimPrefix(rest, "ed")
	trimmed := strings.TrimLeft(rest, " ")
	inner, ok := "", false
	if len(trimmed) > 2*maxText {
		trimmed = strings.ToValidUTF8(trimmed[:2*maxText], "")
	}
	switch {
	case strings.HasPrefix(trimmed, "{"):
		inner, ok = braced(trimmed)
		trimmed = trimmed[min(len(inner)+2, len(trimmed)):]
	default: // \boxed 7
		n := 0
		for n < len(trimmed) && (isDigit(trimmed[n]) || strings.IndexByte("+-.,", trimmed[n]) >= 0) {
			n++
		}
		inner, ok = trimmed[:n], n > 0
		trimmed = trimmed[n:]
	}
	if !ok || len(inner) > maxText {
		return named(Answer{}, errors.New("the box is empty or never closed"), short(text[at:]))
	}
	if at > 0 && strings.IndexByte("-+/^{(", text[at-1]) >= 0 && !strings.HasSuffix(text[:at], `\boxed{`) && !strings.HasSuffix(text[:at], `\fbox{`) {
		return named(Answer{}, errors.New("the box is part of a formula"), short(text[at-1:]))
	}
	a, err := whole(body(inner))
	if err != nil {
		if b, problem := general(undollar(inner), false); problem == nil {
			a, err = b, nil
		}
	}
	if err == nil && a.unit.none() {
		after, _, _ := strings.Cut(trimmed, "\n")
		if len(after) > 100 {
			after = strings.ToValidUTF8(after[:100], "")
		}
		after = strings.TrimLeft(after, " }$")
		after = strings.TrimLeft(strings.TrimPrefix(strings.TrimPrefix(after, `\)`), `\]`), " ")
		switch ts := lex(fold(after), true); {
		case len(ts) > 0 && (ts[0].class == operator && ts[0].text != "*" && ts[0].text != "-" || ts[0].text == "_"):
			err = errors.New("the box is part of a formula")
		case len(ts) > 0 && ts[0].class == percent && a.value == nil:
			err = errSymbolic
		case len(ts) > 0 && ts[0].class == percent && !a.percent:
			a.percent = true
			a.value = new(big.Rat).Quo(a.value, big.NewRat(100, 1))
			if a.decimals >= 0 {
				a.decimals += 2
			}
		case len(ts) > 0 && (ts[0].class == word || ts[0].class == degree):
			if u, _, ok := readUnit(ts[:1]); ok && u.dims != nil {
				a.unit = u
			}
		}
	}
	a, err = chosen(a, err, inner)
	return named(a, err, `\boxed{`+inner+"}")
}

// hashes finds the last line that begins with ####. A heading of four marks is passed over: it begins with a word and
// other lines follow it. No more than a hundred are passed over.
func hashes(text string) (line string, ok bool) {
	for end, passed := len(text), 0; end > 0 && passed < 100; passed++ {
		at := strings.LastIndex(text[:end], "####")
		if at < 0 {
			return "", false
		}
		end = at
		if at > 0 && text[at-1] == '#' {
			continue
		}
		line, rest, _ := strings.Cut(text[at+4:], "\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		line = strings.TrimSpace(line)
		plain := strings.TrimLeft(line, "*_$ ")
		if heading := plain != "" && isLetter(plain[0]) && strings.TrimSpace(rest) != ""; heading {
			continue
		}
		if len(line) > maxText {
			line = strings.ToValidUTF8(line[:maxText], "")
		}
		return line, true
	}
	return "", false
}

// sentence is the tokens up to the end of the sentence or line that ts begins with.
func sentence(ts []token) []token {
	for i, t := range ts {
		if t.class == stop && t.formula == 0 && t.text != ":" && i > 0 && (t.text != "?" || !numeral(ts[i-1])) {
			return ts[:i]
		}
	}
	return ts
}

// body cuts a text that is one formula into tokens. Dollar signs around it, or money, may stand in it.
func body(s string) []token { return lex(undollar(strings.TrimSpace(fold(s))), true) }

// undollar takes the delimiters of a formula off.
func undollar(s string) string {
	for _, pair := range [][2]string{{"$$", "$$"}, {"$", "$"}, {`\(`, `\)`}, {`\[`, `\]`}} {
		if inner, ok := strings.CutPrefix(strings.TrimRight(s, ". "), pair[0]); ok {
			if inner, ok = strings.CutSuffix(inner, pair[1]); ok && !strings.Contains(inner, "$") {
				return inner
			}
		}
	}
	return s
}

func note(s string) string {
	if strings.Contains(s, "<<") {
		return calculation.ReplaceAllString(s, "")
	}
	return s
}

func named(a Answer, err error, from string) (Answer, error) {
	if err != nil {
		return Answer{From: short(from)}, fmt.Errorf("%w in %q: %w", ErrNone, short(from), err)
	}
	a.From = short(from)
	return a, nil
}

// lastLine is the last line of a text that holds a digit, or its end.
func lastLine(text string) string {
	at := strings.LastIndexAny(text, "0123456789")
	if at < 0 {
		at = max(len(text)-1, 0)
	}
	from := strings.LastIndexByte(text[:at], '\n') + 1
	line, _, _ := strings.Cut(text[from:], "\n")
	if len(line) > 80 {
		cut := max(min(at-from+8, len(line))-80, 0)
		line = strings.ToValidUTF8(line[cut:], "")
	}
	return line
}

func short(s string) string {
	if len(s) > 400 {
		s = strings.ToValidUTF8(s[:400], "")
	}
	if r := []rune(s); len(r) > 80 {
		return string(r[:80]) + "…"
	}
	return s
}
