package answer

import (
	"strings"
)

// first reads the first quantity in a piece of text, the one that "answer is" announces. A chain of equations counts
// by its end, "not 8 but 9" is 9.
func first(ts []token) (Answer, error) {
	at := -1
	for i, t := range ts {
		if !numeral(t) {
			continue
		}
		if at = i; denied(ts, i) {
			continue
		}
		break
	}
	if at >= 0 && (denied(ts, at) || compared(ts[:at])) {
		return Answer{}, errSymbolic
	}
	if at < 0 {
		if v, ok := spelled(ts); ok {
			return Answer{value: v, decimals: 0}, nil
		}
		return Answer{}, errSymbolic
	}
	a, next, err := around(ts, at)
	for err == nil && next < len(ts) && ts[next].class == equals {
		if next+1 >= len(ts) {
			return Answer{}, errSymbolic
		}
		var used int
		if f := ts[next+1].formula; f > 0 && ts[next].formula != f {
			a, next, err = around(ts, next+1)
			continue
		}
		if a, used, err = amount(ts[next+1:]); err == nil {
			next += 1 + used
		}
	}
	if err == nil && !rightOf(ts, next) {
		err = errSymbolic
	}
	if err != nil {
		return Answer{}, err
	}
	// Words before the number may make it part of a story: then it counts only when no other number is there.
	story := false
	for i, t := range ts[:at] {
		story = story || t.class == word && !filler[strings.ToLower(t.text)] && ts[i+1].class != equals
	}
	for _, t := range ts[next:] {
		if story && t.class == number && t.value.Cmp(a.value) != 0 {
			return Answer{}, errSymbolic
		}
	}
	return a, nil
}

// filler are words that may stand between "the answer is" and the answer.
var filler = map[string]bool{"about": true, "approximately": true, "exactly": true, "roughly": true, "equal": true, "equals": true, "to": true, "the": true,
	"a": true, "an": true, "total": true, "of": true, "that": true, "is": true, "not": true, "but": true, "thus": true, "therefore": true, "then": true,
	"simply": true, "just": true, "only": true, "negative": true, "minus": true, "therefor": true, "be": true, "now": true, "so": true, "value": true, "number": true, "and": true}

// compared reports whether words make a number the end of a range: at least 3, more than 3.
func compared(ts []token) bool {
	for _, t := range ts {
		switch strings.ToLower(t.text) {
		case "least", "most", "than", "between", "under", "below", "above", "except":
			return true
		}
	}
	return false
}

func denied(ts []token, i int) bool {
	for i--; i >= 0 && (ts[i].class == currency || ts[i].text == "-"); i-- {
	}
	return i >= 0 && ts[i].class == word && strings.EqualFold(ts[i].text, "not")
}

// last reads the last number or formula in a piece of text.
func last(ts []token) (Answer, error) {
	for i := len(ts) - 1; i >= 0; i-- {
		if !numeral(ts[i]) {
			continue
		}
		a, next, err := around(ts, i)
		if err == nil && !rightOf(ts, next) {
			err = errSymbolic
		}
		if err != nil {
			return Answer{}, err
		}
		return a, nil
	}
	if len(ts) < 200 {
		if v, ok := spelled(ts); ok {
			return Answer{value: v, decimals: 0}, nil
		}
	}
	return Answer{}, errSymbolic
}

func numeral(t token) bool {
	return t.class == number || t.class == fraction || t.formula > 0 && t.class != quote && t.class != stop
}

// around reads the quantity that the token at i belongs to. next is the token after it.
func around(ts []token, i int) (a Answer, next int, err error) {
	if f := ts[i].formula; f > 0 {
		from, to := i, i+1
		for from > 0 && ts[from-1].formula == f {
			from--
		}
		for to < len(ts) && ts[to].formula == f {
			to++
		}
		if !leftOf(ts, from) {
			return Answer{}, 0, errSymbolic
		}
		if a, err = whole(ts[from:to]); err != nil {
			return Answer{}, 0, err
		}
		if a.unit.none() && to < len(ts) && ts[to].class == word {
			u, used, ok := readUnit(ts[to:])
			if !ok {
				return Answer{}, 0, errSymbolic
			}
			a.unit, to = u, to+used
		}
		return a, to, nil
	}
	start := begin(ts, i)
	if start > 0 && negates(ts[start-1]) && (start < 2 || ts[start-2].class != number) {
		start--
	}
	if !leftOf(ts, start) {
		return Answer{}, 0, errSymbolic
	}
	a, used, err := amount(ts[start:])
	if err != nil {
		return Answer{}, 0, err
	}
	if start > 0 && ts[start-1].class == equals {
		a.name, _ = leftSide(ts, start-1)
	}
	return a, start + used, nil
}

