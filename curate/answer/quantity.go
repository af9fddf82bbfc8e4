package answer

import (
	"math/big"
	"strings"
)

// amount reads the number that ts begins with, with its sign, percent sign, scale word and unit, and says how many
// tokens it is made of.
func amount(ts []token) (a Answer, used int, err error) {
	negative := len(ts) > 0 && negates(ts[0])
	if negative {
		used++
	}
	n := arithmetic(ts[used:])
	if n == 0 {
		return Answer{}, 0, errSymbolic
	}
	run := ts[used : used+n]
	var literal *token
	if a.value, literal, a.percent, err = evaluate(run); err != nil {
		return Answer{}, 0, err
	}
	if run[0].formula == 0 && ambiguous(run) {
		return Answer{}, 0, errSymbolic
	}
	if negative {
		a.value = new(big.Rat).Neg(a.value)
	}
	a.decimals = -1
	if literal != nil {
		a.decimals = literal.decimals
	}
	for _, t := range run {
		if t.class == currency {
			a.unit = known[t.text]
		}
	}
	used += n
	rest := ts[used:]
	if len(rest) > 0 && rest[0].class == word {
		switch w := strings.ToLower(rest[0].text); {
		case w == "percent" && !a.percent:
			a.percent = true
			a.value = new(big.Rat).Quo(a.value, big.NewRat(100, 1))
			used++
		case scaleWords[w] > 0 && (rest[0].space || rest[0].upright):
			a.value = new(big.Rat).Mul(a.value, new(big.Rat).SetInt64(scaleWords[w]))
			a.decimals = -1
			used++
		}
		rest = ts[used:]
	}
	if a.percent && a.decimals >= 0 {
		a.decimals += 2
	}
	if price := a.unit; !price.none() && len(rest) > 1 && rest[1].class == word && (rest[0].text == "/" || rest[0].text == "per") {
		a.unit = unit{label: price.label + "/" + rest[1].text} // what a thing costs
		return a, used + 2, nil
	}
	u, n, ok := readUnit(rest)
	if !ok {
		return Answer{}, 0, errSymbolic
	}
	if a.unit.none() {
		a.unit = u
	}
	used += n
	more, err := a.compound(ts[used:])
	return a, used + more, err
}

// compound adds what follows in another unit of the same kind: 1 hour and 30 minutes. The whole is then in that unit.
func (a *Answer) compound(ts []token) (used int, err error) {
	if a.unit.dims == nil || a.unit.offset != nil {
		return 0, nil
	}
	at := 0
	for at < len(ts) && (ts[at].class == comma || ts[at].class == word && strings.EqualFold(ts[at].text, "and")) {
		at++
	}
	if at+1 >= len(ts) || ts[at].class != number || ts[at+1].class != word {
		return 0, nil
	}
	u, n, ok := readUnit(ts[at+1:])
	if !ok || u.dims == nil || !u.compatible(a.unit) || u.factor.Cmp(a.unit.factor) >= 0 {
		return 0, nil
	}
	whole := new(big.Rat).Quo(a.unit.base(a.value), u.factor)
	a.value = whole.Add(whole, ts[at].value)
	a.unit, a.decimals = u, -1
	more, err := a.compound(ts[at+1+n:])
	return at + 1 + n + more, err
}

// arithmetic is the number of tokens of arithmetic that ts begins with.
func arithmetic(ts []token) int {
	depth := 0
	for i, t := range ts {
		switch t.class {
		case number, fraction, percent, currency:
			if t.class == currency && i > 0 && ts[i-1].class != operator && ts[i-1].class != opening {
				return i
			}
		case operator:
			if i > 0 && (i+1 == len(ts) || t.text == "/" && ts[i+1].class == word || t.text == "-" && ts[i+1].class == word) {
				return i
			}
		case opening:
			if t.formula == 0 && t.space && i > 0 && ts[i-1].class != operator && ts[i-1].class != opening {
				return i // a remark in brackets
			}
			depth++
		case closing:
			if depth--; depth < 0 {
				return i
			}
		case bang:
			if t.formula == 0 {
				return i
			}
		case word:
			if t.text != "and" || i == 0 || ts[i-1].class != number || i+1 >= len(ts) || !ratio(ts[i+1:]) {
				return i
			}
		default:
			return i
		}
	}
	return len(ts)
}

