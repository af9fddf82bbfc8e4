package answer

import (
	"math/big"
	"strconv"
	"strings"
)

// What is longer than this isn't read: it bounds the memory and the time that a number can cost.
const (
	maxDigits   = 20_000
	maxExponent = 10_000
)

// number reads a literal: digits in groups or not, a point and decimals, an exponent.
func (l *lexer) number() {
	start := l.i
	if l.s[start] == '0' && start+2 < len(l.s) && strings.IndexByte("xXbo", l.s[start+1]) >= 0 && strings.IndexByte("0123456789abcdefABCDEF", l.s[start+2]) >= 0 {
		for l.i += 2; l.i < len(l.s) && (isDigit(l.s[l.i]) || isLetter(l.s[l.i])); l.i++ {
		}
		l.add(other, l.s[start:l.i]) // 0x2A is for formulas
		return
	}
	digits, grouped := l.digits()
	decimals := 0
	end := len(l.s)
	if l.until >= 0 {
		end = l.until
	}
	ok := true
	if l.i+1 < end && l.s[l.i] == '.' && isDigit(l.s[l.i+1]) {
		from := l.i + 1
		for l.i++; l.i < end && isDigit(l.s[l.i]); l.i++ {
		}
		decimals = l.i - from
		digits += l.s[from:l.i]
		ok = l.i+1 >= end || l.s[l.i] != '.' || !isDigit(l.s[l.i+1]) // 1.2.3 is a version or a date
	}
	exponent, scientific := 0, false
	if l.i < end && l.s[l.i]|0x20 == 'e' {
		j := l.i + 1
		if j < end && (l.s[j] == '+' || l.s[j] == '-') {
			j++
		}
		from := j
		for j < end && isDigit(l.s[j]) {
			j++
		}
		if j > from && (j == end || !isLetter(l.s[j])) {
			var err error
			if exponent, err = strconv.Atoi(l.s[l.i+1 : j]); err != nil || exponent > maxExponent || exponent < -maxExponent {
				ok = false
			}
			l.i, scientific = j, true
		}
	}
	text := l.s[start:l.i]
	if !ok || len(digits) > maxDigits {
		l.add(other, text)
		return
	}
	t := l.add(number, text)
	t.value = scaled(digits, exponent-decimals)
	t.grouped = grouped
	if t.decimals = decimals; scientific {
		t.decimals = -1
	}
}

// scaled is digits × 10^exponent.
func scaled(digits string, exponent int) *big.Rat {
	n := new(big.Int)
	if digits != "" {
		n.SetString(digits, 10)
	}
	if exponent == 0 {
		return new(big.Rat).SetInt(n)
	}
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(exponent, -exponent))), nil)
	if exponent > 0 {
		return new(big.Rat).SetInt(n.Mul(n, scale))
	}
	return new(big.Rat).SetFrac(n, scale)
}

// digits reads the digits before the point and leaves out what stands between groups of them: commas, also in braces,
// apostrophes, thin spaces and, where there are three groups or more, spaces. A comma that doesn't make groups is not
// taken: it separates two numbers.
func (l *lexer) digits() (digits string, grouped bool) {
	end := len(l.s)
	if l.until >= 0 {
		end = l.until
	}
	s := l.s[:end]
	head := run(s, l.i)
	first := s[l.i : l.i+head]
	l.i += head
	if head == 0 || head > 3 || first == "0" {
		return first, false
	}
	for _, sep := range []string{",", "{,}", `,\!`, "'", `\,`, " "} {
		rest, groups := s[l.i:], []string{first}
		at := 0
		for strings.HasPrefix(rest[at:], sep) {
			n := run(rest, at+len(sep))
			if n != 3 && !(n == 2 && head <= 2 && sep == ",") {
				break
			}
			groups = append(groups, rest[at+len(sep):at+len(sep)+n])
			at += len(sep) + n
		}
		if !even(groups) || sep == " " && (len(groups) < 3 || strings.HasPrefix(rest[at:], "/") || strings.HasPrefix(rest[at:], " /")) {
			continue
		}
		if strings.HasPrefix(rest[at:], sep) && run(rest, at+len(sep)) > 0 {
			return first, false // a list, or digits in no order that means a number
		}
		l.i += at
		return strings.Join(groups, ""), sep == ","
	}
	return first, false
}

// even reports whether groups are a number's: all of three digits after the first, or of two and the last of three.
func even(groups []string) bool {
	n := len(groups)
	if n < 2 || len(groups[n-1]) != 3 {
		return false
	}
	for _, g := range groups[1 : n-1] {
		if len(g) != len(groups[1]) {
			return false
		}
	}
	return len(groups[1]) == 3 || len(groups[1]) == 2
}

// run is the number of digits from i on.
func run(s string, i int) int {
	n := 0
	for i+n < len(s) && isDigit(s[i+n]) {
		n++
	}
	return n
}

var smallWords = map[string]int64{
	"zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
	"eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19,
	"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}

var scaleWords = map[string]int64{"hundred": 100, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}

var partWords = map[string]int64{"half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fourth": 4, "fourths": 4,
	"fifth": 5, "fifths": 5, "sixth": 6, "sixths": 6, "eighth": 8, "eighths": 8, "tenth": 10, "tenths": 10}

// spelled reads the one number in words among the tokens: "minus three", "twenty-five", "two hundred and six",
// "three quarters". A lone "one" in a sentence is a pronoun. No number, or more than one, is not read.
func spelled(ts []token) (*big.Rat, bool) {
	from, to := -1, -1
	for i, t := range ts {
		if t.class != word {
			continue
		}
		w := strings.ToLower(t.text)
		_, small := smallWords[w]
		_, scale := scaleWords[w]
		if !small && !scale {
			continue
		}
		if from >= 0 && !joined(ts[to:i]) {
			return nil, false
		}
		if from < 0 {
			from = i
		}
		to = i + 1
	}
	if from < 0 {
		return nil, false
	}
	if strings.EqualFold(ts[from].text, "one") && to-from == 1 && len(ts) > 2 {
		return nil, false
	}
	total, part := int64(0), int64(0)
	for _, t := range ts[from:to] {
		w := strings.ToLower(t.text)
		if n, ok := smallWords[w]; ok {
			if part%10 != 0 || part%100 != 0 && n >= 10 {
				return nil, false // "five six": two numbers
			}
			part += n
		} else if n, ok := scaleWords[w]; ok {
			if part == 0 || part > 1e6 || total > 1e15 {
				return nil, false
			}
			if part *= n; n >= 1000 {
				total, part = total+part, 0
			}
		}
	}
	v := new(big.Rat).SetInt64(total + part)
	if to < len(ts) && ts[to].class == word {
		if d, ok := partWords[strings.ToLower(ts[to].text)]; ok {
			v.Quo(v, new(big.Rat).SetInt64(d))
		}
	}
	if from > 0 && negates(ts[from-1]) {
		v.Neg(v)
	}
	return v, true
}

// joined reports whether what stands between two number words makes them one number: nothing, a hyphen or "and".
func joined(between []token) bool {
	return len(between) == 0 || len(between) == 1 && (between[0].text == "-" || strings.EqualFold(between[0].text, "and"))
}

func negates(t token) bool {
	return t.class == word && (strings.EqualFold(t.text, "minus") || strings.EqualFold(t.text, "negative"))
}
