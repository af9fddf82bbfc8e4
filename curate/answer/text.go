package answer

import (
	"slices"
	"strings"
	"unicode"
)

// maxWords is how many words an answer in words may have.
const maxWords = 8

// evasions are words that answer nothing.
var evasions = map[string]bool{"": true, "none": true, "nan": true, "null": true, "nil": true, "n/a": true, "na": true, "unknown": true, "unclear": true,
	"i don't know": true, "i do not know": true, "don't know": true, "idk": true, "not sure": true, "i'm not sure": true, "unsure": true, "error": true,
	"sorry": true, "not": true, "the": true, "is": true, "are": true, "a": true, "an": true, "answer": true, "final answer": true, "tbd": true}

// synonyms are phrases that say the same of a problem.
var synonyms = map[string]string{"no solutions": "no solution", "no real solution": "no real solutions", "there is no solution": "no solution",
	"there are no solutions": "no solution", "dne": "does not exist", "infinite": "infinitely many", "infinitely many solutions": "infinitely many"}

// verdictWords are phrases that are an answer to a question for a number, and another one than any number.
var verdictWords = map[string]bool{"no solution": true, "no real solutions": true, "undefined": true, "does not exist": true, "infinitely many": true,
	"yes": true, "no": true, "true": true, "false": true}

func text(words string) (Answer, error) {
	if evasions[words] {
		return Answer{}, errSymbolic
	}
	return Answer{text: words, source: short(words), decimals: -1}, nil
}

// phrase is a short text in one way of writing: lower case, one space between words, no article before and no mark behind
// them. It is "" for what holds mathematics, or is long. Numbers may stand between words: june 20.
func phrase(s string) string {
	s = untext(s)
	if strings.ContainsAny(s, `\=^<>{}$+*/|@#~_`) || len(s) > 200 {
		return ""
	}
	fields := strings.Fields(strings.ToLower(s))
	if len(fields) == 0 || len(fields) > maxWords {
		return ""
	}
	s = strings.Join(fields, " ")
	s = strings.TrimFunc(s, func(r rune) bool { return unicode.IsPunct(r) || unicode.IsSymbol(r) || r == ' ' })
	for _, article := range []string{"the ", "a ", "an "} {
		s = strings.TrimPrefix(s, article)
	}
	s = strings.NewReplacer("’", "'", "-", " ").Replace(s)
	if to, ok := synonyms[s]; ok {
		s = to
	}
	if !strings.ContainsFunc(s, unicode.IsLetter) {
		return ""
	}
	for _, r := range s {
		if !unicode.IsLetter(r) && !unicode.IsMark(r) && !(r >= '0' && r <= '9') && r != ' ' && r != '\'' && r != ',' && r != '.' && r != '&' {
			return ""
		}
	}
	return s
}

// untext takes the macros for text off.
func untext(s string) string {
	for range 20 {
		at := strings.Index(s, `\`)
		if at < 0 {
			break
		}
		name := strings.TrimLeftFunc(s[at+1:], func(r rune) bool { return r < 0x80 && isLetter(byte(r)) })
		macro := s[at+1 : len(s)-len(name)]
		switch {
		case texts[macro] && strings.HasPrefix(name, "{"):
			body, ok := braced(name)
			if !ok {
				return s
			}
			s = s[:at] + body + name[len(body)+2:]
		case macro == "" && len(name) > 0 && strings.IndexByte(` ,;:!`, name[0]) >= 0:
			s = s[:at] + " " + name[1:]
		case macro == "quad":
			s = s[:at] + " " + name
		default:
			return s
		}
	}
	return s
}

// compareText compares with a reference in words, or an answer in words with any reference.
func compareText(a, b Answer) (Relation, string) {
	switch {
	case a.text != "" && a.text == b.text:
		return Same, ""
	case a.text != "" && b.text != "":
		switch {
		case len(a.text) <= 3 && anagram(a.text, b.text):
			return Undecided, "words, or products of variables"
		case holds(b.text, a.text) || holds(a.text, b.text):
			return Undecided, "more words than the reference, or fewer"
		case (numerals(a.text) == "") != (numerals(b.text) == "") || numerals(a.text) != "" && numerals(a.text) == numerals(b.text):
			return Undecided, "a number among words"
		case b.marked || !strings.Contains(b.text, " "):
			return Different, ""
		}
	case a.text != "": // words are asked for, and what was read is none
		if b.marked && b.value != nil && !holds(strings.ToLower(b.From), a.text) {
			return Different, "words are asked for"
		}
	case b.marked && verdictWords[b.text]:
		return Different, ""
	}
	return Undecided, "words can't be compared with a value"
}

func anagram(a, b string) bool {
	x, y := []byte(a), []byte(b)
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}

// numerals are the numbers among words, one after the other.
func numerals(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r < '0' || r > '9' }), " ")
}

// holds reports whether the words stand in s.
func holds(s, words string) bool {
	notLetter := func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }
	return strings.Contains(" "+strings.Join(strings.FieldsFunc(s, notLetter), " ")+" ", " "+strings.Join(strings.FieldsFunc(words, notLetter), " ")+" ")
}

// chosen adds the letter of the choice that a text begins with. A choice whose words can't be read is an answer too.
func chosen(a Answer, err error, s string) (Answer, error) {
	letter := choice(s)
	if letter == "" {
		return a, err
	}
	if err != nil {
		a = Answer{text: strings.ToLower(letter), source: letter, decimals: -1}
	}
	a.choice = letter
	return a, nil
}

// choice is the letter of (B), B), B. or B: that a text begins with, or of B alone, from A to J; or the yes of "yes, because".
func choice(s string) string {
	if len(s) > 400 {
		s = strings.ToValidUTF8(s[:400], "")
	}
	s = strings.Trim(untext(strings.TrimLeft(s, " *_$\n")), " *_$.\n")
	first, rest, _ := strings.Cut(strings.ReplaceAll(s, ",", " , "), " ")
	switch first = strings.ToLower(strings.Trim(first, "*_.")); first {
	case "yes", "no", "true", "false":
		rest = strings.TrimSpace(rest)
		if rest == "" || strings.HasPrefix(rest, ",") || strings.HasPrefix(rest, "because ") || strings.HasPrefix(rest, "since ") {
			return first
		}
	}
	if word, rest, ok := strings.Cut(s, " "); ok && (strings.EqualFold(word, "option") || strings.EqualFold(word, "choice")) {
		s = strings.TrimLeft(rest, " *_$")
	}
	open := strings.HasPrefix(s, "(")
	s = strings.TrimPrefix(s, "(")
	if s == "" || s[0] < 'A' || s[0] > 'J' {
		return ""
	}
	letter, rest := s[:1], s[1:]
	shut := strings.HasPrefix(rest, ")")
	switch rest = strings.TrimLeft(rest, "*_$"); {
	case rest == "" && !open:
		return letter
	case open && shut, !open && len(rest) > 0 && strings.IndexByte("):.", rest[0]) >= 0 && (len(rest) == 1 || rest[1] == ' ' || rest[1] == '*' || rest[1] == '\n'):
		return letter
	}
	return ""
}