// begin goes back from the number at i to the start of the arithmetic that it ends.
func begin(ts []token, i int) int {
	j := i
	for j > 0 && ts[j-1].formula == ts[i].formula {
		p := ts[j-1]
		value := p.class == number || p.class == fraction || p.class == closing || p.class == percent
		switch {
		case p.class == operator, p.class == opening, p.class == currency:
		case value && (ts[j].class == operator || ts[j].class == opening || ts[j].class == closing || ts[j].class == percent || ts[j].class == fraction || ratio(ts[j:])):
		case p.class == word && p.text == "and" && ratio(ts[j:]) && j > 1 && ts[j-2].class == number:
		default:
			return strip(ts, j, i)
		}
		j--
	}
	return strip(ts, j, i)
}

// strip takes off a run's front what is no arithmetic: brackets that close later, emphasis, a list's bullet.
func strip(ts []token, from, to int) int {
	for from < to {
		t := ts[from]
		switch {
		case t.class == opening && !closes(ts, from, to):
		case t.class == operator && t.text == "*" && (from == 0 || t.space || ts[from-1].class != word):
		case t.class == operator && t.text == "-" && ts[from+1].space && (from == 0 || ts[from-1].text == "\n"):
		default:
			return from
		}
		from++
	}
	return from
}

func closes(ts []token, from, to int) bool {
	depth := 0
	for _, t := range ts[from:min(to+2, len(ts))] {
		switch t.class {
		case opening:
			depth++
		case closing:
			if depth--; depth == 0 {
				return true
			}
		}
	}
	return false
}

// harmless are characters that may stand beside a number without changing it.
const harmless = "—…•#→⇒➜✓✔✅@~👉🎉😊|_"

// leftOf reports whether what stands before ts[start] leaves the number there alone.
func leftOf(ts []token, start int) bool {
	if start == 0 {
		return true
	}
	p, t := ts[start-1], ts[start]
	apart := t.space || t.formula != p.formula
	if t.class == operator && p.class == word && start+1 < len(ts) {
		dash := t.text == "-" && (!t.space || ts[start+1].space)
		if dash || t.text == "+" || isName(p) || t.formula > 0 {
			return false // x-5, x + 5, or a dash
		}
	}
	if t.class == operator && t.text != "-" && t.text != "+" {
		return false
	}
	switch p.class {
	case word:
		lower := strings.ToLower(p.text)
		if start > 1 && (lower == "and" || lower == "or" || lower == "to") {
			if q := ts[start-2]; q.class == number || q.class == fraction || q.class == percent || q.formula > 0 && q.formula != t.formula {
				return false // one of several
			}
			if q := ts[start-2]; q.class == comma && start > 2 && ts[start-3].formula > 0 && t.formula > 0 && ts[start-3].formula != t.formula {
				return false
			}
		}
		if lower == "minus" || lower == "times" || lower == "plus" {
			return false
		}
		return !symbols[lower] && (apart || t.class == currency)
	case number, fraction, percent:
		return false
	case operator: // a list's bullet or emphasis, which strip took off
		head := start < 2 || ts[start-2].class == stop
		return head && (p.text == "*" || p.text == "-" && t.space) || p.text == "*" && p.space && !t.space && ts[start-2].class == word
	case closing:
		return apart
	case comma:
		if start < 2 {
			return true
		}
		q := ts[start-2]
		return q.class != number && q.class != fraction && (q.formula == 0 || q.formula == t.formula)
	case equals:
		_, ok := leftSide(ts, start-1)
		return ok
	case stop:
		return apart || p.text != ":" && p.text != "." || start < 2 || ts[start-2].class != number
	case opening:
		return p.text == "(" && (p.space || start < 2 || ts[start-2].class != word && ts[start-2].class != number)
	case other:
		return strings.Contains(harmless, p.text) && (p.text != "_" && p.text != "|" || p.space)
	}
	return true
}

// rightOf reports whether what stands from ts[next] on leaves the number before it alone.
func rightOf(ts []token, next int) bool {
	if next >= len(ts) {
		return true
	}
	q := ts[next]
	apart := q.space || ts[next-1].formula != q.formula
	follows := func(c class) bool { return next+1 < len(ts) && ts[next+1].class == c }
	switch q.class {
	case word:
		switch lower := strings.ToLower(q.text); {
		case lower == "st" || lower == "nd" || lower == "rd" || lower == "th":
			return true
		case !apart && ts[next-1].class == number, symbols[lower]:
			return false
		case lower == "and" || lower == "or" || lower == "to":
			return !follows(number) && !follows(currency) && !follows(fraction)
		default:
			return len([]rune(q.text)) > 1 || q.text == "a" || q.text == "I"
		}
	case comma:
		return !follows(number) && !follows(fraction)
	case operator:
		if q.text == "*" {
			return !q.space
		}
		return q.text == "-" && q.space && next+1 < len(ts) && ts[next+1].space && ts[next+1].class == word
	case stop:
		return q.text != ":" || !follows(number) || ts[next+1].space
	case opening:
		return apart
	case equals, number, fraction:
		return false
	case other:
		return strings.Contains(harmless, q.text) && (q.text != "_" || !follows(number) && !follows(opening))
	}
	return true
}