// ambiguous reports whether arithmetic in plain text may be something else: a range (10-20), a date (2023-01-05).
func ambiguous(run []token) bool {
	slashes, minuses, operators := 0, 0, 0
	for i, t := range run {
		if t.class != operator || i == 0 || run[i-1].class == operator || run[i-1].class == opening {
			continue
		}
		operators++
		switch t.text {
		case "/":
			if !t.space {
				slashes++
			}
		case "-":
			if minuses++; !t.space {
				return true
			}
		}
	}
	return operators == 1 && minuses == 1 || operators == 2 && slashes == 2
}

// whole reads all of ts as one quantity: a value with its unit, alone or as the right side of an equation.
func whole(ts []token) (Answer, error) {
	ts = trim(ts)
	at := -1
	for i, t := range ts {
		if t.class == equals {
			at = i
		}
	}
	if at == len(ts)-1 && at > 0 {
		return Answer{}, errSymbolic
	}
	if at >= 0 && at == len(ts)-2 && isName(ts[at+1]) { // 5 = x
		a, err := whole(ts[:at])
		if err == nil && a.name != "" {
			err = errSymbolic
		}
		a.name = ts[at+1].text
		return a, err
	}
	name := ""
	if at >= 0 {
		var ok bool
		if name, ok = leftSide(ts, at); !ok {
			return Answer{}, errSymbolic
		}
		ts = ts[at+1:]
	}
	a, used, err := amount(ts)
	if err != nil {
		return Answer{}, err
	}
	for _, t := range ts[used:] {
		if t.class != word || symbols[strings.ToLower(t.text)] || len([]rune(t.text)) == 1 && t.text != "a" && !t.upright {
			return Answer{}, errSymbolic
		}
	}
	a.name = name
	return a, nil
}

func isName(t token) bool {
	return t.class == word && len([]rune(t.text)) == 1 && !t.upright
}

// trim takes off what means nothing at the ends of a quantity, and all lines but the last.
func trim(ts []token) []token {
	idle := func(t token) bool {
		return t.class == stop || t.class == quote || t.class == comma || t.class == bang && t.formula == 0
	}
	for len(ts) > 0 && idle(ts[len(ts)-1]) {
		ts = ts[:len(ts)-1]
	}
	for len(ts) > 0 && idle(ts[0]) {
		ts = ts[1:]
	}
	for i := len(ts) - 1; i >= 0; i-- {
		if ts[i].text == `\\` {
			return ts[i+1:]
		}
	}
	if n := len(ts); n > 0 && ts[0].class == equals && ts[0].text == "≈" {
		ts = ts[1:]
	}
	return ts
}

// leftSide judges what stands on the left of the equals sign at ts[at]. It is ok when the right side is then a value:
// the left is a name, words, or arithmetic, but not 2x or x+3.
func leftSide(ts []token, at int) (name string, ok bool) {
	if at == 0 {
		return "", true
	}
	p := ts[at-1]
	switch p.class {
	case number, fraction, closing, percent:
		start := begin(ts, at-1)
		if n := at - start; arithmetic(ts[start:at]) < n {
			return "", false
		}
		if _, _, _, err := evaluate(ts[start:at]); err != nil {
			return "", false
		}
		return "", leftOf(ts, start)
	case word:
		if symbols[strings.ToLower(p.text)] {
			return "", false
		}
		letter := isName(p)
		if letter {
			name = p.text
		}
		if at == 1 {
			return name, true
		}
		q := ts[at-2]
		switch q.class {
		case operator:
			return "", !letter && q.text == "-" && q.space && p.space
		case number, fraction, closing, percent:
			return "", !letter && p.space
		case comma:
			return name, at < 4 || ts[at-3].class != number
		case other, opening, equals:
			return "", false
		case word:
			return name, !symbols[strings.ToLower(q.text)] && (p.formula == 0 || !letter)
		}
		return name, true
	case stop, quote, degree, currency:
		return "", p.formula == 0
	}
	return "", false
}
