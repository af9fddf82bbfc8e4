package answer

import (
	"context"
	"strings"
	"unicode"
	"unicode/utf8"

	"stillhouse/curate/answer/formula"
)

// general reads what is no single quantity: a formula, or a few words. plain says that the text stands outside of a
// formula, where 2023-01-05 is no difference.
func general(s string, plain bool) (Answer, error) {
	s = strings.Trim(strings.TrimSpace(fold(s)), "*_` ")
	s = strings.TrimSpace(strings.TrimRight(strings.TrimSpace(s), ".。"))
	if s == "" || !utf8.ValidString(s) {
		return Answer{}, errSymbolic
	}
	if v, ok := spelled(lex(untext(s), false)); ok && numberWords(untext(s)) {
		return Answer{value: v, decimals: 0}, nil
	}
	s = ordinal(s)
	words := phrase(s)
	if letters(s) > 1 && !symbolWords[strings.ToLower(s)] && words != "" {
		return text(words)
	}
	f, err := formula.Parse(s)
	if err == nil && plain && !strings.ContainsFunc(s, notArithmetic) {
		err = errSymbolic
	}
	if err != nil {
		if words == "" {
			return Answer{}, errSymbolic
		}
		return text(words)
	}
	for _, w := range strings.Fields(strings.ToLower(f.Unit)) {
		if symbols[w] { // 3 dozen
			return Answer{}, errSymbolic
		}
	}
	a := Answer{form: &f, source: short(s), decimals: -1, text: words}
	if f.Unit != "" {
		ts := lex(f.Unit, false)
		for i := range ts {
			ts[i].upright, ts[i].formula = true, 0
		}
		if u, n, ok := readUnit(ts); ok && n == len(ts) {
			a.unit = u
		} else {
			a.unit = unit{label: f.Unit}
		}
	}
	if f.Degrees && a.unit.none() && f.Constant() {
		a.unit = known["°"]
	}
	return a, nil
}

// ordinal takes the ending of 5^{th} off.
func ordinal(s string) string {
	for _, ending := range []string{"th", "st", "nd", "rd"} {
		for _, form := range []string{"^{%}", `^{\text{%}}`, `^\text{%}`, `^{\mathrm{%}}`} {
			if number, ok := strings.CutSuffix(s, strings.ReplaceAll(form, "%", ending)); ok && number != "" && isDigit(number[len(number)-1]) {
				return number
			}
		}
	}
	return s
}

// symbolWords are words that a formula knows.
var symbolWords = map[string]bool{"pi": true, "infinity": true, "inf": true, "theta": true, "alpha": true, "beta": true, "gamma": true, "lambda": true}

// notArithmetic reports whether a character makes plain text more than digits with signs between them.
func notArithmetic(r rune) bool {
	return !strings.ContainsRune("0123456789.+-−– /%$", r) || unicode.IsLetter(r)
}

// letters is the length of a text of ASCII letters only, else 0.
func letters(s string) int {
	for i := 0; i < len(s); i++ {
		if !isLetter(s[i]) {
			return 0
		}
	}
	return len(s)
}

func numberWords(s string) bool {
	for _, w := range strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return !unicode.IsLetter(r) }) {
		_, small := smallWords[w]
		_, part := partWords[w]
		if !small && !part && scaleWords[w] == 0 && w != "and" && w != "minus" && w != "negative" {
			return false
		}
	}
	return !strings.ContainsAny(s, "0123456789")
}

// A region is a formula in a text, without its delimiters.
type region struct {
	from, to int
	inner    string
}

var delimiters = [][2]string{{"$$", "$$"}, {`\[`, `\]`}, {`\(`, `\)`}, {"$", "$"}}

// regions finds the formulas between dollar signs and TeX's brackets. Money is none.
func regions(s string) (out []region) {
	for i := 0; i < len(s) && len(out) < 1000; {
		at := strings.IndexAny(s[i:], `$\`)
		if at < 0 {
			break
		}
		i += at
		found := false
		for _, d := range delimiters {
			if !strings.HasPrefix(s[i:], d[0]) {
				continue
			}
			body := s[i+len(d[0]):]
			end := strings.Index(body[:min(len(body), 4096)], d[1])
			if end <= 0 || strings.Contains(body[:end], "\n\n") || d[0] == "$" && (unicode.IsSpace(rune(body[end-1])) || unicode.IsSpace(rune(body[0])) || wordy(body[:end])) {
				continue
			}
			to := i + len(d[0]) + end + len(d[1])
			out = append(out, region{i, to, body[:end]})
			i, found = to, true
			break
		}
		if !found {
			i++
		}
	}
	return out
}

// joins reports whether text between two formulas makes them parts of one answer.
func joins(between string) bool {
	between = strings.ToLower(strings.Trim(between, " \n,"))
	return between == "" || between == "and" || between == "or"
}

// formulas reads the last formula of a text, with those that "and", "or" or a comma join to it. No number and no other
// formula may follow it.
func formulas(s string) (Answer, error) {
	rs := regions(s)
	if len(rs) == 0 {
		return bracketed(s)
	}
	last := len(rs) - 1
	if strings.ContainsAny(s[rs[last].to:], `0123456789\$=`) {
		return Answer{}, errSymbolic
	}
	first := last
	for first > 0 && joins(s[rs[first-1].to:rs[first].from]) {
		first--
	}
	if a, err := whole(formulaTokens(rs[last].inner)); err == nil && first == last && leftAlone(s[:rs[first].from]) {
		return a, nil
	}
	joined := rs[first].inner
	for i := first + 1; i <= last; i++ {
		by := strings.TrimSpace(s[rs[i-1].to:rs[i].from])
		if by == "" {
			by = ","
		}
		joined += " " + by + " " + rs[i].inner
	}
	if !leftAlone(s[:rs[first].from]) {
		return Answer{}, errSymbolic
	}
	return general(joined, false)
}

// bracketed reads the tuple or interval that a text ends with: the point is (3, 5).
func bracketed(s string) (Answer, error) {
	s = strings.TrimRight(fold(s), ". \n*")
	if !strings.HasSuffix(s, ")") && !strings.HasSuffix(s, "]") {
		return Answer{}, errSymbolic
	}
	depth := 0
	for i := len(s) - 1; i >= 0 && len(s)-i < 200; i-- {
		switch s[i] {
		case ')', ']':
			depth++
		case '(', '[':
			depth--
		}
		if depth > 0 {
			continue
		}
		if before := strings.TrimRight(s[:i], " "); len(before) == i || before == "" || !isLetter(before[len(before)-1]) && before[len(before)-1] != ':' || !strings.Contains(s[i:], ",") {
			break
		}
		return general(s[i:], true)
	}
	return Answer{}, errSymbolic
}

// leftAlone reports whether a text may stand before a formula without being part of it: it doesn't end with an operator,
// a digit or a bracket.
func leftAlone(before string) bool {
	before = strings.TrimRight(before, " \n*_")
	if before == "" {
		return true
	}
	r, _ := utf8.DecodeLastRuneInString(before)
	return unicode.IsLetter(r) || strings.ContainsRune(".,:;!?>=≈✅", r) && !strings.HasSuffix(before, ">=")
}

func formulaTokens(s string) []token { return lex(strings.TrimSpace(fold(s)), true) }

// announcedText is what follows "answer is" up to the end of its sentence.
func announcedText(rest string) string {
	rest = strings.TrimLeft(rest, " *_\n")
	end := len(rest)
	for _, r := range append(regions(rest), region{from: len(rest), to: len(rest)}) {
		if at := sentenceEnd(rest[:r.from]); at >= 0 && at < end {
			end = at
			break
		}
		rest = rest[:r.from] + strings.Repeat("\x00", r.to-r.from) + rest[r.to:]
	}
	return rest[:end]
}

func sentenceEnd(s string) int {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\n':
			return i
		case s[i] == '.' && (i+1 == len(s) || s[i+1] == ' ' || s[i+1] == '*' || s[i+1] == '\n'):
			return i
		}
	}
	return -1
}

// announcedFormula reads what follows "answer is" as a formula or as words.
func announcedFormula(rest string) (Answer, error) {
	whole := strings.TrimLeft(rest, " *_\n")
	sentence := whole[:len(announcedText(rest))]
	if a, err := general(sentence, true); err == nil {
		return a, nil
	}
	if rs := regions(sentence); len(rs) == 1 {
		if before := strings.TrimSpace(sentence[:rs[0].from]); before == "" || leftAlone(before) && !strings.ContainsAny(before, "0123456789=") {
			if after := sentence[rs[0].to:]; !strings.ContainsAny(after, "0123456789=+/^") {
				return general(rs[0].inner, false)
			}
		}
	}
	return formulas(sentence)
}

// comparison of what isn't two quantities.
func compareForms(ctx context.Context, a, b Answer) (Relation, string) {
	fa, fb := a.formula(), b.formula()
	switch ua, ub := a.unit, b.unit; {
	case ua.none() || ub.none():
		if angle := known["°"].label; ua.label == angle && fb.Constant() && radians(b) || ub.label == angle && fa.Constant() && radians(a) {
			if ua.label == angle {
				fa = fa.Radians()
			} else {
				fb = fb.Radians()
			}
		}
	case ua.dims == nil || ub.dims == nil:
		if !strings.EqualFold(ua.label, ub.label) && formula.Compare(ctx, fa, fb) != formula.Different {
			return Undecided, "the units " + ua.label + " and " + ub.label + " can't be compared"
		}
	case !ua.compatible(ub):
		return Different, ub.label + " is not " + ua.label
	case ua.offset != nil || ub.offset != nil:
		if ua.label != ub.label {
			return Undecided, "temperatures in a formula are not converted"
		}
	case ua.factor.Cmp(ub.factor) != 0:
		fa, fb = fa.Times(ua.factor), fb.Times(ub.factor)
	}
	switch formula.Compare(ctx, fa, fb) {
	case formula.Same:
		return Same, ""
	case formula.Different:
		return Different, ""
	}
	return Undecided, "it can't be told whether they are the same"
}

// radians reports whether an angle without a unit is in radians: it has π in it.
func radians(a Answer) bool { return a.form != nil && a.form.HasPi() }

// formula is the answer as a formula.
func (a Answer) formula() formula.Formula {
	if a.form != nil {
		return *a.form
	}
	return formula.OfNumber(a.name, a.value, a.decimals)
}
